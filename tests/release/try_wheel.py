"""Install the wheel of a directory into an empty environment and run it far from its sources.

    python tests/release/try_wheel.py DIST [OPTIONS OF PIP]

What it depends on comes from the package index. test_build.py does the same with what is installed already.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

EXAMPLES = [Path(__file__).parents[2] / "examples" / name for name in ("lambda.fa", "ecoli.fa.gz")]  # 12 pieces each
LARGEST = 15_000_000  # bytes


def find_wheel(dist: Path) -> Path:
    """Return the only wheel of a directory, which must have the bundled model and be small."""
    (wheel,) = dist.glob("*.whl")
    size = wheel.stat().st_size
    if size >= LARGEST:
        raise SystemExit(f"{wheel.name} has {size:,} bytes, {LARGEST:,} or more; see what it holds")
    return wheel


def make_environment(directory: Path, wheel: Path, *options: str) -> Path:
    """Make an empty environment with the wheel and return its folder of programs."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--disable-pip-version-check",
        "--quiet",
    ]
    subprocess.run([*install, *options, str(wheel)], check=True)
    return python.parent


def try_out(programs: Path, directory: Path) -> str:
    """Classify examples in a directory without the sources, as a user without any settings; return the version."""
    for example in EXAMPLES:
        (directory / example.name).write_bytes(example.read_bytes())
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(directory)}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    version = run(str(programs / "virnucpro"), "--version").strip()
    home = Path(run(str(programs / "python"), "-c", "import virnucpro; print(virnucpro.__file__)").strip())
    if not home.is_relative_to(programs.parent):
        raise SystemExit(f"virnucpro was imported from {home}, not from {programs.parent}")
    run(str(programs / "virnucpro"), "predict", *(example.name for example in EXAMPLES), "-o", "out")
    rows = [row.split("\t") for row in (directory / "out" / "records.tsv").read_text().splitlines()[1:]]
    phage, bacterium = (
        [row[4] == "virus" for row in rows if row[0].startswith(name)] for name in ("lambda_", "ecoli_")
    )
    if (len(phage), sum(phage) > 6, len(bacterium), sum(bacterium)) != (12, True, 12, 0):
        raise SystemExit(
            f"called virus are {sum(phage)} of {len(phage)} pieces of phage lambda and {sum(bacterium)} of "
            f"{len(bacterium)} of E. coli; wanted are more than 6 of 12 and none of 12"
        )
    return version


def main(dist: str, *options: str) -> None:
    wheel = find_wheel(Path(dist))
    with tempfile.TemporaryDirectory() as folder:
        programs = make_environment(Path(folder) / "environment", wheel, *options)
        version = try_out(programs, Path(folder))
    print(f"{wheel.name} ({wheel.stat().st_size:,} bytes) installs and runs as version {version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
