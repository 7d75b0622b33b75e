"""What all tests share."""

import os
from pathlib import Path

import pytest

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real corpora; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("TIEDNMT_DATA", DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set TIEDNMT_DATA to the folder of real corpora")
    return folder
