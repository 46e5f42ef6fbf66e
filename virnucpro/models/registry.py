"""Models by name or directory, built from their description and verified weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from virnucpro.errors import ConfigError, ModelError
from virnucpro.models.classifier import GatedClassifier, MLPClassifier
from virnucpro.models.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.models.dnabert_flash import DNABERT, DNABERTConfig
from virnucpro.models.encoder import PackedEncoder
from virnucpro.models.esm2_flash import ESM2, ESM2Config
from virnucpro.models.pooling import PoolingWindow
from virnucpro.models.tokenizers import BPETokenizer, ESM2Tokenizer, KmerTokenizer, Tokenizer
from virnucpro.models.weights import fill, load_tensors, save_module, sha256

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT_MODEL = "bundled"
PARTS = ("nucleotide", "protein", "classifier")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A language model with its tokenizer and pooling window."""

    model: PackedEncoder
    tokenizer: Tokenizer
    window: PoolingWindow


@dataclass(frozen=True, slots=True)
class Model:
    """A complete model: two encoders, a classifier and the description that made them."""

    description: ModelDescription
    nucleotide: Encoder
    protein: Encoder
    classifier: MLPClassifier | GatedClassifier

    def parts(self) -> dict[str, nn.Module]:
        """Return the three modules by the stem of their weight files."""
        return dict(zip(PARTS, (self.nucleotide.model, self.protein.model, self.classifier), strict=True))


def list_models() -> dict[str, Path]:
    """Return the models that can be named: name -> directory."""
    return {DEFAULT_MODEL: BUNDLED}


def find_model(name: str) -> Path:
    """Return the directory of a model given by name or by path.

    Raises:
        ModelError: there is no such model.
    """
    known = list_models()
    directory = known.get(name, Path(name))
    if not (directory / "model.json").is_file():
        raise ModelError(
            f"there is no model {name!r}: it is neither a directory with a model.json nor one of {', '.join(known)}"
        )
    return directory


def build_tokenizer(kind: str, directory: Path) -> Tokenizer:
    """Make a tokenizer: esm2, bpe (tokenizer.json in `directory`) or kmer-K."""
    if kind == "esm2":
        return ESM2Tokenizer()
    if kind == "bpe":
        return BPETokenizer(directory / "tokenizer.json")
    if match := re.fullmatch(r"kmer-([1-8])", kind):
        return KmerTokenizer(int(match[1]))
    raise ModelError(f"tokenizer must be esm2, bpe or kmer-1 to kmer-8, got {kind!r}")


def build_encoder(description: EncoderDescription, directory: Path) -> Encoder:
    """Make an encoder with fresh weights."""
    try:
        model: PackedEncoder
        if description.architecture == "esm2":
            model = ESM2(ESM2Config(**description.config))
        elif description.architecture == "dnabert":
            model = DNABERT(DNABERTConfig(**description.config))
        else:
            raise ModelError(f"architecture must be esm2 or dnabert, got {description.architecture!r}")
    except (TypeError, ConfigError) as error:
        raise ModelError(f"{directory}: {description.architecture} cannot be built: {error}") from error
    window = PoolingWindow(description.skip_first, description.skip_last, description.limit)
    return Encoder(model, build_tokenizer(description.tokenizer, directory), window)


def build_classifier(description: ClassifierDescription) -> MLPClassifier | GatedClassifier:
    """Make a classifier with fresh weights."""
    kinds: dict[str, type[MLPClassifier] | type[GatedClassifier]] = {"mlp": MLPClassifier, "gated": GatedClassifier}
    if description.kind not in kinds:
        raise ModelError(f"classifier must be mlp or gated, got {description.kind!r}")
    return kinds[description.kind](description.input_dim, description.hidden_dim)


def build_model(description: ModelDescription, directory: Path) -> Model:
    """Make a model with fresh weights."""
    return Model(
        description,
        build_encoder(description.nucleotide, directory),
        build_encoder(description.protein, directory),
        build_classifier(description.classifier),
    )


def load_model(name: str = DEFAULT_MODEL) -> Model:
    """Load a model by name or directory, in float32 on the CPU, in evaluation mode.

    Raises:
        ModelError: it is missing, a file differs from its checksum, or the weights do not fit.
    """
    directory = find_model(name)
    description = ModelDescription.from_json(directory / "model.json")
    model = build_model(description, directory)
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        if not path.is_file():
            raise ModelError(f"{directory} lacks {path.name}; copy the whole model directory again")
        found = sha256(path)
        if found != description.checksums.get(path.name):
            raise ModelError(
                f"{path} is damaged or was changed: its SHA-256 is {found}, "
                f"model.json says {description.checksums.get(path.name)}; copy the model directory again"
            )
        fill(module, load_tensors(path), str(path))
        module.eval()
    return model


def save_weights(model: Model, directory: Path) -> dict[str, str]:
    """Write the three weight files in float16; return their checksums for the description."""
    checksums = {}
    for stem, module in model.parts().items():
        path = directory / f"{stem}.safetensors"
        save_module(module, path)
        checksums[path.name] = sha256(path)
    return checksums
