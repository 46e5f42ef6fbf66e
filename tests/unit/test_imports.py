"""Who imports whom, what the package exports, and what importing it costs."""

import ast
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

import virnucpro

PACKAGE = Path(virnucpro.__file__).parent

# Top-level names by level; a module may import from lower levels and from its own part of the package.
LEVELS = (
    {"errors", "printable", "words", "types", "config", "environment", "files", "places", "_optional"},
    {"seq"},
    {"scores"},
    {"data", "models"},
    {"pretrained"},
    {"pipeline"},
    {"run"},
    {"evaluate"},
    {"distributed", "train", "report"},
    {"api"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

EXPORTED = [
    "Call",
    "Calls",
    "DNABERT",
    "ESM2",
    "FoundRegion",
    "Options",
    "Prediction",
    "Predictor",
    "Record",
    "Status",
    "VirnucproError",
    "__version__",
    "embed",
    "load_model",
    "predict",
    "read_pairs",
    "read_records",
    "scan",
]


def imported(source: str) -> set[str]:
    """Return the top-level parts of virnucpro that a module imports, wherever in the file."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("virnucpro.")}
    return parts


def forbidden(part: str, source: str) -> set[str]:
    """Return what a module in `part` of the package imports but may not; anything may ask for the version."""
    allowed = {name for name, level in LEVEL.items() if level < LEVEL[part]} | {part, "__version__"}
    if part in LEVELS[0]:
        allowed |= LEVELS[0]
    return imported(source) - allowed


def modules() -> dict[str, Path]:
    """Return all modules of the package by their dotted names, packages by the name of their `__init__.py`."""
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("virnucpro", *path.relative_to(PACKAGE).with_suffix("").parts)
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imported_modules(source: str, known: Collection[str]) -> set[str]:
    """Return the modules among `known` that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named if named <= set(known) else named | {node.module}
    return found & set(known)


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """Return a cycle of a graph, nothing where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph[name]):
                if found := visit(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {name: imported_modules(path.read_text(), known) - {name, "virnucpro"} for name, path in known.items()}
    assert len(graph) > 100
    assert sum(map(len, graph.values())) > 300
    assert cycle_of(graph) == []
    assert cycle_of({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_two_files_of_one_name_are_a_command_and_its_subject() -> None:
    places: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            places.setdefault(path.name, set()).add(path.parent.name)
    several = {name: folders for name, folders in places.items() if len(folders) > 1}
    assert {name: folders for name, folders in several.items() if len(folders) > 2 or "cli" not in folders} == {}


@pytest.mark.parametrize(
    ("part", "source", "found"),
    [
        ("seq", "from virnucpro.data import pack", {"data"}),
        ("data", "def f():\n    import virnucpro.pretrained.registry", {"pretrained"}),
        ("models", "from virnucpro import data", {"data"}),
        ("pipeline", "if TYPE_CHECKING:\n    from virnucpro.train.fit import fit", {"train"}),
        ("train", "from virnucpro.report import html", {"report"}),
        ("errors", "from virnucpro.types import Record", set()),
        ("cli", "from virnucpro import __version__\nfrom virnucpro.train.fit import fit\nimport torch", set()),
    ],
)
def test_the_check_finds_what_is_forbidden(part: str, source: str, found: set[str]) -> None:
    assert forbidden(part, source) == found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in LEVEL, f"{part} has no place in the order of imports"
    assert not forbidden(part, path.read_text(encoding="utf-8"))


def test_exported_members() -> None:
    assert sorted(virnucpro.__all__) == EXPORTED
    assert sorted(dir(virnucpro)) == EXPORTED
    assert all(getattr(virnucpro, name) is not None for name in EXPORTED)
    with pytest.raises(AttributeError, match="no attribute 'predicts'"):
        _ = virnucpro.predicts


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "use",
    [
        "import virnucpro",
        "from virnucpro import Call, Record, Status, VirnucproError, read_records",
        "import virnucpro.cli.main",
        "import virnucpro.cli.main as m\ntry: m.main(['-q', 'check', '/dev/null'])\nexcept SystemExit: pass",
        "import virnucpro.evaluate.metrics, virnucpro.run.tables",
        "import virnucpro.distributed.worker",
    ],
)
def test_these_need_no_torch_and_print_nothing(use: str) -> None:
    done = python(f"{use}\nimport sys\nassert 'torch' not in sys.modules", "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", [["predict"], ["embed", "--kind", "nucleotide"]], ids=["predict", "embed"])
def test_nothing_of_ray_is_imported_without_its_engine(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "in.fa").write_text(">a\n" + "ATGGCC" * 30 + "\n")
    code = f"""
import sys
from virnucpro.cli.main import main
try: main(["-q", *{command!r}, {str(tmp_path / "in.fa")!r}, "-o", {str(tmp_path / "out")!r}])
except SystemExit as end: assert not end.code
found = [name for name in sys.modules if name.partition(".")[0] == "ray" or name.startswith("virnucpro.distributed")]
assert not found and "torch" in sys.modules, found
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_library_names_come_when_asked_for() -> None:
    code = """
import sys, virnucpro
assert "torch" not in sys.modules
from virnucpro.api.calling import predict
assert virnucpro.predict is predict and "torch" in sys.modules
from virnucpro import *
assert Predictor.__name__ == "Predictor" and __version__ == virnucpro.__version__
"""
    done = python(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("argument", ["--help", "--version"])
@pytest.mark.parametrize("entry", ["script", "module"])
def test_help_and_version_need_no_torch(entry: str, argument: str) -> None:
    start = [sys.executable, "-X", "importtime"]
    start += [str(Path(sys.executable).with_name("virnucpro"))] if entry == "script" else ["-m", "virnucpro"]
    done = subprocess.run([*start, argument], capture_output=True, text=True, check=False)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 0
    assert "virnucpro.cli.main" in loaded
    assert "torch" not in loaded
    assert done.stdout.strip() == virnucpro.__version__ if argument == "--version" else "Exit codes" in done.stdout


def test_a_call_needs_no_compiler() -> None:
    code = """
import sys
from virnucpro import Predictor, Record, load_model
list(Predictor(load_model()).run([Record("r", b"ATGGCC" * 40)]))
assert "torch._dynamo" not in sys.modules, "importing torch's compiler doubles the time to the first call"
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
