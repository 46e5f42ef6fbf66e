"""Checkpoints of a training: weights and optimiser state in files of at most 15 MB, written atomically.

Random numbers depend only on the seed and the step, so weights, optimiser state and step are the whole state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from virnucpro.errors import ConfigError, ModelError

CHECKPOINT = "checkpoint"  # its directory, in that of the model
_SHARD_BYTES = 15_000_000


def save_checkpoint(directory: Path, step: int, network: nn.Module, optimizers: Sequence[Optimizer], key: str) -> None:
    """Replace `directory` by the state after `step`; `key` identifies its settings."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for rank, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{rank}.{number}.{name}": value for name, value in state.items()})
    temporary = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shards = _shards({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    for number, shard in enumerate(shards):
        save_file(shard, temporary / f"state-{number:02d}.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step, "settings": key}) + "\n", encoding="utf-8")
    before = _before(directory)
    if (directory / "state.json").is_file():
        shutil.rmtree(before, ignore_errors=True)
        directory.replace(before)
    shutil.rmtree(directory, ignore_errors=True)  # it is not a checkpoint
    temporary.replace(directory)
    shutil.rmtree(before, ignore_errors=True)


def _before(directory: Path) -> Path:
    """Return the path of the last checkpoint while a new one replaces it."""
    return directory.with_name(directory.name + ".before")


def _shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        if shards[-1] and size + value.nbytes > _SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = value
        size += value.nbytes
    return shards


def has_checkpoint(directory: Path) -> bool:
    """Return whether there is a checkpoint to continue from."""
    return _present(directory) is not None


def checkpoint_step(directory: Path) -> int | None:
    """Return the step of the checkpoint, None if there is none."""
    present = _present(directory)
    return None if present is None else int(_state(present)["step"])


def _present(directory: Path) -> Path | None:
    """Return where the checkpoint is: a training may have been killed while it replaced the last one."""
    return next((place for place in (directory, _before(directory)) if (place / "state.json").is_file()), None)


def _state(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    return values


def load_checkpoint(directory: Path, network: nn.Module, optimizers: Sequence[Optimizer], key: str) -> int:
    """Restore the state and return its step, 0 if there is no checkpoint.

    Raises:
        ConfigError: it belongs to other settings.
        ModelError: it is incomplete.
    """
    if (present := _present(directory)) is None:
        return 0
    directory, state = present, _state(present)
    if state["settings"] != key:
        raise ConfigError(f"{directory} belongs to other settings; choose another --output or use --restart")
    tensors: dict[str, Tensor] = {}
    for path in sorted(directory.glob("state-*.safetensors")):
        tensors.update(load_file(path))
    weights = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    moments: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, rank, number, kind = name.split(".")
            moments[int(rank)].setdefault(int(number), {})[kind] = value
    if weights.keys() != network.state_dict().keys() or sum(map(len, moments)) != len(list(network.parameters())):
        raise ModelError(f"{directory} is incomplete; use --restart to begin again")
    network.load_state_dict(weights)
    for optimizer, own in zip(optimizers, moments, strict=True):
        optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(state["step"])
