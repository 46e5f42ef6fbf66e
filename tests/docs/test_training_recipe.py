"""The recipe of the bundled model: its settings can be read, and the mean of two models is one."""

import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.models import make_model, write_model

from virnucpro import load_model
from virnucpro.train.settings import read_settings

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "training"


@pytest.mark.parametrize("path", sorted(RECIPE.glob("*.toml")), ids=lambda path: path.stem)
def test_the_settings_can_be_read(path):
    assert read_settings(path).model.name == "virnucpro-small"


def test_the_mean_of_two_models_is_a_model(tmp_path):
    one, other = (write_model(make_model(seed), tmp_path / str(seed)) for seed in (1, 2))
    mean = tmp_path / "mean"
    runpy.run_path(str(RECIPE / "average.py"))["average"](str(one), str(other), mean)
    model = load_model(str(mean))
    assert model.description.training["mean_of"] == [str(one), str(other)]
    for name in ("nucleotide", "protein", "classifier"):
        first, second, found = (load_file(folder / f"{name}.safetensors") for folder in (one, other, mean))
        assert found.keys() == second.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, ((first[key].float() + second[key].float()) / 2).to(value.dtype))
        assert any((first[key] != second[key]).any() for key in found)
