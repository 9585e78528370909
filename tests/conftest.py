"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data (golden outputs, published numbers); tests that need it skip elsewhere."""
    folder = Path(os.environ.get("HAT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"reference data not found at {folder}; set HAT_SHARED to the folder that holds it")
    return folder
