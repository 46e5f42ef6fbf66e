"""The table and the page of several runs: their numbers, hostile names, and what is refused."""

import csv
import json
import re
from pathlib import Path

import pytest
from support.commands import run_captured
from support.files import contents
from support.report_pages import HOSTILE, Reader
from support.run_directories import random_records, write_run

from virnucpro.report.summary import COLUMNS, MAX_CLASSES, columns_of, page, read_samples, table


def with_manifest(directory: Path, **values: object) -> Path:
    """Change run.json of a run."""
    path = directory / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return directory


def with_hosts(directory: Path, hosts: dict[str, float], prevalence: float = 0.25) -> Path:
    """Give a run an estimated composition."""
    composition = {"hosts": hosts, "interval": [0.0, 0.5], "source": "sample"}
    return with_manifest(directory, prevalence=prevalence, composition=composition)


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    """A calibrated run with host classes, one with sample scores of its own, pairs, and an empty run."""
    first = with_hosts(
        write_run(tmp_path / "a", random_records(300), fdr=0.05, sample="soil"), {"bacteria": 0.75, "plant": 0.25}
    )
    scores = {"sample_score": ["0.9000", "0.7000", "NA"]}
    second = write_run(
        tmp_path / "b", [("x", 300, 0.9), ("y", 600, 0.8), ("z", 40, None)], columns=scores, sample="lake"
    )
    third = with_hosts(write_run(tmp_path / "c", [("p", 1000, 0.9)], paired=True, sample="gut"), {"fungi": 1.0})
    return [first, second, third, write_run(tmp_path / "d", [], sample="none")]


def rows(text: str) -> dict[str, dict[str, str]]:
    found = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["sample"]: row for row in found}


def test_the_table_has_the_numbers_of_the_runs(runs):
    found = rows(table(read_samples(runs)))
    assert list(found) == ["soil", "lake", "gut", "none"]
    records = random_records(300)
    virus = [nt for _, nt, score in records if (score or 0) >= 0.5]
    soil = found["soil"]
    assert (soil["unit"], soil["records"], soil["virus"]) == ("record", "300", str(len(virus)))
    assert (soil["bases"], soil["virus_bases"]) == (str(sum(nt for _, nt, _ in records)), str(sum(virus)))
    assert soil["not_called"] == str(sum(score is None for *_, score in records))
    assert soil["expected_false"] == f"{0.05 * len(virus):.2f}"
    assert [soil[f"virus_{name}"] for name in ("share", "low", "high")] == ["0.2500", "0.0000", "0.5000"]
    assert [soil[f"host_{name}"] for name in ("bacteria", "plant", "fungi")] == ["0.5625", "0.1875", "NA"]
    assert (soil["model"], soil["decision"]) == ("tiny", "balanced")
    lake = found["lake"]
    assert (lake["records"], lake["virus"], lake["not_called"], lake["virus_share"]) == ("3", "2", "1", "NA")
    assert (lake["expected_false"], lake["decision"]) == ("0.40", "minimum score 0.5")
    assert (found["gut"]["unit"], found["gut"]["host_fungi"], found["gut"]["expected_false"]) == (
        "pair",
        "0.7500",
        "NA",
    )
    assert (found["none"]["records"], found["none"]["bases"], found["none"]["virus"]) == ("0", "0", "0")
    assert columns_of(read_samples(runs)) == [*COLUMNS, "host_bacteria", "host_fungi", "host_plant"]


def test_the_page_shows_each_sample(runs):
    text = Reader(page(read_samples(runs))).text
    assert "Viral sequences in 4 samples" in text
    assert "The runs differ in model or preset" in text
    for words in ("soil", "lake", "gut", "25.00%", "0.0% to 50.0%", "not estimated", "bacteria", "fungi"):
        assert words in text
    labels = [given["aria-label"] for tag, given in Reader(page(read_samples(runs))).tags if tag == "svg"]
    assert "virus 25.0%, bacteria 56.2%, plant 18.8%" in labels
    assert "25.00%, between 0.00% and 50.00%" in labels
    alone = Reader(page(read_samples(runs[1:2]))).text
    assert "Viral sequences in 1 sample\n" in alone
    assert "2 of 3 records look viral (940 nt in all)" in alone
    assert "differ" not in alone
    assert "Estimated hosts" not in alone


def test_samples_of_one_name_are_told_apart(tmp_path):
    paths = [write_run(tmp_path / name / "run", [("x", 300, 0.9)], sample="soil") for name in ("first", "second")]
    text = Reader(page(read_samples(paths))).text
    assert "Some samples have the same name" in text
    for path in paths:
        assert text.count(f"{path.parent.name}/run") == 2


def test_the_page_needs_nothing_and_runs_no_script(runs):
    made = page(read_samples(runs))
    reader = Reader(made)
    policy = next(given["content"] for tag, given in reader.tags if given.get("http-equiv"))
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-\S+'; img-src data:", policy)
    tags = [tag for tag, _ in reader.tags]
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(tags)
    assert not [name for _, given in reader.tags for name in given if name in ("src", "style") or name.startswith("on")]
    assert tags.count("table") == tags.count("caption") == 2
    assert all(given.get("scope") in ("col", "row") for tag, given in reader.tags if tag == "th")
    ids = [given["id"] for _, given in reader.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {given["href"][1:] for tag, given in reader.tags if tag == "a"} <= set(ids)


def test_names_are_text_whatever_they_are(tmp_path):
    paths = []
    for number, name in enumerate(HOSTILE):
        directory = with_hosts(write_run(tmp_path / str(number), [("x", 300, 0.9)]), {name: 1.0})
        model = {"name": name, "chunk_length": 500, "checksums": {}}
        paths.append(with_manifest(directory, sample=name, model=model))
    samples = read_samples(paths)
    made, plain = page(samples), page(samples[:1])
    assert {tag for tag, _ in Reader(made).tags} <= {tag for tag, _ in Reader(plain).tags} | {"small", "strong"}
    assert not re.search("[\x00-\x08\x1b\u202e]", made)
    lines = table(samples).splitlines()
    assert len(lines) == 1 + len(HOSTILE)
    assert len({line.count("\t") for line in lines}) == 1
    assert "\x1b" not in table(samples)


def test_many_host_classes_have_a_colour_each_and_the_rest_one(tmp_path):
    hosts = {f"class {i}": (i + 1) / 210 for i in range(20)}
    samples = read_samples([with_hosts(write_run(tmp_path / "a", [("x", 300, 0.9)]), hosts)])
    made = page(samples)
    reader = Reader(made)
    keys = [given["class"] for tag, given in reader.tags if given.get("class", "").startswith("key host-")]
    assert keys == [f"key host-{number}" for number in range(MAX_CLASSES)]
    assert "other classes" in reader.text
    for number in range(MAX_CLASSES):
        assert f".host-{number} {{" in made
    (label,) = (given["aria-label"] for tag, given in reader.tags if "class 19" in given.get("aria-label", ""))
    assert abs(sum(float(share) for share in re.findall(r"([\d.]+)%", label)) - 100) < 1


@pytest.fixture
def summary(capfdbinary):
    return lambda *words: run_captured(capfdbinary, "summary", *words)


def test_the_command_writes_page_and_table(runs, summary, tmp_path):
    done = summary(*runs, "-o", tmp_path / "all.html")
    assert (done.code, done.out) == (0, ""), done.err
    assert done.err == (
        f"virnucpro: 4 samples; open {tmp_path}/all.html in a browser; the table is {tmp_path}/all.tsv\n"
    )
    samples = read_samples(runs)
    assert (tmp_path / "all.html").read_text() == page(samples)
    assert (tmp_path / "all.tsv").read_text() == table(samples)
    assert summary(*runs[:2], "-o", tmp_path / "all.html").code == 0  # its own files are replaced
    assert len((tmp_path / "all.tsv").read_text().splitlines()) == 3


def test_equal_names_are_warned_of(summary, tmp_path):
    paths = [write_run(tmp_path / name, [], sample="soil") for name in "ab"]
    assert "2 runs have the name soil; use predict --sample" in summary(*paths, "-o", tmp_path / "x.html").err


def unfinished(directory: Path) -> None:
    with_manifest(directory, status="running")


def shard(directory: Path) -> None:
    with_manifest(directory, fingerprint={"--paired": False, "--shard": "1/4"})


def embedding(directory: Path) -> None:
    with_manifest(directory, kind="esm2")


FAULTS = {
    "unfinished": (unfinished, 65, "is not complete (status: running); run `virnucpro predict` again with --resume"),
    "shard": (shard, 65, "holds shard 1/4 of a run; merge all shards with `virnucpro merge` first"),
    "no run": (lambda d: (d / "run.json").unlink(), 66, "holds no run"),
    "no table": (lambda d: (d / "records.tsv").unlink(), 66, "records.tsv cannot be read"),
    "of another command": (embedding, 65, "is not what `virnucpro predict` writes"),
    "not JSON": (lambda d: (d / "run.json").write_text("["), 65, "is not what `virnucpro predict` writes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_is_not_whole_is_refused(runs, summary, tmp_path, fault):
    breaks, code, message = FAULTS[fault]
    breaks(runs[1])
    done = summary(*runs, "-o", tmp_path / "all.html")
    assert (done.code, message in done.err) == (code, True), done.err
    assert str(runs[1]) in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("all.*"))


def test_no_file_is_lost(runs, summary, tmp_path):
    before = contents(tmp_path)
    (tmp_path / "mine.tsv").write_text("a\tb\n")
    for words, message in (
        ([*runs, "-o", tmp_path / "all.tsv"], "must be the name of a page, NAME.html"),
        ([*runs, "-o", runs[0] / "records.html"], "is an input and would be replaced"),
        ([*runs, "-o", tmp_path / "mine.html"], "exists and is no summary of runs"),
        ([runs[0], runs[1], runs[0], "-o", tmp_path / "all.html"], "is given twice"),
    ):
        done = summary(*words)
        assert (done.code in (1, 2), message in done.err) == (True, True), done.err
    (tmp_path / "mine.tsv").unlink()
    assert contents(tmp_path) == before
