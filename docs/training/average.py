"""Average the weights of two models of the same shape: python docs/training/average.py FIRST SECOND OUTPUT.

The second model was trained from the weights of the first one. Their mean is often better on genera that neither has
seen than each of them. OUTPUT gets the description of SECOND, without figures on validation windows.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from virnucpro.pretrained.registry import check_model
from virnucpro.pretrained.weights import sha256

WEIGHTS = ("nucleotide.safetensors", "protein.safetensors", "classifier.safetensors")


def average(first: str, second: str, output: Path) -> None:
    """Write the mean of two models, in the precision of the second one, as a new directory.

    Raises:
        ModelError: a model is missing or damaged.
        FileExistsError: the output exists.
        KeyError, RuntimeError: the models differ in shape.
    """
    (one, _), (other, description) = check_model(first), check_model(second)
    output.mkdir(parents=True)
    for name in WEIGHTS:
        before, after = load_file(one / name), load_file(other / name)
        mean = {key: ((before[key].float() + value.float()) / 2).to(value.dtype) for key, value in after.items()}
        with safe_open(other / name, "pt") as file:
            save_file(mean, output / name, metadata=file.metadata())
    training = {**description.training, "mean_of": [first, second]}
    checksums = {name: sha256(output / name) for name in WEIGHTS}
    replace(description, training=training, metrics={}, calibration=None, kmers=None, checksums=checksums).write_json(
        output / "model.json"
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    average(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
