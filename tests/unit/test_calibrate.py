"""Fitting evidence and thresholds on margins whose likelihood ratio is known, and the command on a tiny model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import run
from support.models import make_model, write_model

from virnucpro.errors import ConfigError
from virnucpro.evaluate.genomes import Window, read_genomes
from virnucpro.evaluate.metrics import calibration_error
from virnucpro.pipeline.predict import Options
from virnucpro.pretrained.registry import load_model
from virnucpro.scores.calibration import PRESETS, Knot, probability
from virnucpro.scores.reference import SHUFFLED
from virnucpro.train.calibrate import (
    PREVALENCE,
    default_shares,
    fit_kmers,
    fit_knot,
    fit_pooling,
    framed_evidence,
    held_out_error,
    log_loss,
    operating_point,
    reference_windows,
)
from virnucpro.train.scorer import Scored, Scorer

HOSTS = ("archaea", "bacteria", "fungi")
ONE, ALONE = ("other",), np.ones(1)  # a model of one host class, and the share of it


def scored(number: int, chunks: int = 1, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Scored:
    """Return `number` windows of each host and three times as many of virus, as a model of one host class sees them.

    Before `scale` and `shift` an output is normal with variance 1 and mean 1 for virus, -1 for host, so that its log
    likelihood ratio is twice the output.
    """
    rng = np.random.default_rng(seed)
    classes = np.repeat(["virus", *HOSTS], [3 * number, number, number, number])
    values = rng.normal(np.where(classes == "virus", 1.0, -1.0)[:, None], size=(len(classes), chunks))
    taxa = np.array([f"{name}|{i % 10}" for i, name in enumerate(classes)])
    return Scored((values * scale + shift)[:, :, None], classes, taxa, np.zeros((len(classes), chunks, 0)))


def evidence_of(windows: Scored, slope: float, intercept: float = 0.0) -> Scored:
    return windows.evidence(Knot(1, (slope,), (intercept,), 0.0))


def test_the_fit_finds_the_likelihood_ratio():
    knot = fit_knot(300, scored(20_000, scale=0.5, shift=3.0), ONE)
    assert knot.length == 300
    assert knot.slope == pytest.approx((4.0,), abs=0.1)
    assert knot.intercept == pytest.approx((-12.0,), abs=0.3)


def of_classes(number: int, seed: int = 0) -> Scored:
    """Return windows of a model of three host classes and one that has no windows.

    A model sees x of dimension 3, which is normal with variance 1 and mean 0 for virus, and the h-th unit vector for
    host h. Against h, the log likelihood ratio is then 1/2 - x[h].
    """
    rng = np.random.default_rng(seed)
    classes = np.repeat(["virus", *HOSTS], [3 * number, number, number, number])
    means = (classes[:, None] == np.array(HOSTS)).astype(float)
    x = rng.normal(means)
    outputs = np.concatenate((-2 * x + 1.5, rng.normal(size=(len(classes), 1))), axis=1)  # of another scale and place
    taxa = np.array([f"{name}|{i % 10}" for i, name in enumerate(classes)])
    return Scored(outputs[:, None], classes, taxa, np.zeros((len(classes), 1, 0)))


def test_the_fit_finds_the_likelihood_ratio_against_each_host_class():
    hosts = (*HOSTS, "mobile")
    knot = fit_knot(300, of_classes(20_000), hosts)
    assert knot.slope == pytest.approx((0.5, 0.5, 0.5, 0.5), abs=0.03)
    assert knot.intercept[:3] == pytest.approx((0.5 - 0.75,) * 3, abs=0.06)
    assert knot.intercept[3] == 0  # no window tells of it
    shares = default_shares(hosts, HOSTS)
    assert shares.sum() == pytest.approx(1)
    assert shares[3] == pytest.approx(shares[0] / 5, abs=1e-5)
    assert held_out_error(300, of_classes(4000), hosts, np.array([1, 1, 1, 0]) / 3) < 0.02


def test_every_host_class_counts_alike():
    """Many more windows of one class, margins of another kind: the fit is that of equal numbers."""
    few = scored(4000)
    fungi = few.classes == "fungi"
    few.values[fungi] += 1.0
    repeats = np.where(fungi, 5, 1)
    many = Scored(*(np.repeat(part, repeats, axis=0) for part in (few.values, few.classes, few.taxa, few.sums)))
    assert many.weights.sum() == pytest.approx(1)
    assert many.weights[many.is_virus].sum() == pytest.approx(0.5)
    assert many.weights[many.classes == "fungi"].sum() == pytest.approx(0.5 / 3)
    one, other = fit_knot(1, few, ONE), fit_knot(1, many, ONE)
    assert (*one.slope, *one.intercept) == pytest.approx((*other.slope, *other.intercept), abs=2e-4)


def test_windows_without_a_margin_are_left_out_of_the_fit():
    whole = scored(500)
    lacking = replace(whole, values=whole.values.copy())
    lacking.values[::7] = np.nan
    chosen = np.ones(len(whole.classes), dtype=bool)
    chosen[::7] = False
    assert fit_knot(1, lacking, ONE) == fit_knot(1, whole.take(chosen), ONE)


def test_windows_that_are_all_separated_have_a_finite_slope():
    knot = fit_knot(1, replace(scored(50), values=np.where(scored(50).is_virus, 2.0, -2.0)[:, None, None]), ONE)
    assert 1 < knot.slope[0] < 100


def test_the_calibration_error_is_that_of_taxa_that_were_not_fitted():
    honest = scored(5000)
    assert held_out_error(1, honest, ONE, ALONE) < 0.02
    second = np.unique(honest.taxa, return_inverse=True)[1] % 2 == 1
    strange = replace(honest, values=np.where(second[:, None, None], -honest.values, honest.values))
    assert held_out_error(1, strange, ONE, ALONE) > 0.3  # each half says the contrary of the other


@pytest.mark.parametrize(("scale", "shift"), [(8.0, 0.0), (0.2, 0.0), (1.0, 2.0)])
def test_scores_of_a_miscalibrated_model_become_probabilities(scale, shift):
    """Margins too large, too small, or off by a constant: the fit to one half of them mends the other."""
    wrong = scored(4000, scale=scale, shift=shift)
    first = np.arange(len(wrong.classes)) % 2 == 0
    knot, rest = fit_knot(300, wrong.take(first), ONE), wrong.take(~first)

    def error(one: Knot) -> float:
        scores = probability(rest.evidence(one).values[:, 0], PREVALENCE)
        return calibration_error(scores, rest.is_virus, rest.weights)

    assert error(Knot(300, (1.0,), (0.0,), 0.0)) > 0.08
    assert error(knot) < 0.02


@pytest.mark.parametrize("shared", [0.0, 0.2, 0.5, 1.0])
def test_the_exponent_tells_how_much_chunks_err_alike(shared):
    """Of four chunks' errors the share `shared` of the variance is common to them: the mean has a variance of
    shared + (1 - shared) / 4, and its log likelihood ratio is that of one chunk divided by it."""
    few, common = scored(4000, chunks=4), scored(4000, seed=1)
    mean = np.where(few.is_virus, 1.0, -1.0)[:, None, None]
    errors = (1 - shared) ** 0.5 * (few.values - mean) + shared**0.5 * (common.values - mean)
    found = fit_pooling(Knot(500, (2.0,), (0.0,), 0.0), [replace(few, values=mean + errors)], ALONE)
    assert found.pooling == pytest.approx(-np.log(shared + (1 - shared) / 4) / np.log(4), abs=0.07)
    assert (found.length, found.slope, found.intercept) == (500, (2.0,), (0.0,))


def test_log_loss_equals_a_plain_loop():
    few = scored(30)
    evidence = evidence_of(few, 2.0)
    p = probability(evidence.values[:, 0], 0.5)
    plain = sum(w * -np.log(q if v else 1 - q) for w, v, q in zip(few.weights, few.is_virus, p, strict=True))
    assert log_loss(evidence, ALONE) == pytest.approx(plain)


@pytest.mark.parametrize("pooling", [0.0, 0.5, 1.0])
def test_evidence_of_a_record_is_pooled_over_the_chunks_that_have_any(pooling):
    values = np.array([[1.0, 2.0, 4.0, np.nan], [np.nan] * 4])[:, :, None]
    found = Scored(values, np.array(["virus", "fungi"]), np.array(["a", "b"]), np.zeros((2, 4, 0))).evidence(
        Knot(1, (2.0,), (1.0,), pooling)
    )
    assert found.values[0, 0] == pytest.approx((2 * 7 / 3 + 1) * 3**pooling)
    assert np.isnan(found.values[1, 0])


def test_pieces_of_a_window():
    pieces = scored(2, chunks=5).pieces(2)
    assert pieces.values.shape == (24, 2, 1)
    np.testing.assert_array_equal(pieces.values[:2].ravel(), scored(2, chunks=5).values[0, :4, 0])
    assert pieces.classes[:13].tolist() == ["virus"] * 12 + ["archaea"]


@pytest.mark.parametrize("rate", PRESETS.values())
def test_a_threshold_lets_as_many_hosts_pass_as_it_may(rate):
    windows = evidence_of(scored(2000), 2.0)
    point = operating_point(300, rate, windows, ALONE)
    called = windows.values[:, 0] >= point.log_ratio
    passed = np.mean([called[windows.classes == host].mean() for host in HOSTS])
    assert rate - 0.002 < passed < rate + 1e-9
    assert point.false_positive_rate == pytest.approx(passed, abs=1e-4)
    assert point.recall == pytest.approx(called[windows.is_virus].mean(), abs=1e-4)
    assert point.shuffled is None


def test_shuffled_windows_raise_a_threshold():
    windows = evidence_of(scored(2000), 2.0)
    odd = replace(windows, values=windows.values + 1.0)
    plain, guarded = operating_point(300, 0.05, windows, ALONE), operating_point(300, 0.05, windows, ALONE, odd)
    assert guarded.log_ratio > plain.log_ratio
    assert 0.048 < guarded.shuffled <= 0.05
    assert guarded.shuffled == pytest.approx(odd.weights @ (odd.values[:, 0] >= guarded.log_ratio), abs=1e-4)
    harmless = operating_point(300, 0.05, windows, ALONE, replace(windows, values=windows.values - 9.0))
    assert (harmless.log_ratio, harmless.shuffled) == (plain.log_ratio, 0.0)


def test_a_threshold_is_never_below_even_odds():
    windows = evidence_of(scored(500, shift=-1.0), 2.0)
    assert operating_point(5000, 0.10, windows, ALONE).log_ratio == 0.0


def test_hosts_too_few_for_a_rate_all_stay_below():
    windows = evidence_of(scored(20), 2.0)
    assert operating_point(300, 0.01, windows, ALONE).false_positive_rate == 0.0


def test_the_weights_of_9_mers_are_found_beside_the_outputs():
    """Viruses have Poisson(1) 9-mers of the first side, hosts Poisson(1/3): each tells a factor of 3 for virus."""
    rng = np.random.default_rng(5)
    plain = {300: scored(20_000), 500: scored(20_000, seed=1, scale=0.5)}
    single = {
        n: replace(one, sums=rng.poisson(np.where(one.is_virus[:, None, None], [1.0, 0.4], [1 / 3, 0.8])))
        for n, one in plain.items()
    }
    knots = {n: fit_knot(n, one, ONE) for n, one in plain.items()}
    kmers = fit_kmers(single, knots, ALONE)
    assert kmers == pytest.approx((np.log(3), -np.log(2)), abs=0.03)
    intercept = fit_knot(300, single[300], ONE, kmers).intercept[0]
    assert intercept == pytest.approx(-(1 - 1 / 3) + 0.4, abs=0.05)  # Poisson without an event
    evidence = single[300].evidence(knots[300], kmers)
    assert evidence.values[:, 0] == pytest.approx(
        single[300].evidence(knots[300]).values[:, 0] + single[300].sums[:, 0] @ np.array(kmers)
    )


def test_windows_of_a_reference():
    hosts = (*HOSTS, "mobile")
    one = of_classes(500).evidence(Knot(1, (0.5,) * 4, (-0.25,) * 4, 0.0))
    taxa = sorted(set(one.taxa.tolist()))
    found = reference_windows(one, one.take(one.is_virus), hosts, taxa)
    numbers, counts = np.unique(found.classes, return_counts=True)
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == {0: 400, 1: 400, 2: 400, 4: 400, SHUFFLED: 400}
    assert found.steps.shape == (2000, 4)
    assert {taxa[number].partition("|")[0] for number in found.taxa[found.classes == 1].tolist()} == {"bacteria"}


def test_viruses_with_a_frame_are_kept_for_screens():
    free, stopped, dna = b"GCC" * 20, b"TAATTAATTAA" * 5, ("virus", "bacteria", "virus", "virus", "virus")
    drawn = [Window("x", 0, name, "t", text) for name, text in zip(dna, (free, free, stopped, free, free), strict=True)]
    ratios = np.array([[2.0, 1.0], [9.0, 9.0], [9.0, 9.0], [-1.0, -3.0], [np.nan, np.nan]])
    one = Scored(ratios, np.array(dna), np.array(["t"] * 5), np.zeros((5, 0)))
    shares = np.array([0.25, 0.75])
    expected = [-100 * np.log(shares @ np.exp(-ratios[row])) for row in (3, 0)]
    assert framed_evidence(drawn, one, shares).tolist() == np.rint(expected).tolist()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Virus and a host that differ in composition."""
    directory = tmp_path_factory.mktemp("data")
    (directory / "val").mkdir()
    rng = np.random.default_rng(0)
    for name, letters in (("virus", "ACGTAA"), ("bacteria", "ACGTCC")):
        entries = [f">{name}{i}\n{''.join(rng.choice(list(letters), 3000))}\n" for i in range(4)]
        (directory / "val" / f"{name}.fna").write_text("".join(entries))
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of random weights that are large enough to tell the two apart by chance."""
    made = make_model(min_length=75)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in made.parts().values():
            for parameter in part.parameters():
                parameter.normal_(std=0.5, generator=generator)
    described = replace(made, description=replace(made.description, metrics={"kept": 1}))
    return write_model(described, tmp_path_factory.mktemp("model") / "model")


def test_the_command_writes_a_calibrated_model_and_a_table(model, data, tmp_path, capfd):
    texts = []
    for name in ("one", "two"):
        asked = ("calibrate", model, "--data", data, "-o", tmp_path / name, "--windows", 20, "-t", 1)
        assert run(*asked) == 0
        texts.append(((tmp_path / name / "model.json").read_text(), capfd.readouterr().out))
    assert texts[0] == texts[1]
    made, before = load_model(str(tmp_path / "one")).description, load_model(str(model)).description
    assert made == replace(
        before, calibration=made.calibration, metrics=made.metrics, max_repetition=made.max_repetition
    )
    assert [knot.length for knot in made.calibration.knots] == [75, 100]
    for rate, points in zip(PRESETS.values(), made.calibration.presets.values(), strict=True):
        assert [point.length for point in points] == [75, 100, 200, 400, 1000, 2000]
        assert all(point.false_positive_rate <= rate for point in points)
    assert made.metrics["kept"] == 1
    assert all(point.shuffled <= rate for point in points)
    calibration = made.metrics["calibration"]
    assert calibration["windows"] == {"75": 80, "100": 80}
    assert calibration["pairs"].keys() == {"2 x 75"}
    assert calibration["pairs"]["2 x 75"].keys() == {"calibration_error", *PRESETS}
    assert calibration["adapters_called"].keys() == {"75", "100"}
    assert made.max_repetition == 0.15
    lines = texts[0][1].splitlines()
    assert [line.count("|") for line in lines] == [14] * 8 + [0, 0, 0] + [4] * 3 + [0, 0, 0] + [9] * 3 + [0, 0, 0] + [
        4
    ] * 5
    assert lines[2].startswith("| 75 | ")
    # Once more, from a model that has a calibration: it changes nothing.
    assert run("calibrate", tmp_path / "one", "--data", data, "-o", tmp_path / "three", "--windows", 20, "-t", 1) == 0
    assert json.loads((tmp_path / "three" / "model.json").read_text()) == json.loads(texts[0][0])


def test_what_cannot_be_calibrated(model, data, tmp_path, capfd):
    (tmp_path / "val").mkdir()
    shutil.copy(data / "val" / "virus.fna", tmp_path / "val")
    assert run("calibrate", model, "--data", tmp_path, "-o", tmp_path / "out") == 2
    assert "calibration needs genomes of class virus and of hosts, found virus" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    for name in ("virus", "bacteria"):
        letters = bytearray((data / "val" / f"{name}.fna").read_bytes().replace(b"\n>", b"\n\n>"))
        letters[50::30] = b"N" * len(letters[50::30])
        (tmp_path / "val" / f"{name}.fna").write_bytes(
            b"".join(
                b">r%d\n%s\n" % (i, part[10:].replace(b"\n", b"")) for i, part in enumerate(letters.split(b"\n\n"))
            )
        )
    assert run("calibrate", model, "--data", tmp_path, "-o", tmp_path / "out") == 2
    assert "calibration found no window" in capfd.readouterr().err
    loaded = load_model(str(model))
    published = replace(loaded, description=replace(loaded.description, vote="max"))
    with pytest.raises(ConfigError, match="only the vote weighted"):
        Scorer(published, read_genomes(data, "val"), Options(device="cpu"), 20, print)
