"""Check model directories file by file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from virnucpro.errors import ModelError
from virnucpro.models.masked_head import MaskedHead
from virnucpro.pretrained.description import HEAD_FILE, KMERS, TOKENIZER, ModelDescription
from virnucpro.pretrained.kmer_file import load_filter
from virnucpro.pretrained.locations import check_file, description_file, find_directory, read_description
from virnucpro.pretrained.registry import PARTS, build_encoder, build_network, build_parts, build_tokenizer
from virnucpro.pretrained.weights import check_fit, load_tensors, shapes_only
from virnucpro.scores.reference import REFERENCE_FILE, Reference


def verify_model(name: str) -> Iterator[tuple[str, ModelError | None]]:
    """Check a model file by file: checksum; names, shapes, dtypes and finite values of the tensors.

    Yields:
        The name of each file, and its error or None.

    Raises:
        ModelError: there is no such model, or its description is wrong or its tokenizer does not fit its encoder.
    """
    directory = find_directory(name)
    description = read_description(directory)
    parts: dict[str, nn.Module] = {}
    with shapes_only():
        if isinstance(description, ModelDescription):
            parts.update(zip(PARTS, build_parts(description), strict=True))
        else:
            parts[description.part] = network = build_network(description.encoder)
            parts[Path(HEAD_FILE).stem] = MaskedHead(network.width, network.embedding.num_embeddings)
    yield str(description_file(directory)), None
    whole = True
    for file in description.files():
        try:
            path = check_file(directory, file, description)
            if file == TOKENIZER:
                build_tokenizer("bpe", directory)
            elif file == KMERS and isinstance(description, ModelDescription) and description.kmers:
                load_filter(path, description.kmers)
            elif file == REFERENCE_FILE:
                Reference.read(path)
            else:
                _check_tensors(path, parts[path.stem])
        except ModelError as error:
            whole = False
            yield file, error
        else:
            yield file, None
    if whole:
        with shapes_only():
            for encoder in description.encoders().values():
                build_encoder(build_network(encoder), encoder, directory)


def _check_tensors(path: Path, module: nn.Module) -> None:
    state = load_tensors(path)
    check_fit(module, state, str(path))
    if bad := [key for key, value in state.items() if not value.isfinite().all()]:
        raise ModelError(f"{path}: {bad[0]!r} has values that are not finite; download or copy the weights again")
