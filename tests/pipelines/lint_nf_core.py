"""`nf-core modules lint` without Nextflow and without a network.

Usage: lint_nf_core.py REPOSITORY CONTAINERS.json. nf-core/tools asks Nextflow which container a process has; here the
answer is in CONTAINERS.json, by module and engine. It reads two JSON schemas from nf-core/modules; here RULES state
what nf-core's documentation demands of meta.yml and environment.yml. The version is not looked up on Anaconda.
"""

import json
import subprocess
import sys
from pathlib import Path

import nf_core.modules.lint.environment_yml
import nf_core.utils
from nf_core.components.nfcore_component import NFCoreComponent
from nf_core.modules.lint import ModuleLint

LINTS = ("environment_yml", "main_nf", "meta_yml", "module_tests", "module_todos", "module_deprecations")
TEXT = {"type": "string", "minLength": 1}
LINK = {"type": "string", "pattern": "^https?://"}
KINDS = ["map", "file", "directory", "string", "integer", "float", "boolean", "list", "eval"]
ELEMENT = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": {
        "type": "object",
        "required": ["type", "description"],
        "additionalProperties": False,
        "properties": {
            "type": {"enum": KINDS},
            "description": TEXT,
            "pattern": TEXT,
            "ontologies": {"type": "array", "items": {"type": "object", "additionalProperties": LINK}},
        },
    },
}
CHANNELS = {"type": "array", "items": {"anyOf": [ELEMENT, {"type": "array", "minItems": 2, "items": ELEMENT}]}}
TOOL = {
    "type": "object",
    "required": ["description", "licence", "identifier", "args_id"],
    "anyOf": [{"required": [key]} for key in ("homepage", "documentation", "tool_dev_url", "doi")],
    "properties": {
        "homepage": LINK,
        "doi": {"type": "string", "pattern": r"^10\.\d{4,9}/[^,]+$"},
        "licence": {"type": "array", "minItems": 1, "items": TEXT},
        "identifier": {"type": "string", "pattern": "^(biotools:.+)?$"},
        "args_id": {"type": "string", "pattern": r"^\$args\d*$"},
    },
}
PEOPLE = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^@"}}
RULES = {
    "meta": {
        "type": "object",
        "required": ["name", "description", "keywords", "tools", "input", "output", "topics", "authors", "maintainers"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9]+(_[a-z0-9]+)?$"},
            "description": TEXT,
            "keywords": {
                "type": "array",
                "minItems": 3,
                "uniqueItems": True,
                "items": {"type": "string", "pattern": "^[^A-Z]+$"},
            },
            "tools": {"type": "array", "items": {"type": "object", "additionalProperties": TOOL}},
            "input": CHANNELS,
            "output": {"type": "object", "additionalProperties": CHANNELS},
            "topics": {"type": "object", "additionalProperties": CHANNELS},
            "authors": PEOPLE,
            "maintainers": PEOPLE,
        },
    },
    "environment": {
        "type": "object",
        "required": ["channels", "dependencies"],
        "additionalProperties": False,
        "properties": {
            "channels": {"const": ["conda-forge", "bioconda"]},
            "dependencies": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "pattern": "^(conda-forge|bioconda)::[a-z0-9-]+=[0-9.]+$"},
            },
        },
    },
}

repository, containers = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
nf_core.utils.fetch_wf_config = lambda *arguments, **options: {}
nf_core.utils.anaconda_package = lambda spec: {"versions": [spec.split("=")[1]], "latest_version": spec.split("=")[1]}
NFCoreComponent.get_container_with_inspect = lambda self, profile="docker": containers[self.component_name][profile]
ModuleLint.load_meta_schema = lambda self: RULES["meta"]
(repository / "modules/environment-schema.json").write_text(json.dumps(RULES["environment"]))

git = ["git", "-C", str(repository), "-c", "user.name=lint", "-c", "user.email=lint"]
for step in (["init", "-q", "-b", "master"], ["add", "-A"], ["commit", "-q", "-m", "lint"]):
    subprocess.run([*git, *step], check=True)
bare = repository.with_name("remote.git")
subprocess.run(["git", "clone", "-q", "--bare", str(repository), str(bare)], check=True)

complaints = 0
for module in containers:
    lint = ModuleLint(repository, remote_url=bare.as_uri(), branch="master", hide_progress=True)
    lint.lint(module, key=LINTS, plain_text=True)
    print(f"{module}: {len(lint.passed)} passed, {len(lint.warned)} warned, {len(lint.failed)} failed")
    complaints += len(lint.warned) + len(lint.failed) + (not lint.passed)
sys.exit(bool(complaints))
