"""Make a model directory from the published files: the classifier, DNABERT-S and ESM-2."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from tokenizers import Tokenizer

from virnucpro.config import FrameRule
from virnucpro.errors import ConfigError, ModelError, OutputError
from virnucpro.models.dnabert_flash import DNABERTConfig
from virnucpro.models.esm2_flash import ESM2_SHAPES, ESM2Config
from virnucpro.models.tokenizers import BPETokenizer
from virnucpro.places import file_inside, new_directory, whole_directory
from virnucpro.pretrained.catalogue import CLASSIFIERS
from virnucpro.pretrained.convert import load_published_classifier
from virnucpro.pretrained.description import (
    DESCRIPTIONS,
    HEAD_FILE,
    TOKENIZER,
    ClassifierDescription,
    Description,
    EncoderDescription,
    LanguageModelDescription,
    ModelDescription,
    read_as,
    read_json,
)
from virnucpro.pretrained.hugging_face import (
    DNABERT_NAMES,
    ESM2_NAMES,
    ESM2_SETTINGS,
    FAIR_NAMES,
    Config,
    Published,
    Weights,
    read_state,
    without_tied,
)
from virnucpro.pretrained.locations import check_file, description_file, read_description
from virnucpro.pretrained.registry import PARTS, build_parts
from virnucpro.pretrained.repository import CONFIG, WEIGHT_FILES, read_shards
from virnucpro.pretrained.weights import (
    State,
    check_fit,
    git_blob_id,
    load_tensors,
    read_fair_esm,
    save_state,
    sha256,
    shapes_only,
)


def import_model(
    classifier: Path,
    chunk_length: int,
    output: Path,
    dnabert: Path | None = None,
    esm2: Path | None = None,
    origin: dict[str, Any] | None = None,
) -> ModelDescription:
    """Write a model directory from published files; return its description.

    Weights keep their precision. No code in any of the files is run. Without `dnabert` or `esm2` the directory
    describes the published encoder but lacks its files and their checksums.

    Args:
        classifier: the published `.pth`.
        chunk_length: the chunk length it was trained with, nt.
        output: a directory that is empty or does not exist.
        dnabert: directory of DNABERT-S, or of a model of ours that contains it.
        esm2: directory of an ESM-2 in the format of Hugging Face, or of a model of ours that contains it, or a
            checkpoint of fair-esm.
        origin: the origin of each part, for the description; default: the names of the files.

    Raises:
        ModelError: a file is missing, damaged, or of another model.
        ConfigError: the chunk length is not the classifier's.
        OutputError: the directory is not empty or cannot be written.
    """
    output = new_directory(output)
    states = {"classifier": load_published_classifier(classifier)}
    hidden_dim, input_dim = states["classifier"]["hidden_layer.weight"].shape
    _require_chunk_length(classifier, chunk_length)
    nucleotide, protein = DNABERTConfig(), ESM2_SHAPES["3B"]
    if dnabert:
        nucleotide, states["nucleotide"] = (dna := read_dnabert(dnabert)).config, dna.weights.encoder
    if esm2:
        protein, states["protein"] = (esm := read_esm2(esm2)).config, esm.weights.encoder
    sources = {"classifier": classifier, "nucleotide": dnabert, "protein": esm2}
    origin = origin or {part: source.name for part, source in sources.items() if source}
    description = ModelDescription(
        name=f"published-{chunk_length}",
        chunk_length=chunk_length,
        min_length=3,
        frame_rule=FrameRule("stop_free"),
        nucleotide=_describe_dnabert(nucleotide),
        protein=_describe_esm2(protein, limit=1024),
        classifier=ClassifierDescription("mlp", input_dim, hidden_dim),
        vote="max",
        licence="that of the imported files",
        training={"imported": origin},
    )
    with shapes_only():
        parts = dict(zip(PARTS, build_parts(description), strict=True))
    for stem, state in states.items():
        check_fit(parts[stem], state, str(sources[stem]))
    return _write(description, states, file_inside(dnabert, TOKENIZER) if dnabert else None, output)


def import_encoder(
    name: str, part: Literal["nucleotide", "protein"], source: Path, output: Path, origin: dict[str, Any]
) -> LanguageModelDescription:
    """Write the directory of a language model alone: DNABERT-S (part nucleotide) or an ESM-2 (part protein).

    The mean of a protein includes all its residues; in the input of the published classifier it is limited.

    Raises:
        ModelError, OutputError: as `import_model`.
    """
    output = new_directory(output)
    found = read_dnabert(source) if part == "nucleotide" else read_esm2(source)
    encoder = _describe_esm2(found.config) if isinstance(found.config, ESM2Config) else _describe_dnabert(found.config)
    found.check(str(source))
    states: dict[str, State] = {part: found.weights.encoder}
    if found.weights.head:
        states[Path(HEAD_FILE).stem] = found.weights.whole_head
    description = LanguageModelDescription(name, part, encoder, "that of its weights", {"imported": {part: origin}})
    return _write(description, states, file_inside(source, TOKENIZER) if part == "nucleotide" else None, output)


def _describe_dnabert(config: DNABERTConfig) -> EncoderDescription:
    return EncoderDescription("dnabert", asdict(config), "bpe", 0, 0)


def _describe_esm2(config: ESM2Config, limit: int | None = None) -> EncoderDescription:
    return EncoderDescription("esm2", asdict(config), "esm2", 1, 1, limit)


def _require_chunk_length(classifier: Path, chunk_length: int) -> None:
    if chunk_length not in CLASSIFIERS.values():
        raise ConfigError(
            f"--chunk-length must be 300 or 500, the lengths of the published classifiers, got {chunk_length}"
        )
    trained = CLASSIFIERS.get(git_blob_id(classifier))
    if trained not in (None, chunk_length):
        raise ConfigError(f"{classifier} was trained with chunks of {trained} nt; use --chunk-length {trained}")


def _read_again(directory: Path, part: str, architecture: str, kind: type[Config]) -> Published[Config]:
    """Read an encoder from a model directory of ours."""
    description = read_description(directory)
    encoder = description.encoders().get(part)
    if encoder is None:
        raise ModelError(f"{directory} has no encoder that reads {part} sequences")
    if encoder.architecture != architecture:
        raise ModelError(f"the {part} encoder of {directory} must be {architecture}, got {encoder.architecture}")
    config = _config(kind, directory, **encoder.config)
    state = load_tensors(check_file(directory, f"{part}.safetensors", description))
    if HEAD_FILE not in description.files():
        return Published(config, Weights(state))
    head = load_tensors(check_file(directory, HEAD_FILE, description))
    return Published(config, Weights(state, without_tied(head, state)))


def read_dnabert(directory: Path) -> Published[DNABERTConfig]:
    """Read DNABERT-S from a directory in the format of Hugging Face, or from a model directory of ours.

    Raises:
        ModelError: a file is missing, damaged, or of another kind of model.
    """
    if description_file(directory):
        return _read_again(directory, "nucleotide", "dnabert", DNABERTConfig)
    settings = read_json(file_inside(directory, CONFIG))
    pad_token = BPETokenizer(directory / TOKENIZER).pad_token  # its error says what to do if it is missing
    file_inside(directory, TOKENIZER)
    pieces = Tokenizer.from_file(str(directory / TOKENIZER)).get_vocab_size()
    weights = read_state(_read_weights(directory), DNABERT_NAMES, str(directory))
    state = weights.encoder
    vocabulary, width = _matrix(state, "embedding.weight", directory)
    if pieces > vocabulary:
        raise ModelError(
            f"{directory}: {TOKENIZER} has {pieces} tokens, but the weights have {vocabulary}; download both again"
        )
    config = _config(
        DNABERTConfig, directory, layers=_count_layers(state), width=width, heads=settings.get("num_attention_heads"),
        feed_forward=_matrix(state, "layers.0.down.weight", directory)[1], vocabulary=vocabulary, pad_token=pad_token,
        eps=settings.get("layer_norm_eps"),
    )  # fmt: skip
    return Published(config, weights, settings)


def read_esm2(source: Path) -> Published[ESM2Config]:
    """Read ESM-2 from a directory in the format of Hugging Face, a model directory of ours, or a fair-esm checkpoint.

    Raises:
        ModelError: a file is missing, damaged, or of another kind of model.
    """
    if description_file(source):
        return _read_again(source, "protein", "esm2", ESM2Config)
    settings: dict[str, Any] = {}
    token_dropout: Any = True
    if os.path.isdir(source):
        settings = read_json(file_inside(source, CONFIG))
        heads, token_dropout = settings.get("num_attention_heads"), settings.get("token_dropout")
        if wrong := [key for key, value in ESM2_SETTINGS.items() if settings.get(key) != value]:
            raise ModelError(
                f"{source} is not an ESM-2: {wrong[0]} of its config.json is {settings.get(wrong[0])!r}, "
                f"needs {ESM2_SETTINGS[wrong[0]]!r}"
            )
        weights = read_state(_read_weights(source), ESM2_NAMES, str(source))
    else:
        found, heads = read_fair_esm(source)
        weights = read_state(found, FAIR_NAMES, str(source))
        weights = Weights(weights.encoder, weights.head)  # the names of the rest are not Hugging Face's
    width = _matrix(weights.encoder, "embedding.weight", source)[1]
    layers = _count_layers(weights.encoder)
    config = _config(ESM2Config, source, layers=layers, width=width, heads=heads, token_dropout=token_dropout)
    return Published(config, weights, settings)


def _read_weights(directory: Path) -> State:
    """Read the weights of a directory in the format of Hugging Face: one file, or several with an index."""
    for name in WEIGHT_FILES:
        if not os.path.isfile(directory / name):
            continue
        path = file_inside(directory, name)
        if path.suffix != ".json":
            return load_tensors(path)
        state: State = {}
        for shard, tensors in read_shards(path).items():
            part = load_tensors(file_inside(directory, shard))
            if part.keys() != tensors:
                raise ModelError(f"{directory / shard} has other tensors than {path.name} lists; download both again")
            state |= part
        return state
    raise ModelError(f"{directory} has none of {', '.join(WEIGHT_FILES)}; download the model there")


def _matrix(state: State, name: str, source: Path) -> tuple[int, int]:
    """Return the shape of a matrix of a state dict."""
    if name not in state or state[name].dim() != 2:
        raise ModelError(f"{source} lacks the matrix {name!r}; use the files of a supported model")
    rows, columns = state[name].shape
    return rows, columns


def _count_layers(state: State) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("layers.")})


def _config(kind: type[Config], source: Path, **values: object) -> Config:
    try:
        return read_as(kind, values, "config.json")  # type: ignore[no-any-return]
    except ConfigError as error:
        raise ModelError(f"{source}: {error}; download the model again") from error


def _write(description: Description, states: Mapping[str, State], tokenizer: Path | None, output: Path) -> Description:
    """Write a model directory atomically; return its description with checksums.

    The files are first written to the private directory `.NAME.import` beside it; leftovers of a killed import there
    are removed.
    """
    try:
        with whole_directory(output, "import") as directory:
            description = _fill(directory, description, states, tokenizer)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{output} cannot be written: {error}; make room there or choose another --output") from error
    return description


def _fill(
    directory: Path, description: Description, states: Mapping[str, State], tokenizer: Path | None
) -> Description:
    for stem, state in states.items():
        save_state(state, directory / f"{stem}.safetensors")
    if tokenizer:
        shutil.copyfile(tokenizer, directory / TOKENIZER)
    checksums = {path.name: sha256(path) for path in sorted(directory.iterdir())}
    description = replace(description, checksums=checksums)
    description.write_json(directory / next(name for name, kind in DESCRIPTIONS.items() if type(description) is kind))
    return description
