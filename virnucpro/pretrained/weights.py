"""Weights on disk: our safetensors, and the published ESM-2 and DNABERT-S files mapped to our names.

A mapping is a table of (pattern, replacement). Every key of a file must be mapped or listed as not needed, and every
parameter must get a tensor of its exact shape; otherwise the file is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from virnucpro.errors import ModelError
from virnucpro.places import plain_file

State = dict[str, Tensor]
Table = tuple[tuple[str, str], ...]

_FAIR = r"(?:encoder\.)?(?:sentence_encoder\.)?"

# "" drops a key that an encoder does not need, such as heads and constant buffers.
ESM2_FAIR: Table = (
    (rf"{_FAIR}layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", r"layers.\1.\2.\3"),
    (rf"{_FAIR}layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"layers.\1.out.\2"),
    (rf"{_FAIR}layers\.(\d+)\.self_attn\.rot_emb\.inv_freq", ""),
    (rf"{_FAIR}layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)", r"layers.\1.attention_norm.\2"),
    (rf"{_FAIR}layers\.(\d+)\.fc1\.(weight|bias)", r"layers.\1.up.\2"),
    (rf"{_FAIR}layers\.(\d+)\.fc2\.(weight|bias)", r"layers.\1.down.\2"),
    (rf"{_FAIR}layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"layers.\1.feed_forward_norm.\2"),
    (rf"{_FAIR}embed_tokens\.weight", "embedding.weight"),
    (rf"{_FAIR}emb_layer_norm_after\.(weight|bias)", r"norm.\1"),
    (r"(encoder\.)?lm_head\..+|contact_head\..+", ""),
)  # fmt: skip

ESM2_HUGGING_FACE: Table = (
    (r"(esm\.)?encoder\.layer\.(\d+)\.attention\.self\.(q)uery\.(weight|bias)", r"layers.\2.\3.\4"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.attention\.self\.(k)ey\.(weight|bias)", r"layers.\2.\3.\4"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.attention\.self\.(v)alue\.(weight|bias)", r"layers.\2.\3.\4"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"layers.\2.out.\3"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.attention\.LayerNorm\.(weight|bias)", r"layers.\2.attention_norm.\3"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"layers.\2.up.\3"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"layers.\2.down.\3"),
    (r"(esm\.)?encoder\.layer\.(\d+)\.LayerNorm\.(weight|bias)", r"layers.\2.feed_forward_norm.\3"),
    (r"(esm\.)?encoder\.emb_layer_norm_after\.(weight|bias)", r"norm.\2"),
    (r"(esm\.)?embeddings\.word_embeddings\.weight", "embedding.weight"),
    (r"(esm\.)?embeddings\.(position_ids|position_embeddings\.weight)", ""),
    # transformers 5 writes the one shared table under a literal "layer.*".
    (r"(esm\.)?(encoder\.layer\.(\d+|\*)\.attention\.self\.)?rotary_embeddings\.inv_freq", ""),
    (r"(lm_head|classifier)\..+|(esm\.)?(contact_head|pooler)\..+", ""),
)  # fmt: skip

DNABERT_S: Table = (
    (r"(bert\.)?encoder\.layer\.(\d+)\.attention\.self\.Wqkv\.(weight|bias)", r"layers.\2.qkv.\3"),
    (r"(bert\.)?encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"layers.\2.out.\3"),
    (r"(bert\.)?encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(weight|bias)", r"layers.\2.attention_norm.\3"),
    (r"(bert\.)?encoder\.layer\.(\d+)\.mlp\.gated_layers\.weight", r"layers.\2.gated.weight"),
    (r"(bert\.)?encoder\.layer\.(\d+)\.mlp\.wo\.(weight|bias)", r"layers.\2.down.\3"),
    (r"(bert\.)?encoder\.layer\.(\d+)\.mlp\.layernorm\.(weight|bias)", r"layers.\2.feed_forward_norm.\3"),
    (r"(bert\.)?embeddings\.word_embeddings\.weight", "embedding.weight"),
    (r"(bert\.)?embeddings\.token_type_embeddings\.weight", "token_type"),
    (r"(bert\.)?embeddings\.LayerNorm\.(weight|bias)", r"embedding_norm.\2"),
    (r"(bert\.)?embeddings\.position_ids|(bert\.)?pooler\..+|(cls|classifier)\..+", ""),
)  # fmt: skip


def map_keys(state: Mapping[str, Tensor], table: Table, source: str) -> State:
    """Rename the keys of a published state dict to ours and fuse separate q, k, v into qkv.

    Raises:
        ModelError: a key is not in the table, two keys are the same, or a projection is missing.
    """
    patterns = [(re.compile(pattern), replacement) for pattern, replacement in table]
    mapped: State = {}
    for key, value in state.items():
        spelled = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", key))
        match = next(((m, r) for p, r in patterns if (m := p.fullmatch(spelled))), None)
        if match is None:
            raise ModelError(f"{source} has an unexpected tensor {key!r}; use the files of a supported model")
        if not match[1]:
            continue
        name = match[0].expand(match[1])
        if name in mapped:
            raise ModelError(f"{source} has two tensors for {name!r}, the second is {key!r}")
        mapped[name] = value
    for key in [key for key in mapped if re.fullmatch(r"layers\.\d+\.q\.(weight|bias)", key)]:
        names = [key.replace(".q.", f".{letter}.") for letter in "qkv"]
        if missing := [name for name in names if name not in mapped]:
            raise ModelError(f"{source} lacks {missing[0]!r}")
        mapped[key.replace(".q.", ".qkv.")] = torch.cat([mapped.pop(name) for name in names])
    return mapped


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _NoInitialisation(TorchFunctionMode):
    """Makes the functions of torch.nn.init return their tensor unchanged."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build the modules of this block without memory and without random weights.

    The meta device alone would not do: torch imports its compiler to draw weights there, which makes a start slow.
    """
    with torch.device("meta"), _NoInitialisation():
        yield


def check_fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Check that `state` has the names, shapes and kinds of values of `module`.

    Floating point values may have any common precision; whole numbers must have the same dtype.

    Raises:
        ModelError: a tensor is missing, unexpected, or of another shape or kind; the message names it.
    """
    own = module.state_dict()
    if missing := sorted(own.keys() - state.keys()):
        raise ModelError(f"{source} lacks {len(missing)} tensors of the model, the first is {missing[0]!r}")
    if extra := sorted(state.keys() - own.keys()):
        raise ModelError(f"{source} has {len(extra)} tensors that the model does not have, the first is {extra[0]!r}")
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise ModelError(f"{source}: {key!r} has shape {tuple(value.shape)}, needs {tuple(own[key].shape)}")
        if value.dtype not in (_FLOATS if own[key].is_floating_point() else (own[key].dtype,)):
            raise ModelError(f"{source}: {key!r} is {value.dtype}, needs {own[key].dtype}")


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy `state` into `module`; a module on the meta device takes the tensors themselves as its weights.

    Raises:
        ModelError: the tensors do not fit (see `check_fit`).
    """
    check_fit(module, state, source)
    own = module.state_dict()
    if any(value.is_meta for value in own.values()):
        module.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, assign=True)
    else:
        module.load_state_dict(dict(state))


def load_fair_esm(path: Path) -> tuple[State, int]:
    """Read a fair-esm ESM-2 checkpoint; return its encoder's state under our names and the number of heads.

    Errors are those of `read_fair_esm`.
    """
    state, heads = read_fair_esm(path)
    return map_keys(state, ESM2_FAIR, str(path)), heads


def read_fair_esm(path: Path) -> tuple[State, int]:
    """Read a fair-esm ESM-2 checkpoint; return its state as it is and the number of heads.

    Only tensors and `argparse.Namespace` (its configuration) are unpickled.

    Raises:
        ModelError: the file is missing, is not such a checkpoint, or holds other objects.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        data = unpickle_tensors(path)
    try:
        state, heads = data["model"], data["cfg"]["model"].encoder_attention_heads
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a fair-esm ESM-2 checkpoint: it lacks {error}") from error
    return _require_state(state, path), heads


def load_tensors(path: Path) -> State:
    """Read a .safetensors file, or a .bin/.pt state dict of tensors; the values stay on disk until they are used.

    Raises:
        ModelError: the file is missing, damaged or holds anything but tensors.
    """
    plain_file(path)
    if path.suffix != ".safetensors":
        return _require_state(unpickle_tensors(path), path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}; copy or download the file again") from error


def _require_state(data: Any, path: Path) -> State:
    if not isinstance(data, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()):
        raise ModelError(f"{path} is not a state dict of named tensors; use the weights of a supported model")
    return data


def unpickle_tensors(path: Path) -> Any:
    """Read a file of torch.save, mapped from disk; the format before torch 1.6 is read into memory."""
    plain_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except UnpicklingError as error:  # its text advises loading without restriction
        named = re.search(r"GLOBAL (\S+)", str(error))
        asked = f"its pickle asks for {named[1]!r}" if named else "its pickle has an instruction that is not allowed"
        raise ModelError(
            f"{path} is not a file of tensors: {asked}; no code in it was run; download it again"
        ) from error
    except Exception as error:  # a damaged file can raise any error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path} is not a file of tensors: {reason}; download it again") from error


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors."""
    save_file({key: value.contiguous().cpu() for key, value in state.items()}, path)
    path.chmod(0o644)  # safetensors makes it readable by its owner only


def save_module(module: nn.Module, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a module's state as safetensors, floating point values in `dtype`."""
    save_state({k: v.to(dtype) if v.is_floating_point() else v for k, v in module.state_dict().items()}, path)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return _digest(path, hashlib.sha256())


def git_blob_id(path: Path) -> str:
    """Return git's object id of a file: the SHA-1 of "blob SIZE", a zero byte and the content."""
    plain_file(path)
    return _digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
