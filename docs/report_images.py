"""Make docs/images/report*.png and summary.png from runs on made-up samples: python docs/report_images.py.

It needs playwright and chromium. The samples are reads and contigs of pieces of examples/; some contigs are of E. coli
with a piece of phage lambda inside.
"""

import gzip
import random
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from virnucpro.cli.main import app

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"


def pieces() -> list[list[str]]:
    """Return the sequences of lambda and of E. coli."""
    texts = (ROOT / "examples/lambda.fa").read_bytes(), gzip.decompress((ROOT / "examples/ecoli.fa.gz").read_bytes())
    return [["".join(entry.split("\n")[1:]) for entry in text.decode().split(">")[1:]] for text in texts]


def write_samples(folder: Path) -> list[Path]:
    """Write reads of 60 to 250 nt and contigs of 500 nt to 20 kb."""
    phage, host = pieces()
    chance = random.Random(7)
    reads, contigs = folder / "reads.fastq.gz", folder / "contigs.fa"
    with gzip.open(reads, "wt") as file:
        for i in range(1, 901):
            piece, length = (
                chance.choice(chance.choices((phage, host), (1, 2))[0]),
                chance.choice((250, 250, 250, 150, 60)),
            )
            start = chance.randrange(len(piece) - length)
            file.write(f"@read_{i}\n{piece[start : start + length]}\n+\n{'I' * length}\n")
    with contigs.open("w") as file:
        for i in range(1, 151):
            kind, number = (
                chance.choices(("phage", "host", "prophage"), (4, 7, 2))[0],
                int(10 ** chance.uniform(0, 1.2)),
            )
            parts = chance.choices(phage if kind == "phage" else host, k=number)
            if kind == "prophage":
                parts[number // 3 : number // 3] = chance.choices(phage, k=4)
            sequence = "".join(parts)
            file.write(f">contig_{i}_{kind}\n{sequence}\n")
    return [reads, contigs]


def write_summary(folder: Path, *more: str) -> Path:
    """Run predict on four samples with different shares of virus; return the page that puts them side by side."""
    phage, host = pieces()
    chance = random.Random(11)
    runs = []
    for name, share in (("lake", 0.3), ("soil", 0.04), ("gut day 1", 0.1), ("gut day 8", 0.55)):
        source = folder / f"{name}.fa"
        with source.open("w") as file:
            for i in range(1, 401):
                piece = chance.choice(phage if chance.random() < share else host)
                length = chance.choice((150, 250, 300, 500))
                start = chance.randrange(max(1, len(piece) - length))
                file.write(f">{i}\n{piece[start : start + length]}\n")
        runs.append(str(folder / name))
        app(["predict", str(source), "-o", runs[-1], *more], standalone_mode=False)
    page_file = folder / "samples.html"
    app(["summary", *runs, "-o", str(page_file)], standalone_mode=False)
    return page_file


def take(browser: Browser, page_file: Path, name: str, width: int, height: int, part: str = "", **how: str) -> None:
    """Take a picture of the page from its top, or from a part on."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=how.get("scheme", "light"))
    page = context.new_page()
    page.goto(page_file.as_uri())
    if how.get("media") == "print":
        page.emulate_media(media="print")
    if part:
        page.locator(part).evaluate("node => scrollTo(0, node.getBoundingClientRect().top + scrollY - 12)")
    page.wait_for_timeout(500)  # until the figures are drawn
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()


def main() -> None:
    """Run predict, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        sources = [str(path) for path in write_samples(folder)]
        options = ["--preset", "strict", "--sample", "reads and contigs"]
        app(["predict", *sources, "-o", str(folder / "out"), *options], standalone_mode=False)
        page_file = folder / "out" / "report.html"
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take(browser, page_file, "report", 1280, 1420)
        take(browser, page_file, "report-hits", 1280, 800, "#hits")
        take(browser, page_file, "report-dark", 1280, 900, "#figures", scheme="dark")
        take(browser, page_file, "report-phone", 400, 900, "#figures")
        take(browser, page_file, "report-paper", 720, 1000, media="print")
        take(browser, write_summary(folder), "summary", 1280, 770)
        browser.close()


main()
