"""The files of a published repository that a model is made of: their names, and how large each may be.

No other name that a server, an index or a folder gives is ever made a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import shown_name
from virnucpro.pretrained.description import TOKENIZER, read_as, read_json

CONFIG = "config.json"
# The files of a repository that may hold its weights, the one that is preferred first.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
MAX_SHARDS = 256  # the largest published ESM-2 has 12 of 5 GB
_SHARD = re.compile(r"(model|pytorch_model)-([0-9]{5})-of-([0-9]{5})\.(safetensors|bin)")
_MIB = 1 << 20
MAX_BYTES = {CONFIG: _MIB, TOKENIZER: 64 * _MIB, "classifier": 64 * _MIB, "index": 16 * _MIB}


def read_shards(index: Path) -> dict[str, set[str]]:
    """Return the files of weights that an index names, with the tensors of each, in the order of their names.

    Raises:
        ModelError: it is no index, or names other files than `model-00001-of-00003.safetensors` and its like.
    """
    try:
        places: Mapping[str, str] = read_as(dict[str, str], read_json(index).get("weight_map"), "weight_map")
    except ConfigError as error:
        raise ModelError(f"{index}: {error}; download it again") from error
    tensors: dict[str, set[str]] = {name: set() for name in sorted(set(places.values()))}
    _require_shards(tensors, index)
    for tensor, name in places.items():
        tensors[name].add(tensor)
    return tensors


def _require_shards(names: Mapping[str, object], index: Path) -> None:
    stem, suffix = index.name.removesuffix(".index.json").split(".")
    totals = set()
    for name in names:
        match = _SHARD.fullmatch(name)
        if not match or (match[1], match[4]) != (stem, suffix) or not 1 <= int(match[2]) <= int(match[3]):
            raise ModelError(
                f"{index} names {shown_name(name)}, which is no file of weights beside it: those are named "
                f"{stem}-00001-of-00002.{suffix}; download it again"
            )
        totals.add(int(match[3]))
    if len(totals) != 1 or max(totals) > MAX_SHARDS:
        raise ModelError(f"{index} names {len(names)} files of {sorted(totals)}, at most {MAX_SHARDS} of one set")


def max_bytes(name: str, weights: int) -> int:
    """Return how large a file may be of a language model that has `weights` of them.

    Weights take 4 bytes, in double precision 8; beside them, files have heads that are not needed.
    """
    if name.endswith(".index.json"):
        return MAX_BYTES["index"]
    return MAX_BYTES.get(name, 8 * weights + 64 * _MIB)


def known_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have names of a repository, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.name in (*WEIGHT_FILES, CONFIG, TOKENIZER):
            yield path
