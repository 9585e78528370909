"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data (golden outputs, published numbers); tests that need it skip elsewhere.

    The data belong to others (the authors' program, Multi30k) and may not be shipped with this repository.
    """
    folder = Path(os.environ.get("HAT_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"reference data of others, not shipped here, not found at {folder}; set HAT_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def multi30k(shared: Path) -> Path:
    """The folder with ``raw/`` and ``tok/`` of Multi30k, which its licence keeps out of this repository."""
    folder = shared / "data" / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"Multi30k, whose licence keeps it out of this repository, not found at {folder} (HAT_SHARED)")
    return folder


@pytest.fixture(scope="module", autouse=True)
def torch_threads() -> Iterator[None]:
    """Commands choose torch's threads for their whole process: each file of tests begins with the same number."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
