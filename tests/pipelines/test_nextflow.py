"""The nf-core modules: Groovy evaluates them, bash runs what they say, nf-core/tools lints them."""

import gzip
import json
import shutil

import pytest
from pipelines.nextflow import HERE, INPUTS, MODULES, case, emitted, groovy, matching

from virnucpro import __version__
from virnucpro.run.scan import REGION_COLUMNS
from virnucpro.run.tables import RECORD_COLUMNS

EXAMPLES, DATA = HERE.parent / "examples", HERE / "galaxy/test-data"
PROTEINS = ">a\nMKVLAAGIVGLCAKAYWMKVLAAGIVGLCAKAYW\n>b\nMSTNPKPQRKTKRNTNRRPQDVKFPGGG\n"
SHELL = "set -C -e -u -o pipefail\n"  # as Nextflow's shell in nf-core
# The tests of main.nf.test: whether their input is two files of mates, and the header that the snapshot has.
IDS = ("seq_name", "length", "shard", "row", "rows")
SUITES = {
    "predict": (RECORD_COLUMNS, {"genome - fasta": None, "[ fastq_1, fastq_2 ]": False}),
    "scan": (REGION_COLUMNS, {"genome - fasta": None}),
    "embed": (IDS, {"proteome - fasta": None}),
}


@pytest.fixture
def evaluate(run, tools):
    """Evaluate the process of a module for some cases, in one Java machine."""

    def evaluate(module, *cases):
        return json.loads(run(*groovy(tools, module, cases)))

    return evaluate


def place(folder, names):
    """Make inputs in a folder, by name."""
    (folder / "proteins.faa").write_text(PROTEINS)
    (folder / "empty.fq").touch()
    for source in (EXAMPLES, DATA):
        for name in names:
            if (source / name).exists():
                (folder / name).symlink_to(source / name)


def rows(path):
    return len(gzip.decompress(path.read_bytes()).splitlines()) - 1


def check_outputs(run, folder, declared):
    """Run the script and compare each output with the file in the run directory; return the files by emit."""
    (folder / "script").write_text(SHELL + declared["script"])
    run("/bin/bash", "script")
    found = {
        output["emit"]: matching(folder, output["members"][1])
        for output in declared["outputs"]
        if output.get("topic") != "versions"
    }
    missing = {output["emit"] for output in declared["outputs"] if not output.get("optional")} - {
        "versions_virnucpro",
        "versions_cuda",
    }
    assert not [emit for emit in missing if not found[emit]]
    kept = set()
    for path in (path for paths in found.values() for path in paths):
        source = folder / "run" / path.name.removeprefix("s1.").removesuffix(".gz")
        data = path.read_bytes()
        assert (gzip.decompress(data) if path.suffix == ".gz" else data) == source.read_bytes(), path
        assert path.name.startswith("s1.")
        assert path.suffix != ".gz" or data[4:8] == bytes(4), "no time stamp: the same bytes each time"
        kept.add(source.name)
    assert kept == {path.name for path in (folder / "run").iterdir() if not path.name.startswith(".")}
    return found


@pytest.mark.parametrize(
    ("module", "files", "meta", "counts"),
    [
        ("predict", ["lambda.fa"], {}, {"records": 12, "fasta": 1, "fastq": 0}),
        ("predict", ["reads.fastq.gz", "lambda.fa"], {"single_end": True}, {"records": 52, "fasta": 1, "fastq": 1}),
        ("predict", ["records.fa", "mates.fa"], {"single_end": False}, {"records": 4, "fasta": 2, "fastq": 0}),
        ("predict", ["ecoli.fa.gz"], {}, {"records": 12, "fasta": 1, "fastq": 0}),
        ("predict", ["empty.fq"], {}, {"records": 0, "fasta": 1, "fastq": 1}),
        ("scan", ["lambda.fa"], {}, {"regions": 1, "bedgraph": 1}),
        ("scan", ["empty.fq"], {}, {"regions": 1, "figures": 0}),
        ("embed", ["proteins.faa"], {}, {"ids": 2, "embeddings": 1}),
        ("embed", ["empty.fq"], {}, {"ids": 0, "embeddings": 0}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_scripts_run_and_compressed_outputs_are_those_of_the_run(evaluate, run, tmp_path, module, files, meta, counts):
    place(tmp_path, files)
    (declared,) = evaluate(module, case(module, files if len(files) > 1 else files[0], **meta))
    found = check_outputs(run, tmp_path, declared)
    for emit, count in counts.items():
        table = emit in ("records", "ids")
        assert (rows(*found[emit]) if table else len(found[emit])) == count, emit
    if files == ["ecoli.fa.gz"]:
        assert gzip.decompress(found["fasta"][0].read_bytes()) == b"", "no hits, and an empty file for them"


@pytest.mark.parametrize("module", INPUTS)
def test_a_job_that_is_queued_again_in_its_folder_runs(evaluate, run, tmp_path, module):
    place(tmp_path, ["lambda.fa"])
    (declared,) = evaluate(module, case(module, "proteins.faa" if module == "embed" else "lambda.fa"))
    first = check_outputs(run, tmp_path, declared)
    before = {path: path.read_bytes() for paths in first.values() for path in paths if path.suffix == ".gz"}
    check_outputs(run, tmp_path, declared)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("module", INPUTS)
def test_versions_are_bare_numbers(evaluate, run, module):
    (declared,) = evaluate(module, case(module, "reads.fq"))
    commands = {output["emit"]: output["members"][2] for output in declared["outputs"] if output.get("topic")}
    assert run("/bin/bash", "-c", commands["versions_virnucpro"]).strip() == __version__
    cuda = run("/bin/bash", "-c", commands["versions_cuda"]).strip()
    assert cuda == "no CUDA available" or cuda[0].isdigit()


@pytest.mark.parametrize("module", INPUTS)
def test_options_and_accelerators_reach_the_command(evaluate, module):
    plain, gpu = evaluate(
        module,
        case(module, "reads.fq", model="other", args="--precision fp32"),
        case(module, "reads.fq", engine="apptainer", accelerator={"request": 1}),
    )
    words = plain["script"].partition("--output")[0].replace("\\", "").split()
    assert words[:4] == ["virnucpro", module, "--device", "cpu"]
    assert " ".join(words).endswith(("--precision fp32 --resume", "--precision fp32 --restart"))
    assert "--model other" in " ".join(words)
    assert "--device cuda" in gpu["script"]
    assert (plain["conda"], gpu["conda"]) == ("MODULE/environment.yml", "MODULE/environment.gpu.yml")
    assert plain["container"].endswith(f"/virnucpro:{__version__}--pyhdfd78af_0")
    assert gpu["container"].startswith("https://") != plain["container"].startswith("https://")


@pytest.mark.parametrize("module", INPUTS)
def test_an_input_that_an_output_would_replace_is_refused(evaluate, module):
    own = {"predict": "viral.fasta.gz", "scan": "regions.fasta.gz", "embed": "embeddings.fa"}[module]
    clash, other = evaluate(module, case(module, ["a.fa", f"s1.{own}"]), case(module, f"s2.{own}"))
    assert "An input has the name of an output, s1." in clash["error"]
    assert "error" not in other


def snapshot(module, evaluate, run, folder):
    """Return what nf-test would keep for main.nf.test: all outputs of the stubs, header and versions of the others."""
    header, inputs = SUITES[module]
    versions = {"versions_cuda": "no CUDA available", "versions_virnucpro": __version__}
    content = {}
    for name, single_end in inputs.items():
        files = ["a.fq", "b.fq"] if name.startswith("[") else "a.fa"
        meta = {} if module != "predict" else {"single_end": single_end is None}
        (declared,) = evaluate(module, {**case(module, files), "meta": {"id": "test", **meta}})
        made = folder / f"stub {name[:4]}"
        made.mkdir()
        run("/bin/bash", "-c", SHELL + declared["stub"], cwd=made)
        outputs = emitted(made, declared, versions)
        only = {emit: value for emit, value in outputs.items() if emit.startswith("versions")}
        options = " - args" if name.startswith("[") else ""
        content[f"sarscov2 - {name}{options}"] = {"content": ["\t".join(header), only]}
        content[f"sarscov2 - {name} - stub"] = {"content": [outputs]}
    return dict(sorted(content.items()))


@pytest.mark.parametrize("module", INPUTS)
def test_the_snapshot_has_what_the_process_says(evaluate, run, tmp_path, module):
    tests = MODULES / module / "tests"
    wanted = snapshot(module, evaluate, run, tmp_path)
    kept, made = tests / "main.nf.test.snap", tmp_path / "main.nf.test.snap"
    made.write_text(json.dumps(wanted, indent=4) + "\n")
    assert kept.read_text() == made.read_text(), f"after a change of outputs or columns: cp {made} {kept}"
    text = (tests / "main.nf.test").read_text()
    assert all(f'test("{name}")' in text for name in wanted)
    assert text.count('    test("') == len(wanted)
    (declared,) = evaluate(module, case(module, "a.fa"))
    stubbed = wanted[next(name for name in wanted if name.endswith("stub"))]["content"][0]
    assert set(stubbed) == {output["emit"] for output in declared["outputs"]}
    assert all(stubbed.values()), "a stub makes a file for every output"


def test_nf_core_lints_the_modules(evaluate, run, tmp_path):
    shutil.copytree(HERE / "nf-core", tmp_path / "modules")
    engines = ("docker", "singularity")
    containers = {
        f"virnucpro/{module}": {
            engine: declared["container"]
            for engine, declared in zip(
                engines, evaluate(module, *(case(module, "a.fa", engine=one) for one in engines)), strict=True
            )
        }
        for module in INPUTS
    }
    (tmp_path / "containers.json").write_text(json.dumps(containers))
    program = HERE.parent / "tests/pipelines/lint_nf_core.py"
    run("python", program, tmp_path / "modules", tmp_path / "containers.json")
