"""The small model of a screen: find it, check that it fits, and choose the options that it runs with."""

from __future__ import annotations

from dataclasses import dataclass

from virnucpro.config import Options
from virnucpro.errors import ConfigError
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.locations import SCREEN_MODEL, find_model
from virnucpro.pretrained.registry import Model, load_model
from virnucpro.scores.calibration import Floats
from virnucpro.scores.reference import REFERENCE_FILE, Reference


@dataclass(frozen=True, slots=True, eq=False)
class LoadedScreen:
    """A small model, and the least evidence of a chunk of 0, 1, 2, ... nt that it lets through."""

    model: Model
    thresholds: Floats


def load_screen(description: ModelDescription, options: Options) -> LoadedScreen | None:
    """Load the screen of a run with the model of this description, None if the options ask for none.

    Raises:
        ConfigError: the model is calibrated, or that of the screen has no reference.
        ModelError: the model of the screen is missing or damaged.
    """
    if options.screen is None:
        return None
    if description.calibration is not None:
        raise ConfigError(
            f"screen is for models without a calibration, such as published-500; {description.name} is calibrated, and "
            "its estimates need the evidence of every record; leave it out",
            "screen",
        )
    name = screen_name(options)
    model = load_model(name)
    if model.description.calibration is None or REFERENCE_FILE not in model.description.checksums:
        raise ConfigError(
            f"screen_model must have the evidence of validation viruses ({REFERENCE_FILE}), from which its limits "
            f"follow; {model.description.name} has none; leave it out, or name a calibrated model of several host "
            "classes",
            "screen_model",
        )
    reference = Reference.read(find_model(name) / REFERENCE_FILE)
    framed = description.frame_rule.kind == "stop_free"  # only such chunks of viruses can be lost
    return LoadedScreen(model, reference.recall_thresholds(options.screen, framed))


def screen_name(options: Options) -> str:
    """Return the name or directory of the model of a screen."""
    return SCREEN_MODEL if options.screen_model is None else options.screen_model


def screen_options(options: Options, precision: str) -> Options:
    """Return the options of the model of a screen in a run with these options and this precision.

    The device and its use are those of the run; limits, and the budget of a batch, are the model's own. Instead of fp8
    it runs in bf16: fp8 would change its evidence and save little in a small model.
    """
    return Options(
        device=options.device,
        precision="bf16" if precision == "fp8" else precision,
        attention=options.attention,
        packing=options.packing,
        threads=options.threads,
    )
