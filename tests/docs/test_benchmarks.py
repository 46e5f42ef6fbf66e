"""The scripts of benchmarks/ can be imported, and its README and `make bench` say which there are."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
PARTS = {"timing.py", "esm2_contenders.py"}  # imported by others


def test_the_readme_has_a_line_for_each_script() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \|", (BENCHMARKS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(SCRIPTS) - PARTS)


def test_every_script_can_be_imported() -> None:
    """A renamed module or function of the package shows here, not on the day of a measurement."""
    code = (
        f"import importlib\nfor name in {[name.removesuffix('.py') for name in SCRIPTS]}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_bench_runs_the_scripts_that_it_names() -> None:
    root = BENCHMARKS.parent
    done = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/.stamp-install-dev", "bench"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    run = re.findall(r"benchmarks/(\w+\.py)", done.stdout)
    assert run == [name for name in SCRIPTS if name.startswith("bench_")]
