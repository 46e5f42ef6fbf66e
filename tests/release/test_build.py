"""What is released: one version, an sdist, and a wheel made of it that runs far from its sources."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from release.try_wheel import find_wheel, make_environment, try_out

from virnucpro import __version__

ROOT = Path(__file__).parents[2]
pytest.importorskip("hatchling", reason="needs hatchling (the extra dev)")


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("dist")
    _hatch(ROOT, "sdist", made)
    (sdist,) = made.glob("*.tar.gz")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    _hatch(unpacked / f"virnucpro-{__version__}", "wheel", made)
    return made


def _hatch(source: Path, target: str, output: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(output)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in re.findall(r"^(\w+) *=", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == __version__
    sources = [path for path in (ROOT / "virnucpro").rglob("*.py") if path.name != "__init__.py"]
    assert not [path for path in sources if __version__ in path.read_text()]


def test_what_the_sdist_holds(dist: Path) -> None:
    with tarfile.open(dist / f"virnucpro-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("needs a git checkout to compare with")
    left_out = {name for name in tracked.stdout.split("\n") if name and name not in names}
    assert {name for name in left_out if not name.startswith(".")} == set()


def test_what_the_wheel_holds(dist: Path) -> None:
    names = zipfile.ZipFile(find_wheel(dist)).namelist()
    weights = {path.name for path in (ROOT / "virnucpro" / "pretrained" / "bundled").iterdir()}
    assert weights == {name.rpartition("/")[2] for name in names if name.startswith("virnucpro/pretrained/bundled/")}
    assert {name.partition("/")[0] for name in names} == {"virnucpro", f"virnucpro-{__version__}.dist-info"}
    assert f"virnucpro-{__version__}.dist-info/licenses/LICENSE" in names


def test_the_wheel_runs_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment", find_wheel(dist), "--no-deps", "--no-index")
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "environment")}))
    # What it depends on is shared; ours is not, for that is installed by a .pth file, which is not read there.
    (installed / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert try_out(programs, tmp_path) == __version__


def test_a_wheel_that_does_not_run_is_noticed(dist: Path, tmp_path: Path) -> None:
    programs = make_environment(tmp_path / "environment", find_wheel(dist), "--no-deps", "--no-index")
    with pytest.raises(SystemExit, match="ended with 1"):
        try_out(programs, tmp_path)
