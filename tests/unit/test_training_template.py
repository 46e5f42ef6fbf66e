"""The template of training settings is a valid file, and explains every setting."""

import re
from dataclasses import MISSING, fields

import pytest

from virnucpro.train.settings import (
    ClassifierSettings,
    DataSettings,
    FitSettings,
    ModelSettings,
    TrainSettings,
    read_settings,
)
from virnucpro.train.template import template

GIVEN = {"directory": "data", "class_share": {"virus": 0.5, "bacteria": 0.5}, "name": "my-model", "steps": 20000}
KINDS = (DataSettings, ModelSettings, FitSettings, ClassifierSettings)


def defaults(kind, folder):
    """Return settings with nothing but what must be given."""
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    given = {**GIVEN, "directory": str(folder / "data")}
    return kind(**{name: given[name] for name in needed})


def of_template(tmp_path, text):
    (tmp_path / "settings.toml").write_text(text)
    return read_settings(tmp_path / "settings.toml")


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_template_has_the_defaults(tmp_path, uncommented):
    text = template().partition("#[classifier]")[0]
    if uncommented:
        text = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    kinds = (DataSettings, ModelSettings, FitSettings)
    assert of_template(tmp_path, text) == TrainSettings(*(defaults(kind, tmp_path) for kind in kinds))


def test_the_other_table_has_the_defaults(tmp_path):
    head, mark, text = template().partition("#[classifier]")
    assert head
    text = re.sub(r"^#(\w+ = )", r"\1", f"{mark[1:]}{text}", flags=re.MULTILINE)
    assert of_template(tmp_path, text) == defaults(ClassifierSettings, tmp_path)


@pytest.mark.parametrize(("kind", "name"), [(kind, one.name) for kind in KINDS for one in fields(kind)])
def test_every_setting_is_explained(kind, name):
    about = next(one.metadata["about"] for one in fields(kind) if one.name == name)
    lines = template().splitlines()
    places = [place for place, line in enumerate(lines) if line.lstrip("#").startswith(f"{name} = ")]
    assert about in [about_of(lines, place) for place in places]
    assert max(map(len, lines)) <= 110


def about_of(lines, place):
    """Return the comment above a line."""
    first = place
    while lines[first - 1].startswith("# "):
        first -= 1
    return " ".join(line[2:] for line in lines[first:place])


def test_the_command_prints_it_and_needs_no_argument(capfd):
    from support.commands import run

    assert run("train", "--settings") == 0
    assert capfd.readouterr().out == template()
