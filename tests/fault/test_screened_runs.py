"""A screen before a model: what comes out is what both models say alone, and the same bytes whatever happens."""

import csv
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.hosts import make_reference, write_hosts_model
from support.screens import make_published_model

import virnucpro
from virnucpro import Options, Predictor, load_model, read_pairs, read_records
from virnucpro.errors import ConfigError
from virnucpro.pretrained.description import ModelDescription
from virnucpro.pretrained.weights import sha256
from virnucpro.report.explain import explain
from virnucpro.run.directory import RunDirectory
from virnucpro.run.rows import UnitTables
from virnucpro.run.text_pool import TextPool
from virnucpro.run.unit_caller import UnitCaller
from virnucpro.scores.reference import REFERENCE_FILE, Reference, Windows
from virnucpro.seq.block import RecordBlock
from virnucpro.types import Record, Status

SHARE = 0.8
OPTIONS = Options(device="cpu", threads=1, precision="fp32")


@pytest.fixture(scope="module")
def large(lab) -> Path:
    return lab.write_model(make_published_model(), lab.folder / "published_model")


@pytest.fixture(scope="module")
def small(lab) -> Path:
    return write_hosts_model(lab.folder / "screen_model", read_records([lab.input]))


@pytest.fixture(scope="module")
def mates(lab) -> tuple[Path, Path]:
    """Two files of mates; among them are empty, short and ambiguous ones."""
    paths = (lab.folder / "S1.fa", lab.folder / "S2.fa")
    for number, path in enumerate(paths, start=1):
        records = lab.make_records(100, seed=number)
        path.write_text("".join(f">pair_{i % 50}/{number}\n{s}\n" for i, (_, s) in enumerate(records)))
    return paths


@pytest.fixture(scope="module", params=["single", "paired"])
def block(request, lab, mates) -> RecordBlock:
    return RecordBlock.of(list(read_pairs(*mates) if request.param == "paired" else read_records([lab.input])))


def threshold(reference: Reference, share: float, length: int) -> float:
    """Return the least evidence that goes on, from the lists of the viruses' evidence."""
    lengths = list(reference.windows)
    values = []
    for one in reference.windows.values():
        ratios = one.steps[one.classes == len(reference.hosts)].tolist()
        viruses = sorted(
            -math.log(sum(s * math.exp(-r / 100) for s, r in zip(reference.shares.tolist(), row, strict=True)))
            for row in ratios
        )
        missed = math.floor(round(len(viruses) * (1 - share), 6))
        values.append((viruses[missed] + (viruses[missed - 1] if missed else viruses[0] - 0.02)) / 2)
    return float(np.interp(math.log(max(length, 1)), np.log(lengths), values))


def expected_calls(block: RecordBlock, large: Predictor, small: Predictor) -> tuple[list[dict], list[dict]]:
    """Return what is expected of chunks and records, from the calls of each model alone, by plain loops."""
    alone, reference, records = large.call(block), make_reference(), [[] for _ in range(len(block))]
    for row, (record, part, start, end) in enumerate(
        zip(alone.chunks.record, alone.chunks.part, alone.chunks.start, alone.chunks.end, strict=True)
    ):
        score = float(alone.chunk.score[row])
        chunk = {"score": score, "length": int(end - start), "status": alone.chunk.status[row], "reason": ""}
        if not math.isnan(score):
            judged = small.call(RecordBlock.of([Record("", block.sequences[part][start:end])]))
            evidence = float(judged.record.log_ratio[0])
            if evidence < threshold(reference, SHARE, int(judged.judged_length[0])):
                chunk |= {"score": math.nan, "status": list(Status).index(Status.SCREENED), "evidence": evidence}
        records[record].append(chunk)
    rows = []
    for number, chunks in enumerate(records):
        scored = [chunk for chunk in chunks if not math.isnan(chunk["score"])]
        out = [chunk for chunk in chunks if "evidence" in chunk]
        counted = sum(chunk["length"] for chunk in (*scored, *out))
        row = {"score": math.nan, "status": alone.record.status[number], "scored": len(scored), "out": len(out)}
        if scored:  # chunks that are screened out count as scores of 0
            row |= {"score": sum(chunk["score"] * chunk["length"] for chunk in scored) / counted}
        elif out:
            row |= {"status": list(Status).index(Status.SCREENED)}
        rows.append(row)
    return [chunk for chunks in records for chunk in chunks], rows


def test_calls_are_those_of_both_models_combined(block, large, small):
    chunks, records = expected_calls(
        block, Predictor(load_model(str(large)), OPTIONS), Predictor(load_model(str(small)), OPTIONS)
    )
    screened = Predictor(load_model(str(large)), replace(OPTIONS, screen=SHARE, screen_model=str(small)))
    assert screened.text.screen.thresholds[75] == pytest.approx(threshold(make_reference(), SHARE, 75))
    found = screened.call(block)
    assert found.chunk.status.tolist() == [chunk["status"] for chunk in chunks]
    assert found.chunk.score == pytest.approx([chunk["score"] for chunk in chunks], abs=1e-5, nan_ok=True)
    assert found.record.status.tolist() == [row["status"] for row in records]
    assert found.record.score == pytest.approx([row["score"] for row in records], abs=1e-5, nan_ok=True)
    assert found.n_scored.tolist() == [row["scored"] for row in records]
    assert found.n_screened.tolist() == [row["out"] for row in records]
    assert found.record.is_virus.tolist() == [row["score"] >= 0.5 for row in records]
    evidence = {row: chunk["evidence"] for row, chunk in enumerate(chunks) if "evidence" in chunk}
    assert found.chunks.detail[list(evidence)] == pytest.approx(list(evidence.values()), abs=1e-4)
    assert found.chunk.n_frames[list(evidence)].tolist() == [0] * len(evidence)
    kinds = Counter((row["scored"] > 0, row["out"] > 0) for row in records)
    assert len(kinds) == 4
    assert min(kinds.values()) > 5  # none of the cases is missing
    assert any(row["out"] > 1 and not row["scored"] for row in records)


def test_a_share_of_the_viruses_of_the_reference_passes():
    drawn = make_reference(number=1000)
    for share in (0.999, 0.99, 0.95, 0.5):
        limits = drawn.recall_thresholds(share)
        for length, one in drawn.windows.items():
            viruses = one.steps[one.classes == 3] / 100
            evidence = -np.log((np.exp(-viruses) * drawn.shares).sum(axis=1))
            assert (evidence >= limits[length]).mean() == pytest.approx(share, abs=0.005)
            assert (evidence >= limits[length]).mean() >= share
        assert limits[0] == limits[49]
        assert len(limits) == 401


def test_a_share_above_what_the_windows_resolve_passes_all_of_them():
    one = Windows(np.full((4, 3), 7, np.int16), np.full(4, 3, np.uint8), np.arange(4, dtype=np.int32))
    assert Reference(("a", "b", "c"), np.full(3, 1 / 3), {100: one}).recall_thresholds(0.9999)[100] < 0.07


def test_viruses_without_a_frame_do_not_count_for_a_published_model(lab, large, small, tmp_path):
    known = replace(make_reference(), framed={50: np.array([-40, 0, 60, 80], np.int16), 400: np.full(4, 10, np.int16)})
    shutil.copytree(small, tmp_path / "small")
    known.write(tmp_path / "small" / REFERENCE_FILE)
    description = ModelDescription.from_json(small / "model.json")
    checksums = {**description.checksums, REFERENCE_FILE: sha256(tmp_path / "small" / REFERENCE_FILE)}
    replace(description, checksums=checksums).write_json(tmp_path / "small" / "model.json")
    options = replace(OPTIONS, screen=0.75, screen_model=str(tmp_path / "small"))
    limits = Predictor(load_model(str(large)), options).text.screen.thresholds
    assert limits[[50, 400]] == pytest.approx([-0.2, 0.1])
    other = Predictor(load_model(str(lab.model)), options).text.screen.thresholds  # has other frames
    assert other.tolist() == make_reference().recall_thresholds(0.75).tolist()
    assert other[50] != limits[50]


@pytest.mark.parametrize("slices", [1, 7])
def test_slices_change_nothing(block, large, small, slices):
    made = Predictor(load_model(str(large)), replace(OPTIONS, screen=SHARE, screen_model=str(small)))
    expected = UnitTables.of(made.call(block), made.decision)
    inner = replace(made.text.screen.stage, slice_chunks=3)
    made.text = replace(made.text, slice_chunks=slices, screen=replace(made.text.screen, stage=inner))
    assert UnitTables.of(made.call(block), made.decision).sections == expected.sections


def test_text_processes_give_the_same_tables(block, large, small):
    made = Predictor(load_model(str(large)), replace(OPTIONS, screen=SHARE, screen_model=str(small)))
    expected = UnitTables.of(made.call(block), made.decision, legacy=True)
    with UnitCaller(made, legacy=True, pool=TextPool(2)) as caller:
        found = [caller.tables(block) for _ in range(3)]  # the first one is made in this process
    assert [(one.sections, one.tally) for one in found] == [(expected.sections, expected.tally)] * 3


@pytest.fixture(scope="module", params=["single", "paired"])
def arguments(request, lab, large, small, mates):
    """Make the command line of a run in a directory."""
    inputs = [lab.input] if request.param == "single" else ["--paired", *mates]

    def make(output: object, *more: object) -> list[str]:
        given = ["predict", *inputs, "-o", output, "--model", large, "-t", 1, "--unit-records", 8, "--precision"]
        screen = [
            "fp32",
            *([] if output == "-" else ["--sample", "s"]),
            "--legacy-output",
            "--screen",
            SHARE,
            "--screen-model",
            small,
        ]
        return [str(argument) for argument in (*given, *screen, *more)]

    return make


def everything(directory: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a complete run but run.json, which holds timings."""
    names = {path.name for path in directory.iterdir()} - {"run.json", "report.html"}
    return {name: (directory / name).read_bytes() for name in names}


def rows(directory: Path, table: str = "records.tsv") -> list[dict[str, str]]:
    lines = (directory / table).read_text().splitlines()
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory) -> Path:
    from support.commands import run

    output = tmp_path_factory.mktemp("screened") / "out"
    assert run(*arguments(output)) == 0
    return output


def test_all_counts_add_up(arguments, call, whole, tmp_path):
    records, chunks = rows(whole), rows(whole, "chunks.tsv")
    manifest = json.loads((whole / "run.json").read_text())
    counts, status = manifest["counts"], Counter(row["status"] for row in records)
    assert sum(counts["status"].values()) == counts["records"] == len(records)
    assert {name: n for name, n in counts["status"].items() if n} == status
    assert status["screened"] > 0
    assert counts["screened_chunks"] == sum(row["status"] == "screened" for row in chunks) > 0
    assert counts["chunks"] == len(chunks)
    for row in (*records, *chunks):
        screened = row["status"] == "screened"
        assert (row["prediction"] == "NA") == (row["virus_score"] == "NA" and not screened)
        if screened:
            assert (row["prediction"], row["virus_score"], row["best_frame"]) == ("other", "NA", "NA")
            assert row["n_frames"] == "0"
    assert all(row["reason"].startswith("evidence in the screen: ") for row in chunks if row["status"] == "screened")
    predictions = Counter(row["prediction"] for row in records)
    [bar] = json.loads((whole / "virnucpro_mqc.json").read_text())["data"].values()
    assert bar["screened"] == status["screened"]
    assert (bar["virus"], bar["other"] + bar["screened"]) == (predictions["virus"], predictions["other"])
    assert sum(bar.values()) == len(records)
    page = (whole / "report.html").read_text()
    assert "judged it no virus" in page
    assert f"{counts['screened_chunks']} of {counts['chunks']} did not" in page
    assert manifest["options"]["screen"] == SHARE
    assert manifest["options"]["screen_model"] == manifest["screen"]["name"] == "tiny"
    code, err = call(arguments(tmp_path / "again"))
    assert code == 0
    assert f" virus, {predictions['other']} other ({status['screened']} screened out), not called: " in err


def test_the_published_files_lack_what_was_screened_out(whole):
    chunks = rows(whole, "chunks.tsv")
    frames = [line.split("\t")[0] for line in (whole / "prediction_results.txt").read_text().splitlines()[1:]]
    assert frames == [row["frame"] for row in rows(whole, "frames.tsv")]
    best = (whole / "prediction_results_highestscore.csv").read_text().splitlines()[1:]
    assert {line.split("\t")[0] for line in best} == {row["chunk"] for row in chunks if row["status"] == "ok"}


@pytest.mark.parametrize("more", [["-t", 2], ["--max-tokens", 300], ["--unit-records", 3]], ids=str)
def test_threads_token_budget_and_units_change_nothing(arguments, call, whole, tmp_path, more):
    assert call(arguments(tmp_path / "out", *more))[0] == 0
    assert everything(tmp_path / "out") == everything(whole)


def test_other_records_are_written_beside_a_screen(arguments, call, whole, tmp_path):
    assert call(arguments(tmp_path / "out", "--write-other"))[0] == 0
    assert (tmp_path / "out" / "records.tsv").read_bytes() == (whole / "records.tsv").read_bytes()
    names = {
        kind: [line for path in sorted((tmp_path / "out").glob(f"{kind}*.fasta")) for line in headers(path)]
        for kind in ("viral", "other")
    }
    mates = len(list((tmp_path / "out").glob("viral*.fasta")))
    found = [row["prediction"] for row in rows(whole, "records.tsv")]
    assert len(names["viral"]) == mates * found.count("virus")
    assert len(names["viral"]) + len(names["other"]) == mates * len(found)


def headers(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(">")]


def test_a_resumed_run_has_the_same_bytes(arguments, call, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as kept:
        kept.setattr(RunDirectory, "remove_units", lambda self: None)
        assert call(arguments(tmp_path / "out"))[0] == 0
    units = sorted((tmp_path / "out" / "units").glob("unit_*"))
    for unit in units[1::2]:
        unit.unlink()
    for name in everything(whole):
        (tmp_path / "out" / name).unlink()
    code, err = call(arguments(tmp_path / "out", "--resume"))
    assert code == 0
    assert f"{len(units[::2])} of {len(units)} units were done before" in err
    assert everything(tmp_path / "out") == everything(whole)
    counts = [json.loads((path / "run.json").read_text())["counts"] for path in (tmp_path / "out", whole)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--screen", "0.9"], f"--screen was {SHARE} and is 0.9"),
        (None, f"--screen was {SHARE} and is None"),
        (["--screen-model", "bundled"], "model of the screen was tiny and is virnucpro-small"),
    ],
    ids=["share", "none", "model"],
)
def test_a_run_goes_on_with_the_same_screen_only(arguments, call, whole, change, message):
    given = arguments(whole, "--resume", *(change or ()))
    if change is None:
        begin = given.index("--screen")
        del given[begin : begin + 4]
    code, err = call(given)
    assert code == 2
    assert message in err


def test_shards_are_merged_to_the_same_bytes(arguments, call, whole, tmp_path):
    parts = [tmp_path / f"part_{number}" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        assert call(arguments(part, "--shard", f"{number}/2"))[0] == 0
    assert call(["merge", *map(str, parts), "-o", str(tmp_path / "merged")])[0] == 0
    assert everything(tmp_path / "merged") == everything(whole)
    found, expected = (json.loads((path / "run.json").read_text()) for path in (tmp_path / "merged", whole))
    assert found["counts"] == expected["counts"]


def test_standard_output_has_the_same_rows(arguments, call, whole, capfd):
    from virnucpro.cli.main import main

    given = arguments("-")
    given.remove("--legacy-output")
    with pytest.raises(SystemExit) as ended:
        main(given)
    shown = capfd.readouterr()
    assert ended.value.code == 0
    assert shown.out == (whole / "records.tsv").read_text()
    assert " screened out), not called: " in shown.err


@pytest.mark.parametrize("arguments", ["single"], indirect=True)
def test_the_library_gives_the_same_calls(arguments, large, small, lab, whole):
    options = replace(OPTIONS, screen_model=str(small), screen=SHARE)
    calls = virnucpro.predict(lab.input, model=large, options=options, progress=False)
    expected = rows(whole)
    table = calls.to_arrow().to_pylist()
    for name in ("prediction", "status", "reason", "best_frame"):
        assert [row[name] or "NA" for row in table] == [row[name] for row in expected]
    assert ["NA" if c.prediction is None else c.prediction for c in calls] == [row["prediction"] for row in expected]
    screened = next(call for call in calls if call.status is Status.SCREENED)
    assert (screened.is_virus, screened.virus_score) == (False, None)


def test_a_call_is_explained(whole):
    records = rows(whole)
    out = next(row for row in records if row["status"] == "screened")
    lines = list(explain(whole, out["seq_name"]))
    assert "  passed: it has a reading frame" in lines
    assert f"  failed: screened: {out['reason']}" in lines
    assert "  called other by the screen: tiny found less evidence than in nearly all viruses" in lines
    assert any("other, no score (screened: evidence in the screen: " in line for line in lines)
    through = next(row for row in records if row["status"] == "ok")
    assert "  passed: the screen let it through" in explain(whole, through["seq_name"])


def test_without_a_screen_nothing_speaks_of_one(lab, call, large, tmp_path):
    assert call(lab.arguments(tmp_path / "out", "--model", large))[0] == 0
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["screen"] is None
    assert not any("screen" in name for name in manifest["fingerprint"])
    name = next(row["seq_name"] for row in rows(tmp_path / "out") if row["status"] == "ok")
    assert not any("screen" in line for line in explain(tmp_path / "out", name))


@pytest.mark.parametrize("arguments", ["single"], indirect=True)
def test_a_forecast_measures_both_models(arguments, capfd, tmp_path):
    from support.commands import run

    assert run(*arguments(tmp_path / "out", "--dry-run")) == 0
    assert "tiny-published after a screen with tiny " in capfd.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--screen", 0.99, "--screen-model", "MODEL"], "--screen-model must have the evidence of validation viruses"),
        (["--screen", 1], "--screen must lie between 0 and 1, got 1"),
        (["--screen-model", "bundled"], "--screen-model needs --screen, the share of viruses that it lets through"),
        (["--screen", 0.99, "--screen-model", "nowhere"], "there is no model 'nowhere'"),
        (
            ["--screen", 0.99, "--model", "bundled"],
            "--screen is for models without a calibration, such as published-500",
        ),
    ],
    ids=["no reference", "share", "no screen", "no model", "calibrated"],
)
def test_what_makes_no_sense_is_refused(lab, call, large, tmp_path, more, message):
    given = [lab.model if word == "MODEL" else word for word in more]
    code, err = call(lab.arguments(tmp_path / "out", "--model", large, *given))
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "records.tsv").exists()


def test_a_scan_has_no_screen(large):
    with pytest.raises(ConfigError, match="screen is for predict"):
        list(virnucpro.scan({"a": "ACGT" * 200}, model=large, options=replace(OPTIONS, screen=0.9)))


def test_what_the_small_model_cannot_judge_goes_on(block, large, small):
    made = Predictor(load_model(str(large)), replace(OPTIONS, screen=SHARE, screen_model=str(small)))
    made.text = replace(made.text, screen=replace(made.text.screen, thresholds=np.array([1e9])))
    found = made.call(block)
    ends = zip(found.chunks.part, found.chunks.start, found.chunks.end, strict=True)
    letters = [Record("", block.sequences[part][start:end]) for part, start, end in ends]
    judged = made.screen.call(RecordBlock.of(letters)).record
    framed = np.isin(found.chunk.status, [list(Status).index(one) for one in (Status.OK, Status.SCREENED)])
    assert (framed & np.isnan(judged.log_ratio)).sum() > 0
    assert (np.isnan(found.chunk.score) == ~(framed & np.isnan(judged.log_ratio))).all()
