"""Where the real sets lie."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real sets: UNER3D_DATA, or ../shared/data beside the repository."""
    root = Path(os.environ.get("UNER3D_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no sets at {root}: set UNER3D_DATA to their folder")
    return root
