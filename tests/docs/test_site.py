"""The site of docs/: it builds without a warning, has every public name, and shows its pages without a network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.pages import ROOT

import virnucpro
import virnucpro.models

pytest.importorskip("mkdocs", reason="needs mkdocs-material and mkdocstrings (the extra docs)")
OUTSIDE = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def build(directory: Path, output: Path) -> tuple[int, list[str]]:
    """Build the site of the sources in a directory; return the exit code and the warnings and errors."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(output),
    ]  # with --quiet none counts
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("INFO ")]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("site") / "site"
    assert build(ROOT, made) == (0, [])
    return made


@pytest.mark.parametrize("link", ["absent.md", "formats.md#absent", "../absent.json"])
def test_a_broken_link_is_an_error(link: str, tmp_path: Path) -> None:
    for name in ("virnucpro", "examples", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("mkdocs.yml", "pyproject.toml", *OUTSIDE):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "docs" / "limits.md").open("a") as page:
        page.write(f"\n[x]({link})\n")
    code, said = build(tmp_path, tmp_path / "site")
    assert code != 0
    assert any("absent" in line for line in said)


def test_every_page_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {Path(name).stem for name in OUTSIDE} | {"404"}
    assert {path.stem for path in site.glob("*.html")} == pages
    assert virnucpro.__version__ in (site / "CHANGELOG.html").read_text(encoding="utf-8")
    assert (site / "benchmarks" / "results" / "accuracy_val.json").is_file()
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("module", [virnucpro, virnucpro.models], ids=lambda module: module.__name__)
def test_every_public_name_is_explained(module, site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in module.__all__:
        assert f'id="{module.__name__}.{name}"' in page or f"{module.__name__}.{name}</code>" in page, name


def test_nothing_is_asked_of_other_servers(site: Path) -> None:
    loading = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*\shref=\"?(?:https?:)?//"
    )
    for page in site.rglob("*.html"):
        assert not loading.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.skipif(BROWSER is None, reason="needs chromium, e.g. apt-get install chromium")
def test_pages_and_search_work_from_files(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra dev) and chromium")
    said, asked = [], []
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        for path in sorted(site.glob("*.html")):
            if path.stem == "404":  # its links are of a server
                continue
            page.goto(path.as_uri())
            assert page.evaluate("[...document.images].every(image => image.naturalWidth)"), path.name
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path.name} is too wide"
        page.click("input[name=query]")
        page.keyboard.type("prophage")
        page.wait_for_selector(".md-search-result__item h1")
        assert "Regions" in page.inner_text(".md-search-result__list")
        opened.close()
    assert said == []
    assert [url for url in asked if not url.startswith("file://")] == []
