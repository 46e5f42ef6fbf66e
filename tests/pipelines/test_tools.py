"""Other people's tools run and check what is in integrations/: `make check-integrations` installs and names them."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from docs.pages import PAGES, blocks_of
from pipelines.test_files import edam_terms

from virnucpro import __version__

ROOT = Path(__file__).parents[2]
HERE, EXAMPLES, PROGRAMS = ROOT / "integrations", ROOT / "examples", Path(__file__).parent
WRAPPERS = HERE / "snakemake/bio/virnucpro"
SNAKEFILE = WRAPPERS / "predict/test/Snakefile"


def statuses(table):
    with open(table, newline="") as file:
        return [row["status"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def test_snakemake_runs_the_wrapper(run, tmp_path):
    run("snakemake", "--cores", 2, "-s", SNAKEFILE)
    assert statuses(tmp_path / "calls/lambda.fa/records.tsv") == ["ok"] * 12
    assert statuses(tmp_path / "calls/reads.fastq.gz/records.tsv") == ["ok"] * 40
    run_json = json.loads((tmp_path / "calls/lambda.fa/run.json").read_text())
    assert (run_json["virnucpro"], run_json["options"]["threads"]) == (__version__, 2)
    assert "tables and report.html" in (tmp_path / "logs/lambda.fa.log").read_text()
    assert not list((tmp_path / "calls").rglob("*.run"))


def test_snakemake_goes_on_with_what_is_done(run, tmp_path):
    """What an earlier try left beside the outputs is used, not done again."""
    left = tmp_path / "calls/lambda.fa/records.tsv.run"
    left.parent.mkdir(parents=True)
    virnucpro = Path(sys.executable).with_name("virnucpro")
    run(virnucpro, "predict", EXAMPLES / "lambda.fa", "-o", left, "--device", "cpu", "--threads", 1)
    before = (left / "run.json").read_bytes()
    run("snakemake", "--cores", 2, "-s", SNAKEFILE, "calls/lambda.fa/records.tsv")
    assert (tmp_path / "calls/lambda.fa/run.json").read_bytes() == before


def test_snakemake_runs_the_wrapper_of_scan(run, tmp_path):
    run("snakemake", "--cores", 2, "-s", WRAPPERS / "scan/test/Snakefile")
    found = {path.parent.name: path.read_text().splitlines() for path in (tmp_path / "regions").glob("*/regions.tsv")}
    assert [len(found["lambda.fa"]) > 1, len(found["reads.fastq.gz"])] == [True, 1], "regions, and none"
    for name in found:
        made = tmp_path / "regions" / name
        assert {path.name for path in made.iterdir()} == {
            "regions.tsv", "regions.bed", "regions.gff3", "scores.bedgraph", "figures"
        }  # fmt: skip
    assert not list((tmp_path / "regions/reads.fastq.gz/figures").glob("record_*"))


def test_snakemake_runs_the_wrapper_of_embed(run, tmp_path):
    (tmp_path / "proteins.faa").write_text(">a\nMKVLAAGIVGLCAKAYW\n")
    run("snakemake", "--cores", 2, "-s", WRAPPERS / "embed/test/Snakefile")
    shards = [path.name for path in (tmp_path / "proteins/embeddings").glob("embeddings*")]
    assert shards == ["embeddings_00000.safetensors"]
    assert (tmp_path / "proteins/ids.tsv").read_text().splitlines()[1].split("\t")[:3] == ["a", "17", shards[0]]
    assert not list(tmp_path.rglob("*.run"))


def run_rule(run, folder, name, outputs, extra="--device cpu"):
    """Run a rule with the wrapper of predict, which has these outputs."""
    declared = ", ".join(f"{key}='{name}.out/{key}'" for key in outputs)
    text = f"rule one:\n    input: '{name}'\n    output: {declared}\n    params: extra='{extra}'\n"
    (folder / "Snakefile").write_text(text + f"    wrapper: 'file:{WRAPPERS}/predict'\n")
    run("snakemake", "--cores", 1)
    return {key: (folder / f"{name}.out/{key}").read_text() for key in outputs}


@pytest.mark.parametrize("name", ["empty.fa", "short.fa", "short.fq"])
def test_snakemake_s_hits_are_empty_files_without_hits(run, tmp_path, name):
    text = {"empty.fa": "", "short.fa": ">a\nACGT\n", "short.fq": "@a\nACGT\n+\nIIII\n"}[name]
    (tmp_path / name).write_text(text)
    found = run_rule(run, tmp_path, name, ["records", "fasta", "fastq", "report"])
    assert (found["fasta"], found["fastq"]) == ("", "")
    assert found["records"].startswith("seq_name\t")


def test_snakemake_s_hits_of_pairs_are_not_lost(run, tmp_path):
    """An output for single records, of a run on pairs, is an error and not an empty file."""
    for name in ("records.fa", "mates.fa"):
        shutil.copy(HERE / "galaxy/test-data" / name, tmp_path)
    outputs = "records='a', fasta_1='b', fasta_2='c', fastq_1='d'"
    rule = "rule one:\n    input: 'records.fa', 'mates.fa'\n    output: {}\n    params: extra='--paired --device cpu'\n"
    wrapper = f"    wrapper: 'file:{WRAPPERS}/predict'\n"
    (tmp_path / "Snakefile").write_text(rule.format(outputs) + wrapper)
    run("snakemake", "--cores", 1)
    assert [(tmp_path / name).stat().st_size > 0 for name in "abcd"] == [True, True, True, False]
    (tmp_path / "Snakefile").write_text(rule.format("records='e', fastq='f'") + wrapper)
    with pytest.raises(AssertionError, match="no output fastq: fasta and fastq end in _1 and _2 with --paired"):
        run("snakemake", "--cores", 1)


def test_snakefmt_and_snakemake_find_nothing_to_change(run):
    run("snakefmt", "--check", WRAPPERS)
    for snakefile in WRAPPERS.glob("*/test/Snakefile"):
        run("snakemake", "--lint", "-s", snakefile)


def package(name, subdir, *depends):
    """Return a line of a channel's index, for a package that nobody downloads."""
    kind = {"noarch": "python"} if subdir == "noarch" else {}
    record = {"name": name, "version": "0.1.0", "build": "0", "build_number": 0, "depends": depends, "size": 1}
    return {f"{name}-0.1.0-0.conda": record | kind | {"subdir": subdir, "md5": name.encode().hex().ljust(32, "0")[:32]}}


def test_pin_file_has_the_packages_in_order(run, tmp_path):
    """Solved with a channel of three packages, one of which is not needed."""
    folders = {"noarch": package("virnucpro", "noarch", "python >=0.1", "__glibc >=2.17"), "linux-64": {}}
    folders["linux-64"] = package("python", "linux-64") | package("other", "linux-64")
    for subdir, packages in folders.items():
        (tmp_path / "channel" / subdir).mkdir(parents=True)
        index = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages}
        (tmp_path / "channel" / subdir / "repodata.json").write_text(json.dumps(index))
    for command in ("predict", "scan"):
        (tmp_path / "bio" / command).mkdir(parents=True)
        shutil.copy(WRAPPERS / command / "environment.yaml", tmp_path / "bio" / command)
    channel = (tmp_path / "channel").as_uri()
    run("python", HERE / "snakemake/pin.py", "--channel", channel, tmp_path / "bio")
    pins = [path.read_text() for path in (tmp_path / "bio").glob("*/environment.linux-64.pin.txt")]
    assert len(pins) == 2
    assert pins[0] == pins[1]
    assert pins[0].splitlines() == [
        "# platform: linux-64",
        "@EXPLICIT",
        f"{channel}/linux-64/python-0.1.0-0.conda#{b'python'.hex().ljust(32, '0')}",
        f"{channel}/noarch/virnucpro-0.1.0-0.conda#{b'virnucpro'.hex().ljust(32, '0')}",
    ]


def test_miniwdl_checks_the_workflow(run):
    run("miniwdl", "check", "--strict", HERE / "wdl/virnucpro.wdl")


def test_sprocket_reads_the_workflow(run):
    """A second parser of WDL, stricter than the first."""
    code = "import sys; from sprocket_bio.ast import Document; print(len(Document.parse(sys.stdin.read(), None)[1]))"
    assert run("python", "-c", code, stdin=(HERE / "wdl/virnucpro.wdl").read_text()) == "0\n"
    assert run("python", "-c", code, stdin="version 1.0\ntask a { output { File x = } }") != "0\n"


def test_miniwdl_runs_the_example_inputs(run, tmp_path):
    command = ("python", PROGRAMS / "run_wdl.py", "run", HERE / "wdl/virnucpro.wdl", "-i", HERE / "wdl/inputs.json")
    outputs = json.loads(run(*command, "--no-cache", "-d", tmp_path / "out/.", cwd=ROOT))["outputs"]
    assert [len(statuses(table)) for table in outputs["virnucpro.records"]] == [12, 40]
    settings = json.loads(Path(outputs["virnucpro.run"][0]).read_text())["options"]
    assert settings["min_length"] == 100, "an option given as a word reaches the command"


def test_miniwdl_runs_the_workflow(run, tmp_path):
    samples = [
        {"id": "both files", "reads": [f"{EXAMPLES}/lambda.fa", f"{EXAMPLES}/reads.fastq.gz"], "paired": False},
        {
            "id": "pairs",
            "reads": [f"{HERE}/galaxy/test-data/{name}.fa" for name in ("records", "mates")],
            "paired": True,
        },
    ]
    (tmp_path / "inputs.json").write_text(json.dumps({"virnucpro.samples": samples}))
    workflow = HERE / "wdl/virnucpro.wdl"
    printed = run("python", PROGRAMS / "run_wdl.py", "run", workflow, "-i", "inputs.json", "--no-cache", "-d", "out/.")
    outputs = {name.split(".")[1]: value for name, value in json.loads(printed)["outputs"].items()}
    assert [len(statuses(table)) for table in outputs["records"]] == [52, 4]
    assert [[Path(name).name for name in names] for names in outputs["fasta"]] == [
        ["viral.fasta"],
        ["viral_1.fasta", "viral_2.fasta"],
    ]
    assert [[Path(name).name for name in names] for names in outputs["fastq"]] == [["viral.fastq"], []]
    assert outputs["version"] == __version__


GALAXY = {"predict": [5, 8, 6, 6, 7], "scan": [4, 4]}


def test_planemo_lints_the_tools(run):
    """All but the look-up of the entry in bio.tools, which needs a network."""
    run("planemo", "lint", "--fail_level", "warn", "--skip", "BioToolsValid", HERE / "galaxy")


def test_planemo_lints_the_repository(run):
    run("python", PROGRAMS / "lint_shed.py", "--fail_level", "error", HERE / "galaxy")


@pytest.mark.parametrize("tool", GALAXY)
def test_galaxy_s_tests_pass(run, tmp_path, tool):
    path = HERE / f"galaxy/virnucpro_{tool}.xml"
    printed = run("python", PROGRAMS / "run_galaxy.py", path, tmp_path).splitlines()
    done = [line for line in printed if line.startswith("test ")]
    assert done == [f"test {i}: {count} outputs as expected" for i, count in enumerate(GALAXY[tool], 1)]
    validated = run("galaxy-tool-test-case-validation", path)
    assert validated.count(": validated") == len(GALAXY[tool])


@pytest.mark.parametrize("page", PAGES)
def test_shellcheck_finds_no_unquoted_name_in_the_pages(run, page):
    """Variables and commands that could become several words, or a pattern that could become an option."""
    for block in blocks_of(page):
        if block.language == "sh":
            run("shellcheck", "--shell=bash", "--include=SC2035,SC2046,SC2086,SC2068,SC2048", "-", stdin=block.text)


def test_edam_terms_exist(run):
    code = (
        "import csv, json, pathlib, edam_ontology\n"
        "table = open(pathlib.Path(edam_ontology.__file__).with_name('EDAM.tsv'), newline='')\n"
        "rows = csv.DictReader(table, delimiter='\\t')\n"
        "kept = [row for row in rows if row['Obsolete'] == 'FALSE']\n"
        "print(json.dumps({row['Class ID'].rpartition('/')[2]: row['Preferred Label'] for row in kept}))"
    )
    labels = json.loads(run("python", "-c", code))
    terms = edam_terms()
    assert len(terms) > 10
    for term, label in terms:
        assert term in labels, term
        assert label is None or labels[term].lower().startswith(label.lower()), (term, labels[term])
