"""Runs of a calibrated model, of single records and of pairs: the same bytes whatever happens on the way."""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from specified_rows import fasta, step
from support.calibrated import write_calibrated_model
from support.hosts import HOSTS, SHARES, make_reference, write_hosts_model

from virnucpro import Options, Predictor, load_model, read_pairs, read_records
from virnucpro.report.explain import explain
from virnucpro.run.directory import RunDirectory
from virnucpro.scores.calibration import PRESETS, probability
from virnucpro.scores.composition import FLOOR, Composition
from virnucpro.seq.block import RecordBlock


def everything(directory: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a complete run but run.json, which holds timings."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix not in (".json", ".html")}


def rows(directory: Path) -> list[dict[str, str]]:
    text = (directory / "records.tsv").read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def model(lab) -> Path:
    """A calibrated model of two classes."""
    return write_calibrated_model(lab.folder / "calibrated_model", read_records([lab.input]))


@pytest.fixture(scope="module")
def mates(lab) -> tuple[Path, Path]:
    """Two files of mates; among them are empty, short and ambiguous ones, and ids repeat."""
    paths = (lab.folder / "R1.fa", lab.folder / "R2.fa")
    for number, path in enumerate(paths, start=1):
        records = lab.make_records(120, seed=number)
        path.write_text("".join(f">pair_{i % 50}/{number} x\n{s}\n" for i, (_, s) in enumerate(records)))
    return paths


@pytest.fixture(scope="module")
def hosts_model(lab) -> Path:
    """A model of several host classes."""
    return write_hosts_model(lab.folder / "hosts_model", read_records([lab.input]))


@pytest.fixture(scope="module", params=["single", "paired", "several hosts", "pairs, several hosts"])
def arguments(request, lab, model, hosts_model, mates):
    """Make the command line of a run in a directory."""
    inputs = ["--paired", *mates] if "pair" in request.param else [lab.input]
    chosen = hosts_model if "several" in request.param else model

    def make(output: object, *more: object) -> list[str]:
        given = ["predict", *inputs, "-o", output, "--model", chosen, "-t", 1, "--unit-records", 4, *more]
        return [str(argument) for argument in given]

    return make


@pytest.fixture(scope="module")
def unbroken(arguments, lab, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "out"
    command = [Path(sys.executable).with_name("virnucpro"), *arguments(output)]
    code, err = lab.ended(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert code == 0, err
    assert "; estimated share of virus " in err
    return output


def test_a_resumed_run_has_the_same_bytes(arguments, call, unbroken, tmp_path, monkeypatch):
    with monkeypatch.context() as kept:
        kept.setattr(RunDirectory, "remove_units", lambda self: None)
        assert call(arguments(tmp_path / "out"))[0] == 0
    units = sorted((tmp_path / "out" / "units").glob("unit_*"))
    assert len(units) >= 30
    for unit in units[3::2]:
        unit.unlink()
    for name in everything(unbroken):
        (tmp_path / "out" / name).unlink()
    code, err = call(arguments(tmp_path / "out", "--resume"))
    assert code == 0
    assert f"{len(units) - len(units[3::2])} of {len(units)} units were done before" in err
    assert everything(tmp_path / "out") == everything(unbroken)


@pytest.mark.parametrize(
    "more", [["-t", 2], ["--max-tokens", 300], ["--unit-records", 1], ["--unit-records", 500]], ids=str
)
def test_threads_token_budget_and_units_change_nothing(arguments, call, unbroken, tmp_path, more):
    assert call(arguments(tmp_path / "out", *more))[0] == 0
    assert everything(tmp_path / "out") == everything(unbroken)


def test_fdr_and_prevalence_are_those_of_the_records(arguments, call, unbroken, lab):
    """All that follows from the sample, from the calls of its records one by one."""
    manifest = json.loads((unbroken / "run.json").read_text())
    predictor = Predictor(load_model(manifest["model"]["directory"]), Options(device="cpu", threads=1))
    mates = arguments("-")[2:4] if "--paired" in arguments("-") else None
    block = RecordBlock.of(list(read_pairs(*mates) if mates else read_records([lab.input])))
    table = predictor.call(block)
    several = bool(predictor.decision.hosts)
    shares = np.array(list(manifest["composition"]["hosts"].values()) or [1.0])
    steps = np.array([[step(ratio) for ratio in row] for row in np.nan_to_num(table.record.ratios).tolist()])
    ratios = -np.log((shares * np.exp(-steps / 100)).sum(axis=1))
    calls = list(table.calls())
    scored = [i for i, call in enumerate(calls) if call.log_ratio is not None]
    assert len(scored) > 50
    composition = Composition.of(Counter(step(ratios[i]) for i in scored))
    found = rows(unbroken)
    assert [row["virus_score"] for row in found] == [
        "NA" if c.virus_score is None else f"{c.virus_score:.4f}" for c in calls
    ]
    assert manifest["prevalence"] == pytest.approx(composition.prevalence, abs=1e-3)
    rates = [float(found[i]["fdr"]) for i in scored]
    assert rates == pytest.approx([composition.fdr.get(step(ratios[i]), np.nan) for i in scored], abs=2e-3, nan_ok=True)
    assert len(set(rates)) > 20
    assert [float(found[i]["sample_score"]) for i in scored] == pytest.approx(
        [float(probability(ratios[i], composition.prevalence)) for i in scored], abs=2e-3
    )
    for i, row in enumerate(found):
        if i not in scored:
            assert [row[name] for name in ("fdr", "confidence", "sample_score", "host_class")] == ["NA"] * 4
        elif several:
            assert row["host_class"] == HOSTS[int(np.argmax(np.log(SHARES) - table.record.ratios[i]))]
    assert (manifest["options"]["preset"], manifest["options"]["prevalence"]) == ("balanced", 0.5)
    ordered = sorted((float(found[i]["sample_score"]), -float(found[i]["fdr"])) for i in scored)
    assert [fdr for _, fdr in ordered] == sorted(fdr for _, fdr in ordered)  # the higher the score, the lower
    called = [row["prediction"] == "virus" for row in found]
    assert sum(called) == manifest["counts"]["viral"]
    if several:
        thresholds = make_reference().thresholds(shares, PRESETS["balanced"])
        lengths = np.minimum(table.judged_length, len(thresholds) - 1)
        clear = [i for i in scored if abs(ratios[i] - thresholds[lengths[i]]) > 0.01]
        assert [called[i] for i in clear] == [bool(ratios[i] >= thresholds[lengths[i]]) for i in clear]
        moved = [i for i in clear if called[i] != calls[i].is_virus]
        assert moved  # the composition of the sample decides
    names = ["viral_1.fasta", "viral_2.fasta"] if mates else ["viral.fasta"]
    for number, name in enumerate(names):
        hits = [record.parts[number] for record, hit in zip(block.records(), called, strict=True) if hit]
        assert (unbroken / name).read_bytes() == b"".join(map(fasta, hits))


def test_prevalence_moves_scores_but_neither_calls_nor_fdr(arguments, call, unbroken, tmp_path):
    assert call(arguments(tmp_path / "rare", "--prevalence", 0.01))[0] == 0
    usual, rare = rows(unbroken), rows(tmp_path / "rare")
    for name in ("seq_name", "prediction", "sample_score", "fdr", "host_class", "status"):
        assert [row[name] for row in rare] == [row[name] for row in usual]
    moved = [
        (float(u["virus_score"]), float(r["virus_score"]))
        for u, r in zip(usual, rare, strict=True)
        if u["fdr"] != "NA" and 0.01 < float(u["virus_score"]) < 0.99
    ]
    assert moved
    for before, after in moved:
        odds = before / (1 - before) / 99
        # The decimals that the first one lacks come back 25-fold where it is 0.99.
        assert after == pytest.approx(odds / (1 + odds), abs=2e-3)


def test_a_call_is_explained_by_record_and_sample(arguments, unbroken):
    manifest = json.loads((unbroken / "run.json").read_text())
    row = next(row for row in rows(unbroken) if row["prediction"] == "virus")
    lines = list(explain(unbroken, row["seq_name"]))
    assert (
        f"  in this sample, with {manifest['prevalence']:.1%} virus: probability of virus {row['sample_score']}"
        in lines
    )
    of_hosts = [line for line in lines if line.startswith("  hosts of the sample: ")]
    if manifest["composition"]["hosts"]:
        first = max(manifest["composition"]["hosts"], key=manifest["composition"]["hosts"].get)
        assert of_hosts[0].startswith(f"  hosts of the sample: {first} ")
        assert any(f"score {row['virus_score']}, likeliest host {row['host_class']}" in line for line in lines)
        assert any("it reaches the preset balanced for its length and this sample" in line for line in lines)
    else:
        assert not of_hosts
    begins = "  in this sample", "  hosts of", "  alone", "  called"
    assert max(len(line) for line in lines if line.startswith(begins)) <= 80


def test_standard_output_does_not_know_the_sample(arguments, call, tmp_path, capfd):
    """Its calls are those under the default composition."""
    from virnucpro.cli.main import main

    with pytest.raises(SystemExit):
        main(arguments("-"))
    shown = capfd.readouterr()
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert call(arguments(tmp_path / "out", "--composition", "equal"))[0] == 0
    expected = [line.split("\t") for line in (tmp_path / "out" / "records.tsv").read_text().splitlines()]
    assert lines[0] == expected[0]
    begin, end = (expected[0].index(name) for name in ("fdr", "sample_score"))
    assert expected[0][begin : end + 1] == ["fdr", "confidence", "sample_score"]
    assert lines[1:] == [[*cells[:begin], "NA", "NA", "NA", *cells[end + 1 :]] for cells in expected[1:]]
    several = "hosts_model" in str(arguments("-"))
    assert ("assume the default composition of hosts" in shown.err) == several


def test_shards_are_merged_to_the_same_bytes_without_the_model(arguments, call, unbroken, tmp_path):
    model = Path(arguments("-")[arguments("-").index("--model") + 1])
    shutil.copytree(model, tmp_path / "model")
    parts = []
    for number in (1, 2, 3):
        parts.append(tmp_path / f"part_{number}")
        given = arguments(parts[-1], "--shard", f"{number}/3", "--model", tmp_path / "model")
        assert call(given)[0] == 0
    shutil.rmtree(tmp_path / "model")
    code, err = call(["merge", *map(str, parts), "-o", str(tmp_path / "merged")])
    assert code == 0, err
    assert everything(tmp_path / "merged") == everything(unbroken)
    found, whole = (json.loads((path / "run.json").read_text()) for path in (tmp_path / "merged", unbroken))
    for name in ("prevalence", "composition", "counts"):
        assert found[name] == whole[name]


def test_the_composition_may_be_given(call, lab, hosts_model, tmp_path):
    table = tmp_path / "hosts.tsv"
    table.write_text("class\tshare\nbacteria\t9\nvirus\t0.25\n")
    given = ["--model", hosts_model, "-t", 1]
    assert call(lab.arguments(tmp_path / "given", *given, "--composition", table))[0] == 0
    manifest = json.loads((tmp_path / "given" / "run.json").read_text())
    assert manifest["prevalence"] == 0.25
    assert manifest["composition"]["source"] == "given"
    hosts = {
        name: FLOOR * share + (1 - FLOOR) * (name == "bacteria") for name, share in zip(HOSTS, SHARES, strict=True)
    }
    assert manifest["composition"]["hosts"] == pytest.approx(hosts, abs=1e-4)
    code, err = call(lab.arguments(tmp_path / "given", *given, "--resume"))
    assert code == 2
    assert "--composition was {'bacteria': 9.0, 'virus': 0.25} and is sample" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bacteria 1\n", "has no column 'class'"),
        ("class\tshare\nmartian\t1\n", "--composition names 'martian', which is not a class of the model tiny"),
        ("class\tshare\nplant\t-1\n", "share must be 0 or more, got -1"),
        ("class\tshare\nplant\t1\nplant\t2\n", "the class 'plant' again"),
        ("class\tshare\nvirus\t0.5\n", "--composition must give a host class a share above 0"),
        ("class\tshare\n", "has no row"),
        (None, "no such file"),
    ],
    ids=range(7),
)
def test_compositions_that_cannot_be(call, lab, hosts_model, tmp_path, text, message):
    table = tmp_path / "hosts.tsv"
    if text is not None:
        table.write_text(text)
    code, err = call(lab.arguments(tmp_path / "out", "--model", hosts_model, "--composition", table))
    assert code in (2, 65, 66), err
    assert message in err
    assert not (tmp_path / "out" / "records.tsv").exists()


def test_a_model_of_one_host_class_takes_no_shares(call, lab, model, tmp_path):
    table = tmp_path / "hosts.tsv"
    table.write_text("class\tshare\nbacteria\t1\n")
    code, err = call(lab.arguments(tmp_path / "out", "--model", model, "--composition", table))
    assert code == 2
    assert "--composition gives shares of host classes, but the model tiny knows only one" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--preset", "strict"], "--preset was balanced and is strict"),
        (["--prevalence", 0.1], "--prevalence was 0.5 and is 0.1"),
        (["--min-score", 0.7], "--min-score was None and is 0.7"),
        (["--composition", "equal"], "--composition was sample and is equal"),
    ],
    ids=str,
)
def test_a_changed_decision_is_named(arguments, call, unbroken, more, message):
    code, err = call(arguments(unbroken, "--resume", *more))
    assert code == 2
    assert message in err


def test_pairs_have_one_row_and_their_hits_two_files(call, lab, model, mates, tmp_path):
    given = ["predict", "--paired", *mates, "-o", tmp_path / "out", "--model", model, "--preset", "sensitive"]
    assert call([str(argument) for argument in given])[0] == 0
    found = rows(tmp_path / "out")
    assert [row["seq_name"] for row in found] == [f"pair_{i % 50}" for i in range(120)]
    sequences = [[s for _, s in lab.make_records(120, seed=n)] for n in (1, 2)]
    assert [int(row["length"]) for row in found] == [len(a) + len(b) for a, b in zip(*sequences, strict=True)]
    hits = [i for i, row in enumerate(found) if row["prediction"] == "virus"]
    assert 0 < len(hits) < 100
    for number, texts in enumerate(sequences, start=1):
        written = (tmp_path / "out" / f"viral_{number}.fasta").read_text()
        entries = [(lines[0], "".join(lines[1:])) for lines in (e.split("\n") for e in written.split(">")[1:])]
        assert entries == [(f"pair_{i % 50}/{number} x", texts[i]) for i in hits]
    assert not (tmp_path / "out" / "viral.fasta").exists()
    for row in found:
        assert row["status"] in ("ok", "empty", "too_short", "too_ambiguous", "low_complexity", "no_frame")
    partial = [row for row in found if row["status"] == "ok" and "have no score" in row["reason"]]
    assert partial  # one mate is short or empty, the other tells


def test_a_restart_with_other_inputs_leaves_no_old_table(call, lab, model, mates, tmp_path):
    common = ["-o", tmp_path, "--model", model, "-t", 1]
    for inputs, names in (([lab.input], {"viral.fasta"}), (["--paired", *mates], {"viral_1.fasta", "viral_2.fasta"})):
        assert call([str(a) for a in ("predict", *inputs, *common, "--restart")])[0] == 0
        assert {path.name for path in tmp_path.glob("viral*")} == names
    code, err = call([str(a) for a in ("predict", *mates, *common, "--resume")])
    assert code == 2
    assert "--paired was True and is False" in err


def test_pairs_that_do_not_fit(call, model, mates, tmp_path):
    common = ["-o", tmp_path / "out", "--model", model]
    short = tmp_path / "short.fa"
    short.write_text("".join(mates[1].read_text().splitlines(keepends=True)[:200]))
    code, err = call([str(a) for a in ("predict", "--paired", mates[0], short, *common)])
    assert code == 65
    assert f"{short} ends after 100 records, but {mates[0]} continues with 'pair_0/1 x'" in err
    assert not list((tmp_path / "out").glob("*.tsv"))
    shutil.rmtree(tmp_path / "out")
    for inputs, message in (
        ([mates[0]], "--paired takes two files, those of reads 1 and of reads 2, got 1"),
        ([mates[0], mates[0]], "is given as both files of a pair"),
    ):
        code, err = call([str(a) for a in ("predict", "--paired", *inputs, *common)])
        assert code == 2
        assert message in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--preset", "bold"], "--preset must be sensitive, balanced, strict, got 'bold'"),
        (["--preset", "strict", "--min-score", 0.5], "--preset and --min-score exclude each other"),
        (["--prevalence", 1], "--prevalence must lie between 0 and 1, got 1"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(call, lab, model, tmp_path, more, message):
    code, err = call(lab.arguments(tmp_path / "out", "--model", model, *more))
    assert code == 2
    assert message in err


@pytest.mark.parametrize("more", [["--preset", "strict"], ["--prevalence", 0.1]], ids=str)
def test_a_model_that_is_not_calibrated_has_neither(call, lab, tmp_path, more):
    code, err = call(lab.arguments(tmp_path / "out", *more))
    assert code == 2
    assert f"{more[0]} needs a calibrated model, tiny is not; leave it out" in err


def test_without_a_calibration_fdr_is_not_available(lab):
    assert {row["fdr"] for row in rows(lab.folder / "unbroken")} == {"NA"}
    assert json.loads((lab.folder / "unbroken" / "run.json").read_text())["prevalence"] is None
