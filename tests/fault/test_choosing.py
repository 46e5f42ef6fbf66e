"""Which records are hits, and which files of them a run writes: the same bytes whatever happens on the way."""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.calibrated import write_calibrated_model
from support.commands import run, run_captured
from support.files import contents, run_json
from support.hosts import write_hosts_model
from xopen import xopen

import virnucpro
from virnucpro import Options, Predictor, load_model, read_records
from virnucpro.errors import ConfigError

NUMBER = 60
EVERYTHING = ["--write-other", "--viral-ids", "--compress", "gz"]
TABLES = ("records.tsv", "chunks.tsv", "frames.tsv")


@dataclass(frozen=True)
class Job:
    """A kind of run: its input and model, and what it writes without any of the options of these tests."""

    arguments: list[object]
    paired: bool
    usual: Path

    def command(self, output: Path, *more: object) -> list[object]:
        """Return a command line; of an option given twice, the later counts."""
        return ["predict", *self.arguments, "-o", output, *more]

    @property
    def mates(self) -> list[str]:
        return ["_1", "_2"] if self.paired else [""]


def rows(directory: Path) -> list[dict[str, str]]:
    path = next(directory.glob("records.tsv*"))
    with xopen(path) as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def entries(directory: Path, name: str) -> list[tuple[str, str]]:
    """Return header and the rest of each entry of a file of sequences, plain or compressed."""
    (path,) = directory.glob(f"{name}*")
    with xopen(path) as file:
        lines = file.read().splitlines()
    if ".fastq" in name:
        return [(lines[i], "\n".join(lines[i + 1 : i + 4])) for i in range(0, len(lines), 4)]
    return [(one.partition("\n")[0], one.partition("\n")[2]) for one in "\n".join(lines).split(">")[1:]]


def fastq(records: list[tuple[str, str]], mark: str = "") -> str:
    """Return records as FASTQ, with ids that tell them apart."""
    return "".join(
        f"@r{number}{mark} {header}\n{sequence}\n+\n{'I' * len(sequence)}\n"
        for number, (header, sequence) in enumerate(records)
    )


@pytest.fixture(scope="module")
def inputs(lab, tmp_path_factory) -> dict[str, list[Path]]:
    """A FASTQ and a FASTA file of single records, and two FASTQ files of mates; some are empty or short."""
    folder = tmp_path_factory.mktemp("inputs")
    texts = {"reads.fq": fastq(lab.make_records(NUMBER, seed=3)), "R1.fq": fastq(lab.make_records(NUMBER, 1), "/1")}
    texts["R2.fq"] = fastq(lab.make_records(NUMBER, 2), "/2")
    texts["contigs.fa"] = lab.fasta([(f"c{i} {name}", s) for i, (name, s) in enumerate(lab.make_records(20, seed=4))])
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {
        "single": [folder / "reads.fq", folder / "contigs.fa"],
        "pairs": ["--paired", folder / "R1.fq", folder / "R2.fq"],
    }


@pytest.fixture(scope="module")
def models(lab, inputs, tmp_path_factory) -> dict[str, Path]:
    folder, records = tmp_path_factory.mktemp("models"), list(read_records([lab.input]))
    return {
        "not calibrated": lab.model,
        "two classes": write_calibrated_model(folder / "two", records),
        "several hosts": write_hosts_model(folder / "hosts", records),
    }


KINDS = ["single, two classes", "single, several hosts", "pairs, several hosts", "single, not calibrated"]


@pytest.fixture(scope="module")
def jobs(lab, inputs, models, tmp_path_factory):
    """Return the kind of run with this name, made once."""
    made: dict[str, Job] = {}

    def job(name: str) -> Job:
        if name not in made:
            form, _, model = name.partition(", ")
            given = [*inputs[form], "--model", models[model], "-t", 1, "--unit-records", 8, "--precision", "fp32"]
            if model == "not calibrated":
                scores = sorted(row["virus_score"] for row in rows(lab.folder / "unbroken") if row["status"] == "ok")
                given += ["--min-score", scores[len(scores) // 2]]
            made[name] = Job(given, form == "pairs", tmp_path_factory.mktemp("usual") / "chosen")
            assert run(*made[name].command(made[name].usual)) == 0
        return made[name]

    return job


def middle(directory: Path) -> float:
    """Return an `fdr` of the table that divides its records."""
    rates = sorted(float(row["fdr"]) for row in rows(directory) if row["fdr"] != "NA")
    return rates[2 * len(rates) // 3]


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_record_is_virus_by_its_fdr(jobs, call, tmp_path, kind):
    job = jobs(kind)
    limit = middle(job.usual)
    assert call(job.command(tmp_path / "chosen", "--max-fdr", limit))[0] == 0
    found, usual = rows(tmp_path / "chosen"), rows(job.usual)
    same = [name for name in found[0] if name not in ("prediction", "confidence")]
    assert [[row[name] for name in same] for row in found] == [[row[name] for name in same] for row in usual]
    for row in found:
        expected = "NA" if row["fdr"] == "NA" else "virus" if float(row["fdr"]) <= limit else "other"
        assert row["prediction"] == expected
    virus = [row for row in found if row["prediction"] == "virus"]
    assert 0 < len(virus) < len([row for row in found if row["prediction"] != "NA"])
    assert {row["prediction"] for row in usual} == {"virus", "other", "NA"}
    assert [row["prediction"] for row in usual] != [row["prediction"] for row in found]
    for mate in job.mates:
        names = [
            header.split(" ")[0].partition("/")[0] for header, _ in entries(tmp_path / "chosen", f"viral{mate}.fasta")
        ]
        assert names == [row["seq_name"] for row in virus]
    manifest = run_json(tmp_path / "chosen")
    assert (manifest["options"]["max_fdr"], manifest["options"]["preset"]) == (limit, None)
    assert manifest["counts"]["viral"] == len(virus)
    page = (tmp_path / "chosen" / "report.html").read_text()
    assert f"A record with an FDR of {limit!r} or less is called virus." in page
    assert f"the highest FDR of a virus is {limit!r}" in page
    bars = json.loads((tmp_path / "chosen" / "virnucpro_mqc.json").read_text())["data"]
    counts = next(iter(bars.values()))
    tiers = [counts[f"virus, {tier} confidence"] for tier in ("high", "medium", "low")]
    assert tiers == [sum(row["confidence"] == tier for row in virus) for tier in ("high", "medium", "low")]


@pytest.mark.parametrize("kind", KINDS)
def test_confidence_follows_from_fdr(jobs, kind):
    for row in rows(jobs(kind).usual):
        expected = "NA"
        if row["prediction"] == "virus" and row["fdr"] != "NA":
            rate = float(row["fdr"])
            expected = "high" if rate <= 0.05 else "medium" if rate <= 0.2 else "low"
        assert row["confidence"] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_is_lost(jobs, inputs, call, tmp_path, kind):
    """Hits and others together are the input, in its order; what is written without the options stays as it was."""
    job = jobs(kind)
    assert call(job.command(tmp_path / "chosen", "--write-other", "--viral-ids"))[0] == 0
    found = contents(tmp_path / "chosen", "run.json")
    usual = contents(job.usual, "run.json")
    assert {name: found[name] for name in usual} == usual
    assert set(found) - set(usual) == {
        "viral_ids.txt", *(f"other{mate}.{ending}" for mate in job.mates for ending in ("fasta", "fastq"))
    }  # fmt: skip
    table = rows(tmp_path / "chosen")
    is_virus = [row["prediction"] == "virus" for row in table]
    assert {row["prediction"] for row in table} == {"virus", "other", "NA"}
    names = [row["seq_name"] for row, virus in zip(table, is_virus, strict=True) if virus]
    assert found["viral_ids.txt"].decode() == "".join(f"{name}\n" for name in names)
    files = inputs["pairs"][1:] if job.paired else [inputs["single"]]
    for mate, paths in zip(job.mates, files, strict=True):
        records = list(read_records(paths))
        for ending in ("fasta", "fastq"):
            hits, others = (
                [
                    header.split(" ")[0].lstrip("@")
                    for header, _ in entries(tmp_path / "chosen", f"{which}{mate}.{ending}")
                ]
                for which in ("viral", "other")
            )
            has_one = [ending == "fasta" or record.quality != b"" for record in records]
            if job.paired and ending == "fastq":
                mates = [list(read_records(one)) for one in files]
                has_one = [bool(one.quality or other.quality) for one, other in zip(*mates, strict=True)]
            expected = [
                (record.id, virus) for record, virus, has in zip(records, is_virus, has_one, strict=True) if has
            ]
            assert hits == [name for name, virus in expected if virus]
            assert others == [name for name, virus in expected if not virus]
            if ending == "fasta":
                sequences = dict(entries(tmp_path / "chosen", f"other{mate}.fasta")).values()
                wanted = [r.sequence.decode() for r, virus in zip(records, is_virus, strict=True) if not virus]
                assert ["".join(text.split("\n")) for text in sequences] == wanted


@pytest.mark.parametrize("compress", ["gz", "zst"])
@pytest.mark.parametrize("kind", KINDS[2:])
def test_compressed_files_have_the_same_content(jobs, call, tmp_path, kind, compress):
    job = jobs(kind)
    more = ["--write-other", "--viral-ids"]
    for name, given in (("plain", more), ("small", [*more, "--compress", compress])):
        assert call(job.command(tmp_path / name / "chosen", *given))[0] == 0
    plain, small = (contents(tmp_path / name / "chosen", "run.json") for name in ("plain", "small"))
    kept = {name for name in plain if not name.endswith((".tsv", ".fasta", ".fastq"))}
    assert {"viral_ids.txt", "report.html", "virnucpro_mqc.json"} <= kept
    assert set(small) == kept | {f"{name}.{compress}" for name in set(plain) - kept}
    for name, data in plain.items():
        if name in kept:
            assert small[name] == data
        else:
            with xopen(io.BytesIO(small[f"{name}.{compress}"]), "rb", format=compress, threads=0) as file:
                assert file.read() == data
    if compress == "gz":
        assert {data[3:8] for name, data in small.items() if name.endswith(".gz")} == {bytes(5)}  # no name, no time


@pytest.mark.parametrize("kind", KINDS)
def test_threads_units_shards_and_a_resumed_run_change_nothing(jobs, call, tmp_path, kind):
    job = jobs(kind)
    rule = [] if "not" in kind else ["--max-fdr", middle(job.usual)]
    assert call(job.command(tmp_path / "whole" / "chosen", *EVERYTHING, *rule))[0] == 0
    expected = contents(tmp_path / "whole" / "chosen", "run.json")
    assert call(job.command(tmp_path / "again" / "chosen", *EVERYTHING, *rule, "-t", 2, "--unit-records", 5))[0] == 0
    assert contents(tmp_path / "again" / "chosen", "run.json") == expected
    parts = [tmp_path / "part_1", tmp_path / "part_2"]
    for number, part in enumerate(parts, start=1):
        given = job.command(part, *EVERYTHING, *rule, "--shard", f"{number}/2")
        assert call(given)[0] == 0
        units = sorted((part / "units").glob("unit_*"))
        for unit in units[::2]:
            unit.unlink()
        code, err = call([*given, "--resume"])
        assert code == 0
        assert f"{len(units) - len(units[::2])} of {len(units)} units w" in err
    assert call(["merge", *parts, "-o", tmp_path / "merged" / "chosen"])[0] == 0
    assert contents(tmp_path / "merged" / "chosen", "run.json", "report.html") == {
        name: data for name, data in expected.items() if name != "report.html"
    }
    assert run_json(tmp_path / "merged" / "chosen")["counts"] == run_json(tmp_path / "whole" / "chosen")["counts"]
    assert call(job.command(tmp_path / "whole" / "chosen", *EVERYTHING, *rule, "--resume"))[0] == 0
    assert contents(tmp_path / "whole" / "chosen", "run.json") == expected


def test_our_own_commands_read_compressed_tables(jobs, capfdbinary, tmp_path):
    job = jobs("single, several hosts")
    texts = {}
    names = [row["seq_name"] for row in rows(job.usual)]
    truth = tmp_path / "truth.tsv"
    truth.write_text(
        "seq_name\tclass\n" + "".join(f"{n}\t{('virus', 'bacteria')[i % 2]}\n" for i, n in enumerate(names))
    )
    for name, more in (("plain", []), ("gz", ["--compress", "gz"]), ("zst", ["--compress", "zst"])):
        folder = tmp_path / name / "chosen"
        assert run(*job.command(folder, "--parquet", *more)) == 0
        (folder / "report.html").unlink()
        assert run("report", folder) == 0
        (table,) = folder.glob("records.tsv*")
        done = [
            run_captured(capfdbinary, *command)
            for command in (
                ("explain", folder, names[0]),
                ("evaluate", table, "--truth", truth, "--replicates", 2),
                ("compare", table, job.usual / "records.tsv"),
            )
        ]
        assert [one.code for one in done] == [0, 0, 0]
        texts[name] = (
            [one.out.replace(f"{table}", "TABLE") for one in done],
            {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".html", ".parquet")},
        )
    assert texts["plain"] == texts["gz"] == texts["zst"]
    assert len(texts["plain"][1]) == 4


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_without_any_score_all_records_are_others(jobs, inputs, call, tmp_path, kind, empty):
    job = jobs(kind)
    folder, files = tmp_path / "given", []
    folder.mkdir()
    for path in map(Path, inputs["pairs"][1:] if job.paired else inputs["single"][:1]):
        files.append(folder / path.name)
        files[-1].write_text("" if empty else "@a\nACGT\n+\nIIII\n@b\nACG\n+\nIII\n")
    given = [*(["--paired"] if job.paired else []), *files, *job.arguments[job.arguments.index("--model") :]]
    assert call(["predict", *given, "-o", tmp_path / "chosen", *EVERYTHING])[0] == 0
    for mate in job.mates:
        for ending in ("fasta", "fastq"):
            assert entries(tmp_path / "chosen", f"viral{mate}.{ending}") == []
            assert len(entries(tmp_path / "chosen", f"other{mate}.{ending}")) == (0 if empty else 2)
    assert (tmp_path / "chosen" / "viral_ids.txt").read_bytes() == b""
    assert len(rows(tmp_path / "chosen")) == (0 if empty else 2)


def test_a_restart_leaves_no_file_of_the_earlier_run(jobs, call, tmp_path):
    job = jobs("single, not calibrated")
    plain = {path.name for path in job.usual.iterdir()}
    for more in (EVERYTHING, ["--compress", "zst"], []):
        assert call(job.command(tmp_path / "chosen", *more, "--restart"))[0] == 0
    assert {path.name for path in (tmp_path / "chosen").iterdir()} == plain


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-fdr", 0.1], "--max-fdr was None and is 0.1"),
        (["--write-other"], "--write-other was None and is True"),
        (["--viral-ids"], "--viral-ids was None and is True"),
        (["--compress", "zst"], "--compress was None and is zst"),
    ],
    ids=str,
)
def test_a_changed_request_is_named(jobs, call, more, message):
    job = jobs("single, two classes")
    code, err = call(job.command(job.usual, "--resume", *more))
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-fdr", 0.1, "--preset", "strict"], "--max-fdr and --preset exclude each other"),
        (["--max-fdr", 0.1, "--min-score", 0.5], "--max-fdr and --min-score exclude each other"),
        (["--max-fdr", 1.5], "Invalid value for '--max-fdr'"),
        (["--compress", "xz"], "'xz' is not one of 'gz', 'zst'"),
        (["--max-fdr", 0.1, "-o", "-"], "the fdr of a record is known when all records are"),
        (["--write-other", "-o", "-"], "--write-other needs an output directory"),
        (["--viral-ids", "-o", "-"], "--viral-ids needs an output directory"),
        (["--compress", "gz", "-o", "-"], "--compress needs an output directory"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(jobs, call, tmp_path, more, message):
    code, err = call(jobs("single, two classes").command(tmp_path / "chosen", *more))
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
    assert not list((tmp_path / "chosen").glob("*.tsv"))


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_library_chooses_the_same_records(jobs, inputs, call, tmp_path, kind):
    job = jobs(kind)
    limit = middle(job.usual)
    assert call(job.command(tmp_path / "chosen", *EVERYTHING, "--max-fdr", limit))[0] == 0
    given = {"model": job.arguments[3], "threads": 1, "precision": "fp32", "max_fdr": limit}
    calls = virnucpro.predict(inputs["single"], **given)
    expected = [(row["seq_name"], row["prediction"], row["confidence"]) for row in rows(tmp_path / "chosen")]
    for _ in range(2):  # the source is read to its end before the first call
        assert [(call.id, call.prediction or "NA", call.confidence or "NA") for call in calls] == expected
    table = calls.to_arrow()
    found = zip(*(table.column(name).to_pylist() for name in ("seq_name", "prediction", "confidence")), strict=True)
    assert [tuple(value or "NA" for value in row) for row in found] == expected
    first = next(virnucpro.predict(inputs["single"], **given))
    assert (first.id, first.prediction or "NA") == expected[0][:2]
    calls.write(tmp_path / "written", write_other=True, viral_ids=True, compress="gz")
    names = [path.name for path in (tmp_path / "chosen").glob("*.gz")]
    assert len(names) == 7
    for name in (*names, "viral_ids.txt"):
        assert (tmp_path / "written" / name).read_bytes() == (tmp_path / "chosen" / name).read_bytes(), name


def test_calls_one_by_one_know_no_rate(models, lab):
    predictor = Predictor(load_model(str(models["two classes"])), Options(device="cpu", threads=1, max_fdr=0.1))
    with pytest.raises(ConfigError, match="max_fdr follows from all records of a sample"):
        next(predictor.run(read_records([lab.input])))
    with pytest.raises(ConfigError, match="max_fdr follows from all records of a sample"):
        next(virnucpro.scan(lab.input, model=models["two classes"], options=Options(max_fdr=0.1, device="cpu")))
    with pytest.raises(ConfigError, match="compress must be gz or zst, got 'xz'"):
        virnucpro.predict(lab.input, model=models["two classes"], threads=1).write("none", compress="xz")


@pytest.mark.parametrize("name", ["records.tsv.gz", "viral.fasta.gz"])
def test_a_damaged_compressed_file_is_named(jobs, call, tmp_path, name):
    assert call(jobs("single, two classes").command(tmp_path / "chosen", "--compress", "gz"))[0] == 0
    path = tmp_path / "chosen" / name
    path.write_bytes(path.read_bytes()[:-9])
    code, err = call(["report", tmp_path / "chosen"])
    assert code == 66
    assert f"{path} cannot be read: damaged or truncated gz data" in err


def test_a_model_that_is_not_calibrated_has_no_rates(lab, call, tmp_path):
    code, err = call(lab.arguments(tmp_path / "chosen", "--max-fdr", 0.1))
    assert code == 2
    assert "--max-fdr needs a calibrated model, tiny is not; leave it out" in err


def test_a_dry_run_takes_a_limit_of_fdr(jobs, call, tmp_path):
    job = jobs("single, two classes")
    assert call(job.command(tmp_path / "chosen", "--max-fdr", 0.1, "--dry-run"))[0] == 0
    assert not (tmp_path / "chosen").exists()


def test_a_table_that_a_user_compressed_is_read(jobs, call, tmp_path):
    job = jobs("single, two classes")
    assert call(job.command(tmp_path / "chosen"))[0] == 0
    page = (tmp_path / "chosen" / "report.html").read_bytes()
    for name in TABLES:
        path = tmp_path / "chosen" / name
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert call(["report", tmp_path / "chosen"])[0] == 0
    assert (tmp_path / "chosen" / "report.html").read_bytes() == page
