"""A tiny model of the published structure, to be run behind a screen."""

from support.models import randomise, seeded
from virnucpro.config import FrameRule
from virnucpro.pretrained.description import ClassifierDescription, EncoderDescription, ModelDescription
from virnucpro.pretrained.registry import Model, build_model


def make_published_model(seed: int = 3, chunk_length: int = 120) -> Model:
    """Return a model with the frames, the vote and the classifier of the published ones, and random weights."""
    shape = {"layers": 1, "width": 16, "heads": 2, "token_dropout": False}
    description = ModelDescription(
        name="tiny-published",
        chunk_length=chunk_length,
        min_length=3,
        frame_rule=FrameRule("stop_free"),
        nucleotide=EncoderDescription("esm2", {**shape, "vocabulary": 69, "mask_token": 68}, "kmer-3", 1, 1),
        protein=EncoderDescription("esm2", shape, "esm2", 1, 1, limit=1024),
        classifier=ClassifierDescription("mlp", 32, 8),
        vote="max",
    )
    with seeded(seed):
        model = build_model(description, directory=None)
    randomise(model.classifier, seed, gain=4.0)  # so that scores are of all sizes
    return model
