"""Hooks of mkdocs: what the site takes from outside of docs/.

Files outside docs/ that a page links to by `../` become part of the site, under the same names. So one link serves both
the pages in the repository and those of the site. A link of such a file to `docs/` works, too. The project's address
comes from pyproject.toml.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"(?<=\]\()\.\./([^)#]+)")
_INSIDE = re.compile(r"(?<=\]\()docs/")  # of a page outside docs/


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the sources, if pyproject.toml has an address and not a placeholder for it."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
    if ".invalid" not in address:
        config.repo_url = address
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is linked to."""
    pages = [page for page in files.documentation_pages()]
    linked = {name: page.src_uri for page in pages for name in _OUTSIDE.findall(page.content_string)}
    for name, page in sorted(linked.items()):
        if not (ROOT / name).is_file():
            raise PluginError(f"{page} links to ../{name}, which is no file")
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point the links at the copies; every page of docs/ is at the top of the site."""
    return _INSIDE.sub("", _OUTSIDE.sub(r"\1", markdown))
