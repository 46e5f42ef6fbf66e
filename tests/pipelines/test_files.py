"""integrations/ without other people's tools: versions, options, requirements and file names agree with the package."""

import re
import sys
import xml.etree.ElementTree as ET
from fnmatch import fnmatch
from pathlib import Path

import jinja2
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from virnucpro import __version__
from virnucpro.cli.main import app
from virnucpro.run.tables import PAIR_TABLES, REPORTS, TABLES

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

ROOT = Path(__file__).parents[2]
HERE = ROOT / "integrations"
MODULE = HERE / "nf-core/modules/nf-core/virnucpro/predict"
WRAPPER = HERE / "snakemake/bio/virnucpro/predict"
CONDA_NAMES = {"huggingface-hub": "huggingface_hub", "torch": "pytorch"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def recipe():
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    functions = {"PYTHON": "python", "pin_subpackage": lambda name, max_pin: f"{name} {max_pin}"}
    return yaml.safe_load(environment.from_string((HERE / "bioconda/meta.yaml").read_text()).render(functions))


@pytest.mark.parametrize(
    ("path", "pattern", "times"),
    [
        (MODULE / "main.nf", r"/virnucpro:([\d.]+)--", 2),
        (MODULE / "environment.yml", r"bioconda::virnucpro=(\S+)", 1),
        (WRAPPER / "environment.yaml", r"virnucpro =(\S+)", 1),
        (HERE / "wdl/virnucpro.wdl", r'"virnucpro:(\S+)"', 2),
        (HERE / "galaxy/virnucpro_predict.xml", r'"@TOOL_VERSION@">([\d.]+)<', 1),
        (HERE / "bioconda/meta.yaml", r'version = "(\S+)"', 1),
        (HERE / "container/Dockerfile", r'version="(\S+)"|-t virnucpro:(\S+)', 2),
        (HERE / "container/virnucpro.def", r"image.version (\S+)", 1),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_versions_are_the_package_s(path, pattern, times):
    found = ["".join(match.groups("")) for match in re.finditer(pattern, path.read_text())]
    assert found == [__version__] * times


@pytest.mark.parametrize(
    "path",
    [
        MODULE / "main.nf",
        WRAPPER / "wrapper.py",
        WRAPPER / "meta.yaml",
        WRAPPER / "test/Snakefile",
        HERE / "wdl/virnucpro.wdl",
        HERE / "galaxy/virnucpro_predict.xml",
    ],
    ids=lambda path: path.name,
)
def test_options_exist(path):
    command = typer.main.get_command(app).commands["predict"]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text()))
    assert used - {"--version"}
    assert used - {"--version"} <= known


def test_outputs_are_those_of_a_run():
    written = {*TABLES, *PAIR_TABLES, *REPORTS, "run.json"}
    named = {
        "main.nf": set(re.findall(r'path\("\$\{prefix\}/(\S+)"\)', (MODULE / "main.nf").read_text())),
        "wrapper.py": set(re.findall(r'": "(\S+\.\S+)"', (WRAPPER / "wrapper.py").read_text())),
        "wdl": set(re.findall(r"~\{id\}/(\S+?)\"", (HERE / "wdl/virnucpro.wdl").read_text())),
        "galaxy": set(re.findall(r'"out/(\S+)"', (HERE / "galaxy/virnucpro_predict.xml").read_text())),
    }
    for where, patterns in named.items():
        assert all(any(fnmatch(name, pattern) for name in written) for pattern in patterns), where
        for wanted in ("records.tsv", "viral.fasta", "run.json", "virnucpro_mqc.json"):
            assert any(fnmatch(wanted, pattern) for pattern in patterns), (where, wanted)


def test_recipe_requires_what_the_package_requires(project, recipe):
    required = {"python": project["project"]["requires-python"]}
    for requirement in map(Requirement, project["project"]["dependencies"]):
        required[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)
    assert dict(line.split() for line in recipe["requirements"]["run"]) == required
    host = [line.replace(" ", "") for line in recipe["requirements"]["host"]]
    assert {*project["build-system"]["requires"], f"python{required['python']}", "pip"} == set(host)
    assert recipe["build"]["entry_points"] == [f"{k} = {v}" for k, v in project["project"]["scripts"].items()]
    assert recipe["about"]["license"] == project["project"]["license"]
    assert (HERE / "bioconda" / recipe["source"]["path"]).resolve() == ROOT


def test_container_is_locked(project):
    lock = (HERE / "container/build.lock").read_text()
    pinned = {name: Version(version) for name, version in re.findall(r"^(\S+)==(\S+) ", lock, re.MULTILINE)}
    assert len(pinned) == len(re.findall(r"^\S+==\S+ \\\n +--hash", lock, re.MULTILINE))
    for requirement in map(Requirement, project["build-system"]["requires"]):
        assert pinned[requirement.name] in requirement.specifier
    recipes = [(HERE / "container" / name).read_text() for name in ("Dockerfile", "virnucpro.def")]
    bases = re.findall(r"^F(?:ROM|rom:) (\S+)", "".join(recipes), re.MULTILINE)
    assert bases == ["python:3.11-slim-bookworm"] * 4
    assert "CPython 3.11" in (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^USER (\S+)", recipes[0], re.MULTILINE) == ["10001"]


def test_module_s_metadata_names_its_outputs():
    meta = yaml.safe_load((MODULE / "meta.yml").read_text())
    emitted = re.findall(r"emit: (\w+)", (MODULE / "main.nf").read_text())
    assert list(meta["output"]) == emitted
    (_, reads), model = meta["input"]
    assert [*reads, *model] == ["reads", "model"]


def test_every_file_can_be_read():
    for path in [*HERE.rglob("*.yml"), *HERE.rglob("*.yaml")]:
        if path.parent.name != "bioconda":  # a template, read above
            assert yaml.safe_load(path.read_text()), path
    tools = list(HERE.rglob("*.xml"))
    assert [ET.parse(path).getroot().tag for path in tools] == ["tool"]
