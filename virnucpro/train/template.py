"""A commented template of the training settings, made from the settings themselves."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any

from virnucpro.train.settings import ClassifierSettings, DataSettings, FitSettings, ModelSettings

_WIDTH = 80
# Values of the settings that must be given.
_EXAMPLES: dict[str, Any] = {
    "directory": "data", "class_share": {"virus": 0.5, "bacteria": 0.5}, "name": "my-model", "steps": 20000,
}  # fmt: skip
_HEAD = """\
# Settings of `virnucpro train SETTINGS.toml -o MODEL`, with their defaults.
# A line that begins with # is a comment or a default; remove the # to change it.
# Paths are relative to this file."""
_OTHER = """\
# To train only the last network on the published encoders, leave out the three
# tables above and give this one."""


def template() -> str:
    """Return a settings file in which every setting is explained; those with a default are comments."""
    lines = [_HEAD]
    for name, kind in (("data", DataSettings), ("model", ModelSettings), ("fit", FitSettings)):
        lines += ["", f"[{name}]", *_table(kind)]
    lines += [
        "",
        _OTHER,
        "#[classifier]",
        *(line if line.startswith("#") else f"#{line}" for line in _table(ClassifierSettings)),
    ]
    return "\n".join(lines) + "\n"


def _table(kind: Any) -> Iterator[str]:
    for setting in fields(kind):
        yield from textwrap.wrap(setting.metadata["about"], _WIDTH, initial_indent="# ", subsequent_indent="# ")
        is_given = setting.default is MISSING and setting.default_factory is MISSING
        value = _EXAMPLES[setting.name] if is_given else _default(setting)
        yield f"{'' if is_given else '#'}{setting.name} = {_toml(value)}"


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _toml(value: Any) -> str:
    """Return a value as TOML; a dataclass and a mapping are inline tables.

    >>> _toml({"a": 0.5, "b": (1, 2)}), _toml("x"), _toml(True), _toml({})
    ('{ a = 0.5, b = [1, 2] }', '"x"', 'true', '{}')
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(item)}' for name, item in value.items())} }}" if value else "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
