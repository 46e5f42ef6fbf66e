"""`evaluate` finds what each preset would call, from scores and the run.json beside them."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from virnucpro.evaluate.truth import evaluate_tables
from virnucpro.scores.calibration import PRESETS

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The classes of the records in examples/, by their names."""
    names = [line[1:].split()[0] for line in (EXAMPLES / "lambda.fa").read_text().splitlines() if line[0] == ">"]
    text = gzip.decompress((EXAMPLES / "ecoli.fa.gz").read_bytes()).decode()
    names += [line[1:].split()[0] for line in text.splitlines() if line[0] == ">"]
    path = tmp_path_factory.mktemp("truth") / "truth.tsv"
    lines = [f"{name}\t{'virus' if name.startswith('lambda') else 'bacteria'}\n" for name in names]
    path.write_text("seq_name\tclass\n" + "".join(lines))
    return path


@pytest.fixture
def predicted(call, tmp_path):
    """Return the table of a run with these options."""

    def run(*options: str) -> Path:
        inputs = [str(EXAMPLES / name) for name in ("lambda.fa", "ecoli.fa.gz")]
        code, err = call(["predict", *inputs, "-o", str(tmp_path / "out"), "--device", "cpu", *options])
        assert code == 0, err
        return tmp_path / "out" / "records.tsv"

    return run


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "more",
    [[], ["--composition", "equal"], ["--composition", "equal", "--prevalence", "0.01"]],
    ids=["sample", "even odds", "few viruses"],
)
def test_the_point_of_a_preset_is_that_of_a_run_with_it(truth, predicted, preset, more):
    points = evaluate_tables(truth, predicted("--preset", preset, *more)).summary()["operating_points"]
    assert list(points) == ["as_called", *PRESETS]
    assert points[preset] == points["as_called"]
    recalls = [points[name]["recall"] for name in PRESETS]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[-1]


def test_presets_need_the_run_and_its_model(truth, predicted, tmp_path, capfd):
    calls = predicted()
    copy = tmp_path / "copy.tsv"
    shutil.copy(calls, copy)
    assert list(evaluate_tables(truth, copy).summary()["operating_points"]) == ["as_called"]
    manifest = json.loads((calls.parent / "run.json").read_text())
    manifest["model"]["sha256_of_description"] = "of another"
    (calls.parent / "run.json").write_text(json.dumps(manifest))
    assert list(evaluate_tables(truth, calls).summary()["operating_points"]) == ["as_called"]
    assert "no figures of presets: the model in" in capfd.readouterr().err


def test_plots_of_all_formats(call, truth, predicted, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras report and dev")
    calls = predicted()
    names = {"roc", "precision_recall", "recall_by_length", "calibration", "scores"}
    arguments = ["evaluate", str(calls), "--truth", str(truth), "-o", str(tmp_path / "figures"), "--replicates", "2"]
    for suffix, begin in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        code, err = call([*arguments, "--format", suffix, "--restart"])
        assert code == 0, err
        plots = {path.stem: path.read_bytes() for path in (tmp_path / "figures").glob("*.???") if path.suffix != ".tsv"}
        assert plots.keys() == names  # those of the other format are gone
        assert all(content.startswith(begin) for content in plots.values())
        if suffix == "svg":
            first = plots
    assert call([*arguments, "--format", "svg", "--restart"])[0] == 0
    assert {name: (tmp_path / "figures" / f"{name}.svg").read_bytes() for name in names} == first
