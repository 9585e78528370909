"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data (golden outputs, published numbers); tests that need it skip elsewhere."""
    folder = Path(os.environ.get("HAT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"reference data not found at {folder}; set HAT_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="module", autouse=True)
def torch_threads() -> Iterator[None]:
    """Commands choose torch's threads for their whole process: each file of tests begins with the same number."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
