"""The files that a model needs from a published repository: their names, and their maximum sizes.

Only these names become paths, whatever names a server, an index or a folder gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from virnucpro.errors import ConfigError, ModelError
from virnucpro.places import shown_name
from virnucpro.pretrained.description import TOKENIZER, read_as, read_json

CONFIG = "config.json"
# The files of a repository that may hold its weights, in order of preference.
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
    """Return the weight files that an index names, sorted by name, with the tensors of each.

    Raises:
        ModelError: it is not an index, or names a file that is not like `model-00001-of-00003.safetensors`.
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
                f"{index} names {shown_name(name)}, which is not a weight file beside it; expected names such as "
                f"{stem}-00001-of-00002.{suffix}; download it again"
            )
        totals.add(int(match[3]))
    if len(totals) != 1 or max(totals) > MAX_SHARDS:
        raise ModelError(f"{index} names {len(names)} files of {sorted(totals)}, at most {MAX_SHARDS} of one set")


def max_bytes(name: str, weights: int) -> int:
    """Return the maximum size in bytes of a file of a language model with this number of weights.

    A weight takes 4 bytes, or 8 in double precision; files also hold heads that are not needed.
    """
    if name.endswith(".index.json"):
        return MAX_BYTES["index"]
    return MAX_BYTES.get(name, 8 * weights + 64 * _MIB)


def known_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have a name of the repository, sorted by name."""
    for path in sorted(folder.iterdir()):
        if path.name in (*WEIGHT_FILES, CONFIG, TOKENIZER):
            yield path
