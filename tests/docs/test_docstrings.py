"""The examples in docstrings give what they say."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest
from docs.pages import ROOT

_EXAMPLE = re.compile(r"^ *>>> (?!.*doctest: \+SKIP)", re.MULTILINE)
MODULES = [
    path.relative_to(ROOT) for path in sorted((ROOT / "virnucpro").rglob("*.py")) if _EXAMPLE.search(path.read_text())
]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings(path: Path) -> None:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed
