"""Files for those who take part: the CI file, templates, the release check, the project's address."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from release.check_release import faults

from virnucpro import __version__

yaml = pytest.importorskip("yaml", reason="PyYAML comes with mkdocs (the extra docs)")
ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
if not GITHUB.is_dir():
    pytest.skip("an sdist has no .github", allow_module_level=True)


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())


def test_ci_tests_every_python_that_is_promised(workflow):
    text = (ROOT / "pyproject.toml").read_text()
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    tested = {row["python"]: row["constraints"] for row in workflow["jobs"]["test"]["strategy"]["matrix"]["include"]}
    assert list(tested) == promised == ["3.10", "3.11", "3.12", "3.13"]
    assert f'requires-python = ">={promised[0]}"' in text
    assert {version for version, file in tested.items() if file} == {"3.11"}  # which constraints.txt is for


def test_ci_runs_targets_of_make_and_needs_no_secret(workflow):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["run"].split() for step in steps if "run" in step]
    assert {words[0] for words in used} == {"make"}
    called = {word for words in used for word in words[1:] if re.fullmatch("[a-z-]+", word)}
    assert called == {"check", "test", "docs", "build", "release-check"} <= targets
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in (GITHUB / "workflows" / "ci.yml").read_text()


@pytest.mark.parametrize("name", ["bug", "idea", "wrong_call"])
def test_issue_templates_are_forms(name):
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked) >= 3
    assert all(part["attributes"]["label"] for part in asked)


def test_the_address_stands_in_one_place():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("not a git repository")
    address = re.search(r'^Source = "https://(\S+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    texts = {name: (ROOT / name).read_bytes() for name in files if (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if address[1].encode() in text] == ["pyproject.toml"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("https://project-address.invalid/x", None), ("https://code.example.org/x", "https://code.example.org/x")],
)
def test_the_site_links_to_the_address_unless_it_is_a_placeholder(tmp_path, monkeypatch, address, expected):
    pytest.importorskip("mkdocs", reason="needs mkdocs (the extra docs)")
    spec = importlib.util.spec_from_file_location("outside", ROOT / "docs" / "outside.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nSource = "{address}"\n')
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    assert hooks.on_config(SimpleNamespace(repo_url=None)).repo_url == expected


@pytest.fixture
def ready(tmp_path):
    """The files of a version that can be released."""
    (tmp_path / "virnucpro").mkdir()
    (tmp_path / "virnucpro" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CITATION.cff").write_text("title: x\nversion: 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-01-31\n\n## [1.2.2] - 2025-01-01\n")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nSource = "https://code.example.org/x"\n')
    return tmp_path


def test_a_release_that_is_ready(ready):
    assert list(faults(ready, "v1.2.3", "")) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "tag", "changes", "words"),
    [
        ("virnucpro/__init__.py", "1.2.3", "1.2.3.dev0", "v1.2.3.dev0", "", "a release has three numbers"),
        ("CITATION.cff", "1.2.3", "1.2.2", "v1.2.3", "", "CITATION.cff has another version than 1.2.3"),
        ("CHANGELOG.md", "[1.2.3]", "[1.3.0]", "v1.2.3", "", "the first part of CHANGELOG.md is 1.3.0, not 1.2.3"),
        ("CHANGELOG.md", "2026-01-31", "unreleased", "v1.2.3", "", "has no date for 1.2.3 but 'unreleased'"),
        ("pyproject.toml", "example.org", "invalid", "v1.2.3", "", "is a placeholder"),
        ("pyproject.toml", "x", "x", "1.2.3", "", "the tag is '1.2.3'; it must be 'v1.2.3'"),
        ("pyproject.toml", "x", "x", "v1.2.3", " M README.md\n", "the working tree has changes:\n M README.md"),
    ],
)
def test_what_keeps_a_version_from_being_released(ready, file, old, new, tag, changes, words):
    path = ready / file
    path.write_text(path.read_text().replace(old, new))
    assert any(words in fault for fault in faults(ready, tag, changes))


def test_this_version_is_not_released_under_another_tag():
    assert any("the tag is" in fault for fault in faults(ROOT, f"v{__version__}x", ""))
