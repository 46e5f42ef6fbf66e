"""integrations/ without other people's tools: versions, options, requirements and file names agree with the package."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import jinja2
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from virnucpro import __version__
from virnucpro.cli.main import app
from virnucpro.run.scan import SCAN_FILES
from virnucpro.run.tables import PAIR_TABLES, REPORTS, TABLES

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

ROOT = Path(__file__).parents[2]
HERE = ROOT / "integrations"
MODULES = HERE / "nf-core/modules/nf-core/virnucpro"
WRAPPERS = HERE / "snakemake/bio/virnucpro"
COMMANDS = ("predict", "scan", "embed")
CONDA_NAMES = {"huggingface-hub": "huggingface_hub", "torch": "pytorch"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def recipe():
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    functions = {"PYTHON": "python", "pin_subpackage": lambda name, max_pin: f"{name} {max_pin}"}
    return yaml.safe_load(environment.from_string((HERE / "bioconda/meta.yaml").read_text()).render(functions))


VERSIONED = [
    *((MODULES / command / "main.nf", r"/virnucpro:([\d.]+)--", 2) for command in COMMANDS),
    *((MODULES / command / "environment.yml", r"bioconda::virnucpro=(\S+)", 1) for command in COMMANDS),
    *((MODULES / command / "environment.gpu.yml", r"bioconda::virnucpro=(\S+)", 1) for command in COMMANDS),
    *((WRAPPERS / command / "environment.yaml", r"virnucpro =(\S+)", 1) for command in COMMANDS),
    (HERE / "wdl/virnucpro.wdl", r"virnucpro:([\d.]+)--", 2),
    (HERE / "galaxy/macros.xml", r'"@TOOL_VERSION@">([\d.]+)<', 1),
    (HERE / "bioconda/meta.yaml", r'version = "(\S+)"', 1),
    (HERE / "container/Dockerfile", r'version="(\S+)"', 1),
    (HERE / "container/virnucpro.def", r"image.version (\S+)", 1),
]


@pytest.mark.parametrize(
    ("path", "pattern", "times"), VERSIONED, ids=[str(path.relative_to(HERE)) for path, *_ in VERSIONED]
)
def test_versions_are_the_package_s(path, pattern, times):
    found = ["".join(match.groups("")) for match in re.finditer(pattern, path.read_text())]
    assert found == [__version__] * times


CALLERS = [
    *((MODULES / command / "main.nf", command) for command in COMMANDS),
    *((MODULES / command / "tests/main.nf.test", command) for command in COMMANDS),
    *((WRAPPERS / command / "wrapper.py", command) for command in COMMANDS),
    *((WRAPPERS / command / "meta.yaml", command) for command in COMMANDS),
    *((WRAPPERS / command / "test/Snakefile", command) for command in COMMANDS),
    (HERE / "wdl/virnucpro.wdl", "predict"),
    (HERE / "galaxy/virnucpro_predict.xml", "predict"),
    (HERE / "galaxy/virnucpro_scan.xml", "scan"),
]


@pytest.mark.parametrize(("path", "command"), CALLERS, ids=[str(path.relative_to(HERE)) for path, _ in CALLERS])
def test_options_exist(path, command):
    parameters = typer.main.get_command(app).commands[command].params
    known = {option for parameter in parameters for option in [*parameter.opts, *parameter.secondary_opts]}
    text = re.sub(r"gzip --no-name", "gzip", path.read_text())
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert used <= {*known, "--version"}


def outputs_of(path):
    """Return the files of a run that an integration hands on, by the name it uses."""
    text = path.read_text()
    if path.name == "main.nf":
        return [
            (emit, file.removesuffix(".gz"))
            for file, emit in re.findall(r'path\("\$\{prefix\}\.([^"]+)"\) *, emit: (\w+)', text)
        ]
    if path.name == "wrapper.py":
        return re.findall(r'^    "(\w+)": "(\S+\.\S+)",$', text, re.MULTILINE)
    if path.suffix == ".wdl":
        return re.findall(r'File\]?\??\+? (\w+) = (?:glob\()?"~\{id\}/(\S+?)"', text)
    tree = ET.parse(path).getroot().find("outputs")
    return [
        (output.get("name"), data.get("from_work_dir").removeprefix("out/"))
        for output in [*tree.findall("data"), *tree.findall("collection")]
        for data in output.iter("data")
    ]


INTEGRATIONS = [
    (path, command) for path, command in CALLERS if path.name.endswith((".nf", "wrapper.py", ".wdl", ".xml"))
]
# What some of them have beside the list: directories and optional files.
OTHERS = {"predict": {"parquet"}, "scan": {"figures"}, "embed": {"embeddings"}}


@pytest.mark.parametrize(
    ("path", "command"), INTEGRATIONS, ids=[str(path.relative_to(HERE)) for path, _ in INTEGRATIONS]
)
def test_outputs_are_declared_once(path, command):
    """Each integration has every output of outputs.yml, under the same name and with the same file."""
    wanted = yaml.safe_load((HERE / "outputs.yml").read_text())[command]
    found = outputs_of(path)
    assert {re.sub(r"_([12]|pair)$", "", name) for name, _ in found} - OTHERS[command] == set(wanted)
    for name, file in found:
        base = re.sub(r"_([12]|pair)$", "", name)
        if base not in OTHERS[command]:
            single = re.sub(r"_([12])(?=\.fast)", "", file)
            assert fnmatch(wanted[base], single), (name, file)


def test_outputs_are_those_of_a_run():
    declared = yaml.safe_load((HERE / "outputs.yml").read_text())
    assert {*declared["predict"].values()} == {*TABLES, *REPORTS, "run.json"}
    assert all(SCAN_FILES.fullmatch(name) for name in declared["scan"].values())
    assert {name.replace("viral", f"viral_{mate}") for name in TABLES if "viral" in name for mate in "12"} < {
        *PAIR_TABLES
    }


def test_recipe_requires_what_the_package_requires(project, recipe):
    required = {"python": project["project"]["requires-python"]}
    extras = []
    for requirement in map(Requirement, project["project"]["dependencies"]):
        required[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)
        extras += [f"{requirement.name}[{extra}]" for extra in requirement.extras]
    run = dict(line.split() for line in recipe["requirements"]["run"])
    assert extras == ["xopen[zstd]"]
    # The decoder of zstd in Python before 3.14, which a package without extras does not bring along.
    assert "backports.zstd" in {Requirement(line).name for line in metadata.requires("xopen")}
    assert run.pop("backports.zstd")
    assert run == required
    host = [line.replace(" ", "") for line in recipe["requirements"]["host"]]
    assert {*project["build-system"]["requires"], f"python{required['python']}", "pip"} == set(host)
    assert recipe["build"]["entry_points"] == [f"{k} = {v}" for k, v in project["project"]["scripts"].items()]
    assert recipe["about"]["license"] == project["project"]["license"]
    assert recipe["about"]["summary"] == project["project"]["description"]


def test_recipe_follows_bioconda_s_rules(recipe):
    """What bioconda's lint asks of a recipe for Python; the checksum is a placeholder until there is a release."""
    assert recipe["source"]["url"].endswith(f"/virnucpro-{__version__}.tar.gz")
    assert re.fullmatch(r"[0-9a-f]{64}|SHA256_OF_THE_RELEASE", recipe["source"]["sha256"])
    assert (recipe["build"]["number"], recipe["build"]["noarch"]) == (0, "python")
    assert recipe["build"]["run_exports"] == ["virnucpro x.x"]
    assert {"--no-deps", "--no-build-isolation"} <= set(recipe["build"]["script"].split())
    assert {"home", "license", "license_family", "license_file", "summary"} <= set(recipe["about"])
    assert recipe["extra"]["recipe-maintainers"]
    assert recipe["test"]["imports"] == ["virnucpro"]
    assert recipe["test"]["commands"][0] == f"virnucpro --version | grep -Fx {__version__}"
    text = (HERE / "bioconda/meta.yaml").read_text()
    assert re.search(r"^  url: \{\{ url \}\}$", text, re.MULTILINE)
    assert not re.search(r"# *\[", text), "a selector, which noarch excludes"


def pins(path):
    """Return the versions of a lock, each with a hash."""
    lock = path.read_text()
    found = {name: Version(version) for name, version in re.findall(r"^(\S+)==(\S+) ", lock, re.MULTILINE)}
    assert len(found) == len(re.findall(r"^\S+==\S+ \\\n +--hash", lock, re.MULTILINE))
    return found


def test_container_is_locked(project):
    build = pins(HERE / "container/build.lock")
    for requirement in map(Requirement, project["build-system"]["requires"]):
        assert build[requirement.name] in requirement.specifier
    recipes = [(HERE / "container" / name).read_text() for name in ("Dockerfile", "virnucpro.def")]
    bases = re.findall(r"^F(?:ROM|rom:) (\S+)", "".join(recipes), re.MULTILINE)
    assert set(bases) - {"base"} == {"python:3.11-slim-bookworm"}
    assert "CPython 3.11" in (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^USER (\S+)", recipes[0], re.MULTILINE) == ["10001", "10001"]


def test_the_two_variants_differ_by_cuda_alone():
    cpu, gpu = pins(ROOT / "requirements.lock"), pins(HERE / "container/gpu.lock")
    assert {name: version for name, version in gpu.items() if name in cpu} == cpu
    assert all(re.match("cuda|nvidia|triton", name) for name in set(gpu) - set(cpu))
    assert {"torch", "triton"} <= set(gpu)


def test_container_labels_are_the_project_s(project):
    dockerfile, definition = (HERE / "container" / name for name in ("Dockerfile", "virnucpro.def"))
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', dockerfile.read_text()))
    assert (labels["title"], labels["version"]) == ("virnucpro", __version__)
    assert labels["description"] == project["project"]["description"]
    assert labels["licenses"] == project["project"]["license"]
    assert labels["authors"] == project["project"]["authors"][0]["name"]
    assert {name for name, value in labels.items() if value.startswith("$")} == {"source", "revision", "created"}
    text = definition.read_text()
    plain = dict(re.findall(r"^ +org\.opencontainers\.image\.(\w+) (.+)$", text, re.MULTILINE))
    assert plain == {name: value for name, value in labels.items() if not value.startswith("$")}


def edam_terms():
    """Return every EDAM term of the integrations with the label that is written beside it, None without one."""
    terms = set()
    for path in MODULES.rglob("meta.yml"):
        terms |= {*re.findall(r'edamontology\.org/(\w+)" # (.+)$', path.read_text(), re.MULTILINE)}
    for path in (HERE / "galaxy").glob("*.xml"):
        terms |= {(term, None) for term in re.findall(r"\b(?:topic|operation)_\d+", path.read_text())}
    return terms


@pytest.mark.parametrize("command", COMMANDS)
def test_module_s_metadata_names_its_outputs(command):
    meta = yaml.safe_load((MODULES / command / "meta.yml").read_text())
    emitted = re.findall(r"emit: (\w+)", (MODULES / command / "main.nf").read_text())
    assert list(meta["output"]) == emitted
    (_, reads), model = meta["input"]
    assert [*reads, *model] == ["reads" if command == "predict" else "fasta", "model"]


@pytest.mark.parametrize("command", COMMANDS)
def test_module_s_gpu_environment_adds_cuda_to_the_other(command):
    environments = [
        yaml.safe_load((MODULES / command / name).read_text()) for name in ("environment.yml", "environment.gpu.yml")
    ]
    plain, gpu = (environment["dependencies"] for environment in environments)
    assert gpu == sorted(gpu)
    assert set(plain) < set(gpu)
    assert environments[0]["channels"] == environments[1]["channels"] == ["conda-forge", "bioconda"]
    assert {spec.partition("=")[0] for spec in set(gpu) - set(plain)} == {
        "conda-forge::cuda-version", "conda-forge::pytorch-gpu"
    }  # fmt: skip


def test_dockstore_s_paths_exist():
    (workflow,) = yaml.safe_load((ROOT / ".dockstore.yml").read_text())["workflows"]
    assert workflow["subclass"] == "WDL"
    for path in (workflow["primaryDescriptorPath"], workflow["readMePath"], *workflow["testParameterFiles"]):
        assert path.startswith("/")
        assert (ROOT / path[1:]).is_file(), path


def test_images_of_wdl_have_a_registry():
    (image,) = set(re.findall(r'String docker = "(\S+)"', (HERE / "wdl/virnucpro.wdl").read_text()))
    assert image.startswith("quay.io/biocontainers/")
    assert json.loads((HERE / "wdl/inputs.json").read_text())["virnucpro.docker"] == image


def test_placeholders_are_listed():
    """What only a release or a maintainer can know has one of these names, each explained in README.md."""
    readme = (HERE / "README.md").read_text()
    known = {"MAINTAINER", "SHA256_OF_THE_RELEASE", "GPU_IMAGE"}
    texts = [path.read_text() for kind in ("*.yml", "*.yaml", "*.nf") for path in HERE.rglob(kind)]
    used = {name for name in known if any(name in text for text in texts)}
    assert used == known
    assert all(f"`{name}`" in readme for name in known)


def test_every_file_can_be_read():
    for path in [*HERE.rglob("*.yml"), *HERE.rglob("*.yaml")]:
        if path.parent.name != "bioconda":  # a template, read above
            assert yaml.safe_load(path.read_text()), path
    tools = {path.name: ET.parse(path).getroot().tag for path in HERE.rglob("*.xml")}
    assert tools == {"macros.xml": "macros", "virnucpro_predict.xml": "tool", "virnucpro_scan.xml": "tool"}
