"""Containers and conda: other people's tools read the recipes, `make check-integrations` installs and names them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HERE = ROOT / "integrations"


def test_hadolint_takes_the_dockerfile(run):
    run("hadolint", HERE / "container/Dockerfile")


def test_shellcheck_takes_the_install_script(run):
    run("shellcheck", HERE / "container/install.sh")


def test_spython_reads_the_apptainer_definition(run, tmp_path):
    shutil.copy(HERE / "container/virnucpro.def", tmp_path / "Singularity")
    converted = run("spython", "recipe", "--parser", "singularity", "Singularity").splitlines()
    dockerfile = (HERE / "container/Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in converted) == 2
    for line in ("RUN sh /src/", "COPY --from=build ", "ENV PATH="):
        wanted = [one for one in dockerfile if one.startswith(line)]
        assert wanted[0] in converted


def test_install_script_refuses_an_unknown_variant(tmp_path):
    """Before anything is downloaded."""
    command = ["sh", HERE / "container/install.sh", ROOT, tmp_path / "target", "tpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown variant tpu" in done.stderr


PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/bin/sh\necho installed\n' > "$3/bin/virnucpro"
    chmod +x "$3/bin/virnucpro"
    exit
fi
printf '%s\n' "$0 $*" >> "$RECORD"
"""


@pytest.mark.parametrize(
    ("variant", "lock", "index"),
    [
        ([], "requirements.lock", ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]),
        (["gpu"], "integrations/container/gpu.lock", []),
    ],
)
def test_install_script_takes_the_lock_of_the_variant(tmp_path, variant, lock, index):
    """A Python that records its arguments takes the place of the real one; folders have blanks in their names."""
    programs, source, target = tmp_path / "programs", tmp_path / "the source", tmp_path / "the target"
    for folder in (programs, source):
        folder.mkdir()
    (programs / "python3").write_text(PYTHON)
    (programs / "python3").chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record")}
    command = ["sh", HERE / "container/install.sh", source, target, *variant]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr
    first, *_ = (tmp_path / "record").read_text().splitlines()
    assert first.startswith(f"{target}/bin/python -m pip ")
    wanted = ["install", "--no-deps", "--require-hashes", "-r", f"{source}/{lock}", *index]
    assert first.endswith(" ".join(wanted))


def test_conda_s_solver_reads_the_requirements(run):
    text = (HERE / "bioconda/meta.yaml").read_text()
    requirements = yaml.safe_load(text[text.index("requirements:") : text.index("test:")])["requirements"]
    specs = [*requirements["host"], *requirements["run"]]
    environments = [*(HERE / "nf-core").rglob("environment*.yml"), *(HERE / "snakemake").rglob("environment.yaml")]
    for path in environments:
        specs += yaml.safe_load(path.read_text())["dependencies"]
    assert len(environments) == 9
    code = "import sys, rattler; [rattler.MatchSpec(spec, strict=True) for spec in sys.argv[1:]]"
    run("python", "-c", code, *specs)
