"""Read a published classifier: a `.pth` that holds a whole pickled module, without unpickling it.

Such a file is a zip archive of `data.pkl`, a pickle, and one file of raw values for each tensor. A pickle is a program
whose instructions may import and call anything. Here they are interpreted by a reader of our own that knows those
which torch.save writes; a name stays text and a call stays a note of its arguments, so nothing is ever imported, looked
up or called. What then stands in the note must be the published class with exactly the tensors that it has.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo, is_zipfile

import numpy as np
import torch
from torch import Tensor

from virnucpro.errors import ModelError
from virnucpro.models.classifier import MLPClassifier
from virnucpro.places import plain_file
from virnucpro.pretrained.weights import State, check_fit, shapes_only

# The published classifiers have 7 MB, and their data.pkl 3 kB.
_MOST_BYTES = 1 << 26
_MOST_PICKLE_BYTES = 1 << 16
_MEMBER = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)

_CLASSIFIER = "__main__ MLPClassifier"
_LAYERS = {
    "hidden_layer": "torch.nn.modules.linear Linear",
    "bn1": "torch.nn.modules.batchnorm BatchNorm1d",
    "dropout": "torch.nn.modules.dropout Dropout",
    "output_layer": "torch.nn.modules.linear Linear",
}
_PARAMETER, _TENSOR = "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v2"
_STORAGES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_ORDERED_DICT = "collections OrderedDict"
_NAMES = {
    _CLASSIFIER, *_LAYERS.values(), _PARAMETER, _TENSOR, *_STORAGES, _ORDERED_DICT, "__builtin__ set", "builtins set",
}  # fmt: skip


class _FormatError(Exception):
    """The file is not what it should be; the text says why."""


@dataclass(frozen=True, slots=True)
class _Name:
    """What a pickle calls by module and name."""

    text: str


@dataclass(slots=True, eq=False, repr=False)
class _Call:
    """A call that a pickle asks for and nobody makes; `state` is what its result should then be given."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def load_published_classifier(path: Path) -> State:
    """Return the state dict of a published classifier, float32 on the CPU, under the names of `MLPClassifier`.

    Raises:
        ModelError: the file is missing, damaged, or anything else than such a classifier.
    """
    if not os.path.exists(path):
        raise ModelError(f"{path}: no such file")
    plain_file(path)
    try:
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > _MOST_BYTES:
                raise _FormatError(f"it has {size} bytes, a published one has 7 million")
            if not is_zipfile(file):
                raise _FormatError("it is not a zip archive, which torch.save writes since version 1.6")
            archive = _Archive(ZipFile(file))
            state = _state(_interpret(archive.read("data.pkl", _MOST_PICKLE_BYTES)), archive)
        if bad := [name for name, value in state.items() if not value.isfinite().all()]:
            raise _FormatError(f"{bad[0]!r} has values that are not finite")
        hidden_dim, input_dim = state["hidden_layer.weight"].shape
    except Exception as error:  # a damaged file leads to whatever it likes
        reason = str(error) if isinstance(error, _FormatError) else repr(error)
        raise ModelError(
            f"{path} is not a published classifier: {reason[:300]}; nothing in it was run; get the file again"
        ) from error
    with shapes_only():
        check_fit(MLPClassifier(input_dim, hidden_dim), state, str(path))
    return state


class _Archive:
    """A zip archive whose members are all such as torch.save writes: known names in one folder, not compressed."""

    def __init__(self, file: ZipFile) -> None:
        self.file = file
        self.members: dict[str, ZipInfo] = {}
        folder = file.infolist()[0].filename.partition("/")[0]
        for member in file.infolist():
            name = member.filename.removeprefix(f"{folder}/")
            if not _MEMBER.fullmatch(name) or name == member.filename or name in self.members:
                raise _FormatError(f"its member {member.filename!r} is unknown or stands there twice")
            if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
                raise _FormatError(f"its member {member.filename!r} is compressed, which torch.save never does")
            self.members[name] = member

    def read(self, name: str, most_bytes: int) -> bytes:
        if name not in self.members:
            raise _FormatError(f"it lacks {name!r}")
        if (size := self.members[name].file_size) > most_bytes:
            raise _FormatError(f"its {name!r} has {size} bytes, more than the {most_bytes} expected")
        return self.file.read(self.members[name])


def _interpret(program: bytes) -> Any:
    """Return what a pickle describes, in plain values, `_Name` and `_Call`."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        begin = marks.pop()
        items = stack[begin:]
        del stack[begin:]
        return items

    def pop(kind: type) -> Any:
        value = stack.pop()
        if not isinstance(value, kind):
            raise _FormatError(f"its pickle has a {type(value).__name__} where a {kind.__name__} belongs")
        return value

    instructions: Iterator[tuple[Any, Any, Any]] = pickletools.genops(program)
    for opcode, argument, position in instructions:
        match opcode.name:
            case "PROTO":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "SETITEM" | "SETITEMS":
                items = pop_to_mark() if opcode.name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                container = pop(dict)
                container.update(zip(map(_key, items[::2]), items[1::2], strict=True))
                stack.append(container)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                if argument not in _NAMES:
                    raise _FormatError(f"its pickle asks for {argument.replace(' ', '.')!r}, which no classifier needs")
                stack.append(_Name(argument))
            case "NEWOBJ" | "REDUCE":
                arguments, name = pop(tuple), pop(_Name).text
                stack.append({} if name == _ORDERED_DICT and not arguments else _Call(name, arguments))
            case "BINPERSID":
                stack.append(_Call("storage", pop(tuple)))
            case "BUILD":
                state, call = stack.pop(), pop(_Call)
                call.state = state
                stack.append(call)
            case "STOP":
                if position != len(program) - 1:
                    raise _FormatError("its pickle goes on after its end")
                return stack.pop()
            case other:
                raise _FormatError(f"its pickle has the instruction {other}, which torch.save does not write")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise _FormatError(f"its pickle has a {type(key).__name__} for a key")
    return key


def _state(root: Any, archive: _Archive) -> State:
    """Return the tensors of the module that a pickle describes."""
    layers = _expect(root, _CLASSIFIER).state["_modules"]
    if layers.keys() != _LAYERS.keys() or any(root.state[kind] for kind in ("_parameters", "_buffers")):
        raise _FormatError(f"it has the layers {', '.join(map(repr, layers))}, needs {', '.join(map(repr, _LAYERS))}")
    state = {}
    for layer, kind in _LAYERS.items():
        values = _expect(layers[layer], kind).state
        if values["_modules"] or values.get("eps", 1e-5) != 1e-5:
            raise _FormatError(f"its {layer!r} is not an ordinary {kind.split()[1]}: parts of its own, or eps not 1e-5")
        for name, value in {**values["_parameters"], **values["_buffers"]}.items():
            if value is not None:
                state[f"{layer}.{name}"] = _tensor(value, archive, f"{layer}.{name}")
    return state


def _expect(call: Any, name: str) -> _Call:
    if not isinstance(call, _Call) or call.name != name:
        found = call.name if isinstance(call, _Call) else type(call).__name__
        raise _FormatError(f"it has {found.replace(' ', '.')!r} where {name.replace(' ', '.')!r} belongs")
    return call


def _tensor(call: Any, archive: _Archive, name: str) -> Tensor:
    """Read one tensor, given as the call that would make it."""
    if isinstance(call, _Call) and call.name == _PARAMETER:
        call = call.arguments[0]
    storage, offset, shape, strides = _expect(call, _TENSOR).arguments[:4]
    _, kind, key, _, length = _expect(storage, "storage").arguments
    dtype = _STORAGES.get(kind.text)
    if dtype is None:
        raise _FormatError(f"{name!r} is a {kind.text!r}, needs one of {', '.join(map(repr, _STORAGES))}")
    whole = [offset, length, *shape, *strides]
    if len(shape) > 2 or not isinstance(key, str) or not all(type(n) is int and 0 <= n <= _MOST_BYTES for n in whole):
        raise _FormatError(f"{name!r} has a shape, a place or a length that cannot be")
    count, size = math.prod(shape), length * dtype.itemsize
    if strides != tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
        raise _FormatError(f"{name!r} of shape {shape} has strides {strides}, which leave gaps or overlap")
    data = archive.read(f"data/{key}", size)
    if len(data) != size or offset + count > length:
        raise _FormatError(f"{name!r} needs {count} values from {offset} on, of {length} in {len(data)} bytes")
    values = np.frombuffer(data, dtype, count, offset * dtype.itemsize)
    return torch.from_numpy(values.astype(dtype.newbyteorder("="))).reshape(shape)
