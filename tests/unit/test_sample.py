"""The composition of a sample of several host classes, and what a model's reference says of it."""

from dataclasses import replace

import numpy as np
import pytest
from support.hosts import HOSTS, SHARES, make_reference

from virnucpro.errors import ModelError
from virnucpro.scores.calibration import against_mixture
from virnucpro.scores.composition import (
    FLOOR,
    Composition,
    SampleRule,
    bounded_sample,
    could_be_virus,
    estimate_shares,
)
from virnucpro.scores.evidence import NO_EVIDENCE, STEPS, evidence_steps, evidence_type
from virnucpro.scores.reference import SHUFFLED, Reference, Windows


def parts(evidence: np.ndarray, size: int) -> list[np.ndarray]:
    return [evidence[begin : begin + size] for begin in range(0, len(evidence), size)]


def drawn(number: int, virus: float, hosts: dict[str, float], length: int = 300, seed: int = 0):
    """Return evidence and truth of records whose likelihoods are known.

    A record is a vector x that is normal with variance 1, and mean 2 in the direction of its class, of virus or hosts.
    """
    rng = np.random.default_rng(seed)
    shares = np.array([(1 - virus) * hosts.get(name, 0.0) for name in HOSTS] + [virus])
    classes = rng.choice(4, number, p=shares)
    x = rng.normal(2.0 * np.eye(4)[classes])
    evidence = np.zeros(number, evidence_type(3))
    evidence["steps"] = evidence_steps(2.0 * (x[:, 3:] - x[:, :3]))
    evidence["length"] = length
    return evidence, classes == 3


def plain_expectation_maximisation(steps: np.ndarray, default: list[float]) -> list[float]:
    """Return the shares of hosts as a loop over records finds them."""
    virus, shares = 0.5, list(default)
    for _ in range(300):
        found, viruses = [0.0] * 3, 0.0
        for row in (steps / 100).tolist():
            joint = [(1 - virus) * share * np.exp(-ratio) for share, ratio in zip(shares, row, strict=True)]
            total = sum(joint) + virus
            viruses += virus / total
            found = [old + one / total for old, one in zip(found, joint, strict=True)]
        shares = [(one + 30 * mean) / (sum(found) + 30) for one, mean in zip(found, default, strict=True)]
        virus = (viruses + 1) / (len(steps) + 2)
    return shares


def test_shares_are_those_of_a_plain_loop():
    evidence, _ = drawn(60, 0.2, {"fungi": 1.0})
    expected = plain_expectation_maximisation(evidence["steps"], list(SHARES))
    assert estimate_shares(evidence["steps"], np.array(SHARES)).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("virus", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("hosts", [{"plant": 1.0}, {"bacteria": 0.7, "fungi": 0.3}], ids=str)
def test_a_large_sample_tells_its_own_composition(virus, hosts):
    evidence, is_virus = drawn(40_000, virus, hosts)
    rule = SampleRule.choose(make_reference(), "balanced", "sample")
    found = rule.composition(parts(evidence, 7_000))
    assert found.prevalence == pytest.approx(virus, abs=0.01)
    expected = [FLOOR * share + (1 - FLOOR) * hosts.get(name, 0.0) for name, share in zip(HOSTS, SHARES, strict=True)]
    assert list(found.hosts) == list(HOSTS)
    assert found.shares.tolist() == pytest.approx(expected, abs=0.02)
    judged = found.judge(evidence)
    for rate in (0.05, 0.2):
        kept = judged.fdr <= rate
        if kept.sum() > 500:
            assert 1 - is_virus[kept].mean() == pytest.approx(judged.fdr[kept].max(), abs=0.03)
    thresholds = make_reference().thresholds(found.shares, 0.05)
    ratios = against_mixture(evidence["steps"] / STEPS, found.shares)
    assert np.array_equal(judged.is_virus, ratios >= thresholds[300])


def test_a_small_sample_keeps_the_default_composition():
    evidence, _ = drawn(10, 0.0, {"plant": 1.0})
    found = SampleRule(make_reference()).composition([evidence])
    assert np.abs(found.shares - SHARES).max() < 0.25
    assert found.thresholds is None
    assert found.judge(evidence).is_virus is None
    nothing = np.zeros(3, evidence_type(3))
    nothing["steps"] = NO_EVIDENCE
    assert SampleRule(make_reference()).composition([nothing]) is None
    assert SampleRule(make_reference()).composition([]) is None


def test_records_without_evidence_change_nothing():
    evidence, _ = drawn(500, 0.2, {"plant": 1.0})
    more = np.concatenate((evidence, evidence[:50]))
    more["steps"][500:] = NO_EVIDENCE
    rule = SampleRule(make_reference(), rate=0.05)
    one, other = rule.composition([evidence]), rule.composition([more])
    assert (one.prevalence, one.hosts, one.fdr) == (other.prevalence, other.hosts, other.fdr)
    judged = other.judge(more)
    assert judged.known.tolist() == [True] * 500 + [False] * 50
    assert not judged.is_virus[500:].any()


@pytest.mark.parametrize("size", [1, 999, 70_000, 300_000])
def test_the_sample_depends_on_the_number_of_a_record_alone(size):
    evidence = np.zeros(300_000, evidence_type(1))
    evidence["length"] = np.arange(len(evidence))
    evidence["steps"][::3] = NO_EVIDENCE
    every = bounded_sample(parts(evidence, 100_000))
    assert 1 << 15 < len(every) <= 1 << 16
    if size > 1:
        assert np.array_equal(bounded_sample(parts(evidence, size)), every)
    assert (every["length"] % 3 != 0).all()
    spread = np.histogram(every["length"], 10, (0, len(evidence)))[0]
    assert spread.max() < 1.1 * spread.min()
    few = evidence[:100]
    assert np.array_equal(bounded_sample([few]), few[few["steps"][:, 0] != NO_EVIDENCE])


def test_what_could_be_virus_is_never_left_out():
    rng = np.random.default_rng(1)
    ratios = rng.normal(-1, 3, (2000, 3))
    ratios[0] = np.nan
    found = could_be_virus(ratios, np.array(SHARES))
    assert not found[0]
    assert 100 < found.sum() < 1900
    for shares in rng.dirichlet([0.1] * 3, 200):
        under = against_mixture(ratios[1:], (1 - FLOOR) * shares + FLOOR * np.array(SHARES))
        assert not (under[~found[1:]] >= -0.01).any()


def plain_threshold(one: Windows, shares: list[float], rate: float) -> float:
    """Return the lowest threshold, to 0.005, that at most `rate` of the hosts pass."""
    ratios = -np.log((np.array(shares) * np.exp(-one.steps / 100)).sum(axis=1))
    for step in range(3000):
        passed = sum(share * (ratios[one.classes == h] >= step / 200).mean() for h, share in enumerate(shares))
        shuffled = (ratios[one.classes == SHUFFLED] >= step / 200).mean() if (one.classes == SHUFFLED).any() else 0
        if max(passed, shuffled) <= rate:
            return step / 200
    raise AssertionError


@pytest.mark.parametrize("shares", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]], ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_thresholds_hold_for_the_hosts_of_the_sample(shares, rate):
    reference = make_reference(number=3000)
    found = reference.thresholds(np.array(shares), rate)
    for length, one in reference.windows.items():
        assert found[length] == pytest.approx(plain_threshold(one, shares, rate), abs=0.05)
    assert found[0] == found[1] == found[50]
    assert len(found) == 401
    half = found[np.rint((50 * 400) ** 0.5).astype(int)]
    assert half == pytest.approx((found[50] + found[400]) / 2, abs=0.02)


def test_shuffled_windows_hold_thresholds_up():
    reference = make_reference()
    windows = {
        n: replace(one, classes=np.where(one.classes == 3, SHUFFLED, one.classes).astype(np.uint8))
        for n, one in reference.windows.items()
    }
    plain = reference.thresholds(np.array(SHARES), 0.05)
    held = replace(reference, windows=windows).thresholds(np.array(SHARES), 0.05)
    assert (held > plain + 1).all()


@pytest.mark.parametrize("virus", [0.0, 0.1, 0.6])
def test_the_interval_holds_the_truth_and_tells_few_from_none(virus):
    evidence, _ = drawn(20_000, virus, {"plant": 0.6, "fungi": 0.4})
    every = [drawn(750, float(name == "virus"), {name: 1.0}, seed=5)[0]["steps"] for name in (*HOSTS, "virus")]
    ratios, classes = np.concatenate(every), np.repeat(np.arange(4, dtype=np.uint8), 750)
    taxa = (classes * 10 + np.arange(len(classes)) % 10).astype(np.int32)
    reference = Reference(HOSTS, np.array(SHARES), {300: Windows(ratios, classes, taxa)})
    found = SampleRule(reference).composition([evidence])
    low, high = found.interval
    assert 0 <= low <= virus <= high <= 1
    assert low <= found.prevalence <= high
    assert high - low < 0.3
    assert found.may_be_none == (virus == 0.0)


def test_one_record_says_little():
    evidence, _ = drawn(1, 1.0, {})
    low, high = SampleRule(make_reference()).composition([evidence]).interval
    assert high - low > 0.3
    assert Composition.of({0: 1}).interval is None


def test_a_reference_comes_back_from_its_file(tmp_path):
    made = make_reference()
    made.write(tmp_path / "reference.safetensors")
    found = Reference.read(tmp_path / "reference.safetensors")
    assert (found.hosts, found.shares.tolist(), list(found.windows)) == (HOSTS, list(SHARES), [50, 400])
    for n, one in made.windows.items():
        for name in ("steps", "classes", "taxa"):
            assert np.array_equal(getattr(found.windows[n], name), getattr(one, name))


@pytest.mark.parametrize("damage", ["cut", "missing", "other"])
def test_a_damaged_reference_is_an_error(tmp_path, damage):
    path = tmp_path / "reference.safetensors"
    make_reference().write(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "missing":
        path.unlink()
    else:
        one = make_reference().windows[50]
        Reference(HOSTS, np.array(SHARES), {50: replace(one, classes=one.classes[:-1])}).write(path)
    with pytest.raises(ModelError, match="copy the model directory again"):
        Reference.read(path)
