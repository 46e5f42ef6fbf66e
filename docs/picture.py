"""Make docs/images/readme.png, the top of a report: python docs/picture.py, with virnucpro on PATH and Chromium.

The run is that of `make demo`. Playwright comes with the extra dev.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
EXAMPLES = [f"examples/{name}" for name in ("lambda.fa", "ecoli.fa.gz", "reads.fastq.gz")]
WIDTH, HEIGHT = 1180, 820  # CSS pixels


def main() -> None:
    """Write the picture."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("this needs Chromium, e.g. apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        run = Path(folder) / "out"
        subprocess.run(
            ["virnucpro", "predict", *EXAMPLES, "-o", run, "--precision", "fp32", "--sample", "examples"],
            cwd=ROOT,
            check=True,
        )
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((run / "report.html").as_uri())
        page.screenshot(path=str(ROOT / "docs" / "images" / "readme.png"))
        opened.close()


main()
