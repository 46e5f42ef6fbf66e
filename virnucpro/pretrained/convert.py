"""Read a published classifier, a `.pth` file with a pickled module, without running any code in it.

The file is a zip archive of `data.pkl`, a pickle, and one file of raw values for each tensor. A pickle is a program
that may import and call anything. Torch's restricted unpickler (`weights_only=True`) builds only tensors, and stubs
for the classes of the module. A malicious pickle could still fill the memory or run forever, so its instructions and
names are checked first. The result must be the published class with exactly its tensors.
"""

from __future__ import annotations

import os
import pickletools
import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from tempfile import NamedTemporaryFile, gettempdir
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from torch import Tensor

from virnucpro.errors import ModelError
from virnucpro.models.classifier import MLPClassifier
from virnucpro.places import plain_file
from virnucpro.pretrained.weights import State, check_fit, shapes_only

# Limits: a published classifier has 7 MB, and its data.pkl 3 kB.
_MAX_BYTES = 1 << 26
_MAX_PICKLE_BYTES = 1 << 14
_MEMBER = re.compile(
    r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)
_INSTRUCTION = re.compile(
    r"PROTO|NONE|NEWTRUE|NEWFALSE|BININT[12]?|LONG1|BINFLOAT|BINUNICODE|EMPTY_(TUPLE|LIST|DICT)|MARK|TUPLE[123]?|"
    r"SETITEMS?|(LONG_)?BIN(PUT|GET)|GLOBAL|NEWOBJ|REDUCE|BINPERSID|BUILD|STOP"
)


class _FormatError(Exception):
    """The file is not a published classifier; the text says why."""


class _Stub:
    """Replaces a class of the pickle and keeps the state of an instance."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _stub(module: str, name: str) -> type[_Stub]:
    return type(name, (_Stub,), {"__module__": module})


_CLASSIFIER, _LINEAR = _stub("__main__", "MLPClassifier"), _stub("torch.nn.modules.linear", "Linear")
_NORM, _DROPOUT = _stub("torch.nn.modules.batchnorm", "BatchNorm1d"), _stub("torch.nn.modules.dropout", "Dropout")
_LAYERS = {"hidden_layer": _LINEAR, "bn1": _NORM, "dropout": _DROPOUT, "output_layer": _LINEAR}
_NAMES = {f"{stub.__module__} {stub.__name__}" for stub in (_CLASSIFIER, *_LAYERS.values())} | {
    "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch LongStorage",
    "collections OrderedDict", "__builtin__ set", "builtins set",
}  # fmt: skip


def load_published_classifier(path: Path) -> State:
    """Return the state dict of a published classifier, float32 on the CPU, under the names of `MLPClassifier`.

    Raises:
        ModelError: the file is missing, damaged, or not a published classifier.
    """
    if not os.path.exists(path):
        raise ModelError(f"{path}: no such file")
    plain_file(path)
    try:
        parts = _read_parts(path)
        _check_program(parts["data.pkl"])
        state = _state(_unpickle(parts))
        size = sum(len(data) for name, data in parts.items() if name.startswith("data/"))
        if size != (used := sum(value.nbytes for value in state.values())):
            raise _FormatError(f"its tensors have {used} bytes, but its value files have {size}")
        if bad := [name for name, value in state.items() if not value.isfinite().all()]:
            raise _FormatError(f"{bad[0]!r} has values that are not finite")
        hidden_dim, input_dim = state["hidden_layer.weight"].shape
    except ModelError:
        raise
    except Exception as error:  # a damaged file can raise any error
        reason = str(error) if isinstance(error, _FormatError) else repr(error)
        raise ModelError(
            f"{path} is not a published classifier: {reason[:300]}; no code in it was run; download the file again"
        ) from error
    with shapes_only():
        check_fit(MLPClassifier(input_dim, hidden_dim), state, str(path))
    return state


def _read_parts(path: Path) -> dict[str, bytes]:
    """Return the members of the archive, which must be as torch.save writes them: in one folder, not compressed."""
    parts: dict[str, bytes] = {}
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > _MAX_BYTES:
            raise _FormatError(f"it has {size} bytes, but a published one has 7 million")
        if not is_zipfile(file):
            raise _FormatError("it is not a zip archive, as torch.save writes since version 1.6")
        archive = ZipFile(file)
        members = archive.infolist()
        folder = members[0].filename.partition("/")[0]
        for member in members:
            name = member.filename.removeprefix(f"{folder}/")
            if not _MEMBER.fullmatch(name) or name == member.filename or name in parts:
                raise _FormatError(f"its member {member.filename!r} is unknown or occurs twice")
            if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
                raise _FormatError(f"its member {member.filename!r} is compressed, which torch.save never does")
            if name == "data.pkl" and member.file_size > _MAX_PICKLE_BYTES:
                raise _FormatError(f"its {name!r} has {member.file_size} bytes, more than {_MAX_PICKLE_BYTES}")
            parts[name] = archive.read(member)
    if "data.pkl" not in parts:
        raise _FormatError("it lacks 'data.pkl'")
    return parts


def _check_program(program: bytes) -> None:
    """Refuse a pickle with other instructions or names than a classifier's.

    Only text and names may be used twice: nested lists that are used twice would grow exponentially.
    """
    instructions: list[tuple[Any, Any, Any]] = list(pickletools.genops(program))
    before, kept = "", {}
    for opcode, argument, _ in instructions:
        if not _INSTRUCTION.fullmatch(opcode.name):
            raise _FormatError(f"its pickle has the instruction {opcode.name}, which torch.save does not write")
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            raise _FormatError(f"its pickle asks for {argument.replace(' ', '.')!r}, which no classifier needs")
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            kept[argument] = before
        if opcode.name in ("BINGET", "LONG_BINGET") and kept.get(argument) not in ("BINUNICODE", "GLOBAL"):
            raise _FormatError("its pickle uses an object twice that is neither text nor a name")
        before = opcode.name
    if instructions[-1][2] != len(program) - 1:
        raise _FormatError("its pickle has data after its end")


def _unpickle(parts: dict[str, bytes]) -> Any:
    """Unpickle: return tensors mapped from a temporary copy, stubs and plain values.

    Torch reads a copy of the checked parts, because it might find other parts in the file than zipfile does. From a
    mapped file it reads nothing beyond the end, whatever length the pickle gives a tensor.
    """
    with NamedTemporaryFile(suffix=".pth") as copy:
        try:
            with ZipFile(copy, "w") as archive:
                for name, data in parts.items():
                    archive.writestr(f"classifier/{name}", data)
        except OSError as error:
            raise ModelError(
                f"a temporary file cannot be written in {gettempdir()}: {error}; make room there"
            ) from error
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals([_CLASSIFIER, *_LAYERS.values(), set]):
                warnings.simplefilter("ignore")  # it warns of pickles that it then refuses
                return torch.load(copy.name, map_location="cpu", weights_only=True, mmap=True)
        except UnpicklingError as error:  # its text advises loading without restriction
            raise _FormatError("its pickle does what torch's restricted unpickler refuses") from error
        except Exception as error:  # a damaged pickle can raise any error
            reason = str(error).partition("\n")[0]
            raise _FormatError(f"torch cannot make its tensors ({type(error).__name__}: {reason})") from error


def _state(root: Any) -> State:
    """Return the tensors of the unpickled module, in memory."""
    layers = _expect(root, _CLASSIFIER)["_modules"]
    if layers.keys() != _LAYERS.keys() or any(root.state[kind] for kind in ("_parameters", "_buffers")):
        raise _FormatError(f"it has the layers {', '.join(map(repr, layers))}, needs {', '.join(map(repr, _LAYERS))}")
    state = {}
    for layer, kind in _LAYERS.items():
        values = _expect(layers[layer], kind)
        if values["_modules"] or values.get("eps", 1e-5) != 1e-5:
            raise _FormatError(f"its {layer!r} is not a plain {kind.__name__}: it has extra parts, or eps is not 1e-5")
        for name, value in {**values["_parameters"], **values["_buffers"]}.items():
            if value is not None:
                state[f"{layer}.{name}"] = _tensor(value, f"{layer}.{name}")
    return state


def _expect(value: Any, kind: type[_Stub]) -> dict[str, Any]:
    """Check that a value is an instance of a stub and return its state."""
    if type(value) is not kind:
        raise _FormatError(f"it has a {type(value).__name__} where a {kind.__name__} belongs")
    if type(value.state) is not dict:
        raise _FormatError(f"it has a {kind.__name__} whose state is a {type(value.state).__name__}")
    return value.state


def _tensor(value: Any, name: str) -> Tensor:
    """Return a copy in memory of a tensor, which must fill its value file exactly."""
    if not isinstance(value, Tensor):
        raise _FormatError(f"{name!r} is a {type(value).__name__}, needs a tensor")
    if not value.is_contiguous():
        raise _FormatError(f"{name!r} of shape {tuple(value.shape)} has strides {value.stride()}: gaps or overlap")
    if (size := value.untyped_storage().nbytes()) != value.nbytes:
        raise _FormatError(f"{name!r} has {value.nbytes} bytes in a storage of {size}")
    return value.detach().clone()
