"""Where the files of the published tool are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    named = os.environ.get("VIRNUCPRO_GOLDEN")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden files: {folder} is not a folder; set VIRNUCPRO_GOLDEN")
    return folder
