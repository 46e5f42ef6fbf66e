"""Chromium, driven by Playwright, which are both optional, and pages of reports to show in it."""

import shutil
from pathlib import Path

import pytest
from support.report_pages import made, rates
from support.run_directories import random_records, write_run

from virnucpro.report.load import Share, read_run
from virnucpro.report.page import render

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra dev) and chromium")
    if BROWSER is None:
        pytest.skip("needs chromium, e.g. apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser):
    """Open a page by its path; at the end, no page may have complained or asked for another file."""
    said, asked = [], []
    contexts = []

    def opened(path: Path, width: int = 1200, **keywords):
        context = browser.new_context(viewport={"width": width, "height": 900}, **keywords)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        asked.remove(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert asked == []


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    records = random_records(100_000)
    return made(tmp_path_factory.mktemp("large") / "run", records, fdr=rates(records), sequences=True)


def everything(directory: Path, files: int, classes: int) -> Path:
    """Return the page of a run of several files with everything that a page can show."""
    records = [(f"NODE_{name}_length_{nt}_cov_12.345678", nt, score) for name, nt, score in random_records(900)]
    records += [(f"NODE_long_{i}_length_9000_cov_12.345678", 9000 + i, i / 25) for i in range(25)]
    columns = {
        "sample_score": ["NA" if score is None else f"{score:.4f}" for _, _, score in records],
        "host_class": ["NA" if score is None else ("plant", "bacteria")[nt % 2] for _, nt, score in records],
        "file": [f"sample_{i % files}_L001_R1.fastq.gz" for i in range(len(records))],
    }
    write_run(directory, records, fdr=rates(records), columns=columns, sequences=True)
    run = read_run(directory)
    names = ["virus", *(f"class {i}" for i in range(1, classes))]
    run.composition = [Share(name, (i + 1) / 50, i / 50, (i + 3) / 50) for i, name in enumerate(names)]
    (directory / "report.html").write_text(render(run), encoding="utf-8")
    return directory / "report.html"


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return everything(tmp_path_factory.mktemp("full") / "run", 3, 3)


@pytest.fixture(scope="module")
def fuller(tmp_path_factory) -> Path:
    return everything(tmp_path_factory.mktemp("fuller") / "run", 40, 10)
