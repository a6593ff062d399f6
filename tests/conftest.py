"""Fixtures and rules for all tests."""

import os
import signal
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def gpu_problem() -> str:
    """Why the tests marked ``gpu`` cannot run here; empty where they can."""
    from uner3d.ops import _native

    if not torch.cuda.is_available():
        return "torch finds no usable CUDA device"
    return _native.cuda.cuda_problem()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    problem = gpu_problem() if marked else ""
    for item in marked if problem else ():
        item.add_marker(pytest.mark.skip(reason=f"gpu: {problem}"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real sets: UNER3D_DATA, or ../shared/data beside the repository."""
    root = Path(os.environ.get("UNER3D_DATA") or ROOT.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no data sets at {root}: set UNER3D_DATA to their folder")
    return root


@pytest.fixture(autouse=True)
def ieee_denormals():
    """A fit flushes denormal numbers for its thread; no test may inherit that from another."""
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def interruptible():
    """A shell ignores Ctrl-C for what it starts in the background, the suite too; tests that send it count on it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def threads():
    """Sets torch's thread count; the test's caller gets back its own."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
