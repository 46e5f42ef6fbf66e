"""`nf-core modules lint` without Nextflow and without a network.

Usage: lint_nf_core.py REPOSITORY CONTAINERS.json. nf-core/tools asks Nextflow which container a process has; here the
answer is in CONTAINERS.json, by engine. What needs a copy of nf-core/modules is left out: the JSON schemas of meta.yml
and environment.yml.
"""

import json
import subprocess
import sys
from pathlib import Path

import nf_core.utils
from nf_core.components.nfcore_component import NFCoreComponent
from nf_core.modules.lint import ModuleLint

LINTS = ("main_nf", "meta_yml", "module_tests", "module_todos", "module_deprecations")

repository, containers = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
nf_core.utils.fetch_wf_config = lambda *arguments, **options: {}
NFCoreComponent.get_container_with_inspect = lambda self, profile="docker": containers[profile]
ModuleLint.load_meta_schema = lambda self: {}

git = ["git", "-C", str(repository), "-c", "user.name=lint", "-c", "user.email=lint"]
for step in (["init", "-q", "-b", "master"], ["add", "-A"], ["commit", "-q", "-m", "lint"]):
    subprocess.run([*git, *step], check=True)
bare = repository.with_name("remote.git")
subprocess.run(["git", "clone", "-q", "--bare", str(repository), str(bare)], check=True)

lint = ModuleLint(repository, remote_url=bare.as_uri(), branch="master", hide_progress=True)
lint.lint("virnucpro/predict", key=LINTS, plain_text=True)
print(f"{len(lint.passed)} passed, {len(lint.warned)} warned, {len(lint.failed)} failed")
sys.exit(bool(lint.failed or lint.warned) or not lint.passed)
