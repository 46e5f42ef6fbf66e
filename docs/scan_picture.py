"""Make docs/images/scan-report.png, the report of a scan: python docs/scan_picture.py, with virnucpro on PATH.

The genome is made of the examples: lambda between pieces of E. coli, and a second record that is drawn as a circle.
"""

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]


def letters(text: str) -> str:
    """Return the sequences of a FASTA file end to end."""
    return "".join(line for line in text.splitlines() if not line.startswith(">"))


def main() -> None:
    host = letters(gzip.decompress((ROOT / "examples/ecoli.fa.gz").read_bytes()).decode())
    phage = letters((ROOT / "examples/lambda.fa").read_text())
    with tempfile.TemporaryDirectory() as folder:
        genome = Path(folder) / "genome.fa"
        circle = f">pieces_2 circular=true\n{host}{phage[:9000]}{host[2000:9000]}"
        genome.write_text(f">pieces_1\n{host}{phage}{host[:6000]}\n{circle}\n")
        command = ["virnucpro", "scan", genome, "-o", Path(folder) / "out", "--plots", "none"]
        subprocess.run(command, check=True)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 1250})
            page.goto((Path(folder) / "out" / "report.html").as_uri())
            top = page.locator("#overview").bounding_box()["y"]
            end = page.locator("#region_1").bounding_box()
            clip = {"x": 0, "y": top, "width": 1100, "height": end["y"] + end["height"] - top}
            page.screenshot(path=ROOT / "docs/images/scan-report.png", clip=clip, full_page=True)
            browser.close()


if __name__ == "__main__":
    main()
