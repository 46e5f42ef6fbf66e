"""Settings of the library and options of the command line that make no sense: one error that names the field."""

import math
import pickle
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import virnucpro
from virnucpro.cli.main import with_flags
from virnucpro.config import CallOptions, ComputeOptions, number
from virnucpro.errors import ConfigError, InputError, OutputError
from virnucpro.files import locked
from virnucpro.pipeline.regions import REMNANTS, Landscape
from virnucpro.run.directory import RunDirectory
from virnucpro.run.embeddings import EmbedRequest
from virnucpro.run.request import Request
from virnucpro.run.scan import Scanner, ScanSettings
from virnucpro.run.units import unit_size

NO_NUMBERS = ["abc", "5", "", None, True, False, math.nan, math.inf, -math.inf, [1], 1j, slice(3)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "lambda.fa"


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_number(value, whole):
    with pytest.raises(ConfigError, match=r"^x must be a (whole )?number, got ") as caught:
        number("x", value, 0, 10, whole=whole)
    assert "\n" not in str(caught.value)


def test_numbers_and_their_bounds():
    assert number("x", np.int64(3), whole=True) == number("x", np.float32(3)) == number("x", Fraction(3)) == 3
    assert type(number("x", np.int64(3), whole=True)) is int
    assert type(number("x", np.float64(0.5))) is float
    assert (number("x", 0, 0, 1), number("x", 1, 0, 1), number("x", 10**400, whole=True)) == (0, 1, 10**400)
    for value, words in ((-1, "x must lie in 0..1, got -1"), (1.5, "x must lie in 0..1, got 1.5")):
        with pytest.raises(ConfigError, match=words):
            number("x", value, 0, 1)
    with pytest.raises(ConfigError, match="x must lie between 0 and 1, got 1"):
        number("x", 1, 0, 1, inclusive=False)
    with pytest.raises(ConfigError, match="x must be a whole number, at least 3, got 2"):
        number("x", 2, 3, whole=True)
    with pytest.raises(ConfigError, match=r"x must be a whole number, got 2\.0"):
        number("x", 2.0, whole=True)


@pytest.mark.parametrize("field", ["virus_length", "other_length", "weight", "evidence_offset", "composition"])
def test_a_landscape_of_numbers(field):
    for value in (*NO_NUMBERS, *(() if field == "evidence_offset" else (-1,)), *((0,) if "length" in field else ())):
        with pytest.raises(ConfigError, match=f"{field} must be"):
            Landscape(**{field: value})
        with pytest.raises(ConfigError, match=f"{field} must be"):
            replace(REMNANTS, **{field: value})


@pytest.mark.parametrize("name", ["min_posterior", "step", "min_length"])
def test_settings_of_a_scan(lab, name):
    for value in NO_NUMBERS:
        if value is None and name == "step":
            continue
        with pytest.raises(ConfigError, match=rf"^{name} must be"):
            Scanner(ScanSettings(str(lab.model), **{name: value}))
    for value in (-1, 101 if name == "step" else -0.5):
        with pytest.raises(ConfigError, match=rf"^{name} must"):
            Scanner(ScanSettings(str(lab.model), **{name: value}))
    with pytest.raises(
        ConfigError, match="virus_length and other_length of a landscape must be longer than a step of 50 nt"
    ):
        Scanner(ScanSettings(str(lab.model), landscape=Landscape(virus_length=50)))


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 1.5], ids=repr)
def test_requests(tmp_path, value):
    if value is not None:
        with pytest.raises(ConfigError, match=r"^unit_records must be"):
            Request([EXAMPLE], tmp_path, unit_records=value)
    for field, least in (("layer", 0), ("max_length", 1)):
        if value is not None and (value != least or isinstance(value, bool)):
            with pytest.raises(ConfigError, match=rf"^{field} must be"):
                EmbedRequest([EXAMPLE], tmp_path, **{field: value})


def test_units_suit_the_device_unless_their_size_is_asked_for():
    assert unit_size("cpu") == (1024, 1 << 20)
    assert unit_size("cuda") == unit_size("cuda:1") == (8192, 1 << 22)
    assert (unit_size("cpu", 5), unit_size("cuda:0", 5)) == ((5, 1 << 20), (5, 1 << 22))


def test_a_small_input_has_smaller_units_for_shards():
    assert unit_size("cpu", None, 4, 100 * 1024 * 80) == (1024, 1 << 20)  # 20 units of the usual size for each shard
    assert unit_size("cpu", None, 4, 100 * 1024 * 20) == (256, 1 << 18)
    assert unit_size("cuda", None, 4, 100 * 8192 * 40) == (4096, 1 << 21)
    assert unit_size("cpu", None, 1000, 5) == (32, 1 << 15)  # not below a part of the usual size
    for shards, size in ((4, None), (1, 5)):  # a stream, and a run in one piece
        assert unit_size("cpu", None, shards, size) == (1024, 1 << 20)
    assert unit_size("cpu", 7, 4, 5) == (7, 1 << 20)


def test_inputs_of_requests_and_predict_are_paths():
    assert Request(str(EXAMPLE), None).inputs == Request([bytes(EXAMPLE)], None).inputs == [str(EXAMPLE)]
    for wrong in (None, 5, [None], ["a\0b"], "a\0b", b"a\0b"):
        for make in (lambda given: Request(given, None), lambda given: EmbedRequest(given, Path()), virnucpro.predict):
            with pytest.raises(InputError):
                make(wrong)


def test_outputs_that_no_directory_can_have():
    for path in (Path("a\0b"), Path("\ud800")):
        with pytest.raises(OutputError, match=r"cannot be used: .*; choose another --output"), locked(path):
            pass
        with pytest.raises(OutputError, match="cannot be used"), RunDirectory(path).locked():
            pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "IN", "--min-score", "nan"], "--min-score"),
        (["predict", "IN", "--min-score", "inf"], "--min-score"),
        (["predict", "IN", "--prevalence", "nan"], "--prevalence must be a number, got nan"),
        (["predict", "IN", "--prevalence", "-inf"], "--prevalence must be a number, got -inf"),
        (["predict", "IN", "--max-tokens", "9999999999"], "--max-tokens must lie in 1..2147483647"),
        (["predict", "IN", "--chunk-length", "0"], "--chunk-length must be a whole number, at least 3"),
        (["scan", "IN", "--min-posterior", "nan"], "--min-posterior must be a number, got nan"),
        (["scan", "IN", "--neutral", "nan"], "--neutral must be a number, got nan"),
        (["scan", "IN", "--neutral", "inf"], "--neutral must be a number, got inf"),
        (["embed", "IN", "--layer", "-1"], "--layer must be a whole number, at least 0, got -1"),
    ],
)
def test_options_of_the_command_line(lab, call, tmp_path, arguments, words):
    given = [str(lab.input) if argument == "IN" else argument for argument in arguments]
    code, err = call([*given, "-o", str(tmp_path / "out"), "--model", str(lab.model)])
    assert (code, words in err, "Traceback" in err) == (2, True, False), err
    assert not list((tmp_path / "out").glob("*.tsv"))


def test_options_are_in_two_parts_and_given_by_keyword():
    given = virnucpro.Options(device="cpu", min_length=30)
    assert isinstance(given, ComputeOptions)
    assert isinstance(given, CallOptions)
    names = [field.name for kind in (ComputeOptions, CallOptions) for field in fields(kind)]
    assert list(asdict(given)) == names  # as they stand in run.json
    for kind in (virnucpro.Options, ComputeOptions, CallOptions):
        with pytest.raises(TypeError):
            kind("cpu")


def test_an_error_keeps_its_fields_in_another_process():
    with pytest.raises(ConfigError) as caught:
        CallOptions(min_score=2)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (
        (str(copy), copy.fields)
        == (str(caught.value), ("min_score",))
        == ("min_score must lie in 0..1, got 2", ("min_score",))
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("min_score must lie in 0..1, got 2", "min_score"), "--min-score must lie in 0..1, got 2"),
        (ConfigError("paired and interleaved differ", "paired", "interleaved"), "--paired and --interleaved differ"),
        (ConfigError("layer must be 1 for /data/layer/x", "layer"), "--layer must be 1 for /data/layer/x"),
        (ConfigError("the device is busy; use --device cpu"), "the device is busy; use --device cpu"),
        (InputError("layer"), "layer"),
    ],
    ids=["a field", "two fields", "a path", "no field", "another error"],
)
def test_the_command_line_names_flags(error, message):
    assert with_flags(error) == message
