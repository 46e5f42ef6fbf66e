"""Models by name or directory, built from their description and verified weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from virnucpro.environment import models_directory
from virnucpro.errors import ConfigError, ModelError
from virnucpro.models.classifier import GatedClassifier, MLPClassifier
from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.esm2_flash import ESM2, ESM2Config
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import BPETokenizer, ESM2Tokenizer, KmerTokenizer, Tokenizer
from virnucpro.pretrained.catalogue import CATALOGUE
from virnucpro.pretrained.description import (
    DESCRIPTIONS,
    TOKENIZER,
    ClassifierDescription,
    EncoderDescription,
    LanguageModelDescription,
    ModelDescription,
    read_as,
)
from virnucpro.pretrained.weights import load_state, load_tensors, save_module, sha256, shapes_only

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "bundled"
# The models that come with the package.
SHIPPED = {DEFAULT_MODEL: BUNDLED, "hosts": Path(__file__).parent / "hosts"}
PARTS = ("nucleotide", "protein", "classifier")
Classifier = MLPClassifier | GatedClassifier
_NETWORKS: dict[str, tuple[Callable[[Any], PackedEncoder], type]] = {
    "esm2": (ESM2, ESM2Config),
    "dnabert": (DNABERT, DNABERTConfig),
}
_MAX_LAYERS = 1000  # the largest published encoder has 48


@dataclass(frozen=True, slots=True)
class Encoder:
    """A language model with its tokenizer, its pooling window and the layer that is read; None is the last."""

    model: PackedEncoder
    tokenizer: Tokenizer
    window: PoolingWindow
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A complete model: two encoders, a classifier and the description that made them."""

    description: ModelDescription
    nucleotide: Encoder
    protein: Encoder
    classifier: Classifier

    def parts(self) -> dict[str, nn.Module]:
        """Return the three modules by the stem of their weight files."""
        return dict(zip(PARTS, (self.nucleotide.model, self.protein.model, self.classifier), strict=True))


def list_models() -> dict[str, Path]:
    """Return the models that are here and can be named: name -> directory."""
    try:
        found = (
            path for path in models_directory().iterdir() if not path.name.startswith(".")
        )  # not what is half done
        downloaded = sorted(path for path in found if description_file(path))
    except (OSError, ConfigError):  # nothing was downloaded, or there is no home to look in
        downloaded = []
    return SHIPPED | {path.name: path for path in downloaded if path.name not in SHIPPED}


def description_file(directory: Path) -> str | None:
    """Return the name of the file that describes a model directory, None where there is none."""
    return next((name for name in DESCRIPTIONS if os.path.isfile(directory / name)), None)


def find_directory(name: str) -> Path:
    """Return the directory of a model or language model given by name or by path.

    Raises:
        ModelError: there is none; it says how a published one is downloaded.
        ConfigError: the name is neither text nor a path of text.
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        raise ConfigError(f"a model must be a name or a directory (text or a path object), got {name!a}")
    known = list_models()
    directory = known.get(name, Path(name))
    if file := description_file(directory):
        _require_inside(directory / file)
        return directory
    if entry := CATALOGUE.get(name):
        raise ModelError(
            f"the model {name} is not here; `virnucpro models download {name}` brings its {entry.gigabytes:.1f} GB, "
            f"or copy its directory to {models_directory() / name}"
        )
    raise ModelError(
        f"there is no model {name!r}: it is neither a directory with a model.json nor one of "
        f"{', '.join([*known, *CATALOGUE])}"
    )


def read_description(directory: Path) -> ModelDescription | LanguageModelDescription:
    """Read the description that a directory has."""
    file = description_file(directory) or "model.json"
    _require_inside(directory / file)
    return DESCRIPTIONS[file].from_json(directory / file)


def find_model(name: str) -> Path:
    """Return the directory of a complete model given by name or by path.

    Raises:
        ModelError: there is no such model.
    """
    directory = find_directory(name)
    if description_file(directory) != "model.json":
        raise ModelError(f"{name} is a language model without a classifier; use it with `virnucpro embed`")
    return directory


def _require_inside(path: Path) -> None:
    if path.resolve().parent != path.parent.resolve():
        raise ModelError(f"{path} is a link to {path.resolve()}, out of its directory; put the file itself there")


def check_file(directory: Path, name: str, description: ModelDescription | LanguageModelDescription) -> Path:
    """Return the path of a file of a model directory once its checksum is found right.

    Raises:
        ModelError: it is missing, lies elsewhere, or is another file than the description says.
    """
    path, expected = directory / name, description.checksums.get(name)
    if not os.path.isfile(path):
        remedy = "copy the whole model directory again" if expected else "import it with `virnucpro models import`"
        raise ModelError(f"{directory} lacks {name}; {remedy}")
    _require_inside(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; copy the model directory again") from error
    if found != expected:
        raise ModelError(
            f"{path} is damaged or was changed: its SHA-256 is {found}, "
            f"model.json says {expected}; copy the model directory again"
        )
    return path


def build_tokenizer(kind: str, directory: Path) -> Tokenizer:
    """Make a tokenizer: esm2, bpe (tokenizer.json in `directory`) or kmer-K."""
    if kind == "esm2":
        return ESM2Tokenizer()
    if kind == "bpe":
        return BPETokenizer(directory / TOKENIZER)
    if match := re.fullmatch(r"kmer-([1-8])", kind):
        return KmerTokenizer(int(match[1]))
    raise ModelError(f"tokenizer must be esm2, bpe or kmer-1 to kmer-8, got {kind!r}")


def build_network(description: EncoderDescription) -> PackedEncoder:
    """Make the network of an encoder with fresh weights, on torch's default device."""
    if description.architecture not in _NETWORKS:
        raise ModelError(f"architecture must be esm2 or dnabert, got {description.architecture!r}")
    network, config_type = _NETWORKS[description.architecture]
    try:
        config = read_as(config_type, description.config, "config")
    except ConfigError as error:
        raise ModelError(f"{description.architecture} cannot be built: {error}") from error
    if config.layers > _MAX_LAYERS or config.pad_token >= config.vocabulary:
        raise ModelError(
            f"{description.architecture} cannot be built: {config.layers} layers of at most {_MAX_LAYERS}, "
            f"padding token {config.pad_token} of {config.vocabulary}"
        )
    return network(config)


def build_classifier(description: ClassifierDescription, classes: int = 2) -> Classifier:
    """Make a classifier of this number of classes with fresh weights, on torch's default device."""
    kinds: dict[str, type[Classifier]] = {"mlp": MLPClassifier, "gated": GatedClassifier}
    if description.kind not in kinds:
        raise ModelError(f"classifier must be mlp or gated, got {description.kind!r}")
    return kinds[description.kind](description.input_dim, description.hidden_dim, classes)


def build_parts(description: ModelDescription) -> tuple[PackedEncoder, PackedEncoder, Classifier]:
    """Make the three networks of a model with fresh weights, on torch's default device.

    Raises:
        ModelError: one is impossible, or the classifier does not read what the encoders give.
    """
    nucleotide, protein = build_network(description.nucleotide), build_network(description.protein)
    classifier = build_classifier(description.classifier, len(description.classes))
    given = nucleotide.width + protein.width + 2 * classifier.length_features  # see pipeline.features
    if description.classifier.input_dim != given:
        raise ModelError(
            f"the classifier reads {description.classifier.input_dim} features, but the encoders of nucleotides "
            f"({nucleotide.width}) and proteins ({protein.width}) and the lengths give {given}; choose others"
        )
    return nucleotide, protein, classifier


def build_encoder(network: PackedEncoder, description: EncoderDescription, directory: Path) -> Encoder:
    """Give a network its tokenizer, which may lie in `directory`, and its pooling window."""
    tokenizer = build_tokenizer(description.tokenizer, directory)
    if tokenizer.pad_token != network.pad_token:
        raise ModelError(
            f"padding is token {tokenizer.pad_token} of the tokenizer {description.tokenizer} and "
            f"{network.pad_token} of the {description.architecture} network; they do not belong together"
        )
    return Encoder(network, tokenizer, PoolingWindow(description.skip_first, description.skip_last, description.limit))


def build_model(description: ModelDescription, directory: Path) -> Model:
    """Make a model with fresh weights, on torch's default device."""
    nucleotide, protein, classifier = build_parts(description)
    return Model(
        description,
        build_encoder(nucleotide, description.nucleotide, directory),
        build_encoder(protein, description.protein, directory),
        classifier,
    )


def check_model(name: str) -> tuple[Path, ModelDescription]:
    """Return the directory and description of a model once the checksums of its files are found right.

    Raises:
        ModelError: it is missing, or a file differs from its checksum.
    """
    directory = find_model(name)
    description = ModelDescription.from_json(directory / "model.json")
    for file in description.files():
        check_file(directory, file, description)
    return directory, description


def load_model(name: str = DEFAULT_MODEL) -> Model:
    """Load a model by name or directory, in float32 on the CPU, in evaluation mode.

    Raises:
        ModelError: it is missing, a file differs from its checksum, or the weights do not fit.
    """
    directory, description = check_model(name)
    with shapes_only():  # no memory is taken before the weights are known to fit
        model = build_model(description, directory)
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        load_state(module, load_tensors(path), str(path))
        module.eval()
    return model


def load_encoder(name: str, part: str | None = None) -> tuple[str, Encoder]:
    """Load one language model of a model, or one alone, in float32 on the CPU, in evaluation mode.

    Args:
        name: name or directory.
        part: nucleotide or protein; None takes protein, or the only one there is.

    Returns:
        the part and the encoder.

    Raises:
        ModelError: it is missing, a file differs from its checksum, or the weights do not fit.
        ConfigError: the model has no such part.
    """
    directory, description, part = check_encoder(name, part)
    encoders = description.encoders()
    path = directory / f"{part}.safetensors"
    with shapes_only():
        encoder = build_encoder(build_network(encoders[part]), encoders[part], directory)
    load_state(encoder.model, load_tensors(path), str(path))
    encoder.model.eval()
    return part, encoder


def check_encoder(name: str, part: str | None = None) -> tuple[Path, ModelDescription | LanguageModelDescription, str]:
    """Return directory, description and part of a language model once the checksums of its files are found right.

    Arguments and errors are those of `load_encoder`.
    """
    directory = find_directory(name)
    description = read_description(directory)
    encoders = description.encoders()
    part = part or (next(iter(encoders)) if len(encoders) == 1 else "protein")
    if part not in encoders:
        raise ConfigError(f"kind must be {' or '.join(encoders)} for the model {name}, got {part!r}")
    check_file(directory, f"{part}.safetensors", description)
    if encoders[part].tokenizer == "bpe":
        check_file(directory, TOKENIZER, description)
    return directory, description, part


def save_weights(model: Model, directory: Path) -> dict[str, str]:
    """Write the three weight files in float16; return the checksums of all files for the description."""
    checksums = {}
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        save_module(module, path)
        checksums[path.name] = sha256(path)
    rest = (name for name in model.description.files() if name not in checksums)  # the tokenizer lies there already
    return checksums | {name: sha256(directory / name) for name in rest}
