"""Build models from their description, and load them with verified weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from virnucpro.errors import ConfigError, ModelError
from virnucpro.models.classifier import GatedClassifier, MLPClassifier
from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.esm2_flash import ESM2, ESM2Config
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import BPETokenizer, ESM2Tokenizer, KmerTokenizer, Tokenizer
from virnucpro.pretrained.description import (
    KMERS,
    TOKENIZER,
    ClassifierDescription,
    EncoderDescription,
    LanguageModelDescription,
    ModelDescription,
    read_as,
)
from virnucpro.pretrained.kmer_file import load_filter, save_filter
from virnucpro.pretrained.locations import DEFAULT_MODEL, check_file, find_directory, find_model, read_description
from virnucpro.pretrained.weights import load_state, load_tensors, save_module, sha256, shapes_only
from virnucpro.seq.kmer_filter import KmerFilter

PARTS = ("nucleotide", "protein", "classifier")
Classifier = MLPClassifier | GatedClassifier
_NETWORKS: dict[str, tuple[Callable[[Any], PackedEncoder], type]] = {
    "esm2": (ESM2, ESM2Config),
    "dnabert": (DNABERT, DNABERTConfig),
}
_MAX_LAYERS = 1000  # the largest published encoder has 48


@dataclass(frozen=True, slots=True)
class Encoder:
    """A language model with its tokenizer, pooling window and output layer; layer None is the last."""

    model: PackedEncoder
    tokenizer: Tokenizer
    window: PoolingWindow
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A complete model: two encoders, a classifier and their description, and perhaps a filter of 9-mers."""

    description: ModelDescription
    nucleotide: Encoder
    protein: Encoder
    classifier: Classifier
    kmers: KmerFilter | None = None

    def parts(self) -> dict[str, nn.Module]:
        """Return the three modules by the stems of their weight files."""
        return dict(zip(PARTS, (self.nucleotide.model, self.protein.model, self.classifier), strict=True))


def build_tokenizer(kind: str, directory: Path) -> Tokenizer:
    """Build a tokenizer: esm2, bpe (from tokenizer.json in `directory`) or kmer-K."""
    if kind == "esm2":
        return ESM2Tokenizer()
    if kind == "bpe":
        return BPETokenizer(directory / TOKENIZER)
    if match := re.fullmatch(r"kmer-([1-8])", kind):
        return KmerTokenizer(int(match[1]))
    raise ModelError(f"tokenizer must be esm2, bpe or kmer-1 to kmer-8, got {kind!r}")


def build_network(description: EncoderDescription) -> PackedEncoder:
    """Build the network of an encoder with random weights, on torch's default device."""
    if description.architecture not in _NETWORKS:
        raise ModelError(f"architecture must be esm2 or dnabert, got {description.architecture!r}")
    network, config_type = _NETWORKS[description.architecture]
    try:
        config = read_as(config_type, description.config, "config")
    except ConfigError as error:
        raise ModelError(f"{description.architecture} cannot be built: {error}") from error
    if config.layers > _MAX_LAYERS or config.pad_token >= config.vocabulary:
        raise ModelError(
            f"{description.architecture} needs at most {_MAX_LAYERS} layers and a padding token of its vocabulary, got "
            f"{config.layers} layers, padding token {config.pad_token}, vocabulary {config.vocabulary}"
        )
    return network(config)


def build_classifier(description: ClassifierDescription, classes: int = 2) -> Classifier:
    """Build a classifier with random weights, on torch's default device."""
    kinds: dict[str, type[Classifier]] = {"mlp": MLPClassifier, "gated": GatedClassifier}
    if description.kind not in kinds:
        raise ModelError(f"classifier must be mlp or gated, got {description.kind!r}")
    return kinds[description.kind](description.input_dim, description.hidden_dim, classes)


def build_parts(description: ModelDescription) -> tuple[PackedEncoder, PackedEncoder, Classifier]:
    """Build the three networks of a model with random weights, on torch's default device.

    Raises:
        ModelError: one cannot be built, or the classifier's input size does not match the encoders.
    """
    nucleotide, protein = build_network(description.nucleotide), build_network(description.protein)
    classifier = build_classifier(description.classifier, len(description.classes))
    n_features = nucleotide.width + protein.width + 2 * classifier.length_features  # see pipeline.features
    if description.classifier.input_dim != n_features:
        raise ModelError(
            f"the classifier reads {description.classifier.input_dim} features, but the encoders of nucleotides "
            f"({nucleotide.width}) and proteins ({protein.width}) and the lengths give {n_features}; set input_dim"
        )
    return nucleotide, protein, classifier


def build_encoder(network: PackedEncoder, description: EncoderDescription, directory: Path) -> Encoder:
    """Combine a network with its tokenizer, whose file may be in `directory`, and its pooling window."""
    tokenizer = build_tokenizer(description.tokenizer, directory)
    if tokenizer.pad_token != network.pad_token:
        raise ModelError(
            f"the padding token of the tokenizer {description.tokenizer} is {tokenizer.pad_token}, but that of the "
            f"{description.architecture} network is {network.pad_token}; use the network's own tokenizer"
        )
    return Encoder(network, tokenizer, PoolingWindow(description.skip_first, description.skip_last, description.limit))


def build_model(description: ModelDescription, directory: Path) -> Model:
    """Build a model with random weights, on torch's default device."""
    nucleotide, protein, classifier = build_parts(description)
    return Model(
        description,
        build_encoder(nucleotide, description.nucleotide, directory),
        build_encoder(protein, description.protein, directory),
        classifier,
    )


def check_model(name: str) -> tuple[Path, ModelDescription]:
    """Check the checksums of a model's files; return its directory and description.

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
        ModelError: it is missing, a file differs from its checksum, or the weights do not fit the network.
    """
    directory, description = check_model(name)
    with shapes_only():  # take no memory before the weights are known to fit
        model = build_model(description, directory)
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        load_state(module, load_tensors(path), str(path))
        module.eval()
    return replace(model, kmers=load_filter(directory / KMERS, description.kmers)) if description.kmers else model


def load_encoder(name: str, part: str | None = None) -> tuple[str, Encoder]:
    """Load a language model, alone or as a part of a model, in float32 on the CPU, in evaluation mode.

    Args:
        name: name or directory.
        part: nucleotide or protein; None: the only one, or protein.

    Returns:
        The part and the encoder.

    Raises:
        ModelError: it is missing, a file differs from its checksum, or the weights do not fit the network.
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
    """Check the checksums of a language model's files; return its directory, description and part.

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
    """Write the three weight files in float16 and the filter of 9-mers; return the checksums of all model files."""
    checksums = {}
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        save_module(module, path)
        checksums[path.name] = sha256(path)
    if model.kmers:
        save_filter(model.kmers, directory / KMERS)
    rest = (name for name in model.description.files() if name not in checksums)  # the tokenizer is already there
    return checksums | {name: sha256(directory / name) for name in rest}
