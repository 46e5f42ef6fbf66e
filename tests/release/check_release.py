"""Say what keeps a commit from being released: python tests/release/check_release.py vX.Y.Z, in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def faults(root: Path, tag: str, changes: str) -> Iterator[str]:
    """Yield everything that is wrong with releasing the files in `root` as `tag`.

    `changes` is the output of `git status --porcelain`.
    """
    found = re.search(r'^__version__ = "(.+)"$', (root / "virnucpro" / "__init__.py").read_text(), re.MULTILINE)
    version = found[1] if found else ""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"__version__ in virnucpro/__init__.py is {version!r}; a release has three numbers"
    if tag != f"v{version}":
        yield f"the tag is {tag!r}; it must be 'v{version}', with the version of virnucpro/__init__.py"
    if f"\nversion: {version}\n" not in (root / "CITATION.cff").read_text():
        yield f"CITATION.cff has another version than {version}"
    newest = re.search(r"^## \[(.+?)\] - (.+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if newest is None or newest[1] != version:
        yield f"the first part of CHANGELOG.md is {newest[1] if newest else 'missing'}, not {version}"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2]):
        yield f"CHANGELOG.md has no date for {version} but {newest[2]!r}"
    if ".invalid" in (root / "pyproject.toml").read_text():
        yield "the project's address in [project.urls] of pyproject.toml is a placeholder"
    if changes:
        yield f"the working tree has changes:\n{changes.rstrip()}"


def main(tag: str) -> int:
    """Print the faults of the repository in the current directory; return how many."""
    git = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    wrong = list(faults(Path.cwd(), tag, git.stdout))
    print("\n".join(wrong) or f"{tag} can be released")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1] if len(sys.argv) > 1 else "")))
