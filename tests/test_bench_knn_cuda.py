"""What bench_knn.py does on CUDA, as far as a CPU can tell; with a GPU, the peers that are there."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # at the end: the package under test is the installed one

from benchmarks import _clouds, _knn_cuda, bench_knn  # noqa: E402
from benchmarks.peers import cuda_kdtree  # noqa: E402
from benchmarks.peers.brute import torch_exact  # noqa: E402
from benchmarks.peers.knn import PEERS, available  # noqa: E402
from benchmarks.peers.knn_cuda import CUDA_PEERS, CudaPeer  # noqa: E402


@pytest.fixture
def on_the_cpu(monkeypatch):
    """The control flow alone: nothing is waited for, and no memory or bandwidth is measured."""
    monkeypatch.setattr(_knn_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(_knn_cuda, "bandwidth", lambda *_: {})
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)


def test_the_truth_in_blocks_is_the_truth(monkeypatch):
    points, queries = _clouds.cloud("uneven", 1000), _clouds.cloud("surface", 40)
    monkeypatch.setattr(_knn_cuda, "AT_ONCE", 40 * 7)
    expected = torch_exact(points.double(), queries.double(), 9)[0]
    torch.testing.assert_close(_knn_cuda.truth_of(points, queries, 9), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", _clouds.CLOUDS)
def test_the_order_is_that_of_morton_codes(kind):
    """Bit by bit in NumPy's integers."""
    queries = _clouds.cloud(kind, 3000)
    x = queries.numpy().astype(np.float64)
    cells = ((x - x.min(0)) / np.ptp(x) * (2**_clouds.BITS - 1)).astype(np.uint64)
    codes = [sum(int(c[axis]) >> bit & 1 and 1 << (3 * bit + axis) for bit in range(_clouds.BITS) for axis in range(3))
             for c in cells]  # fmt: skip
    assert torch.equal(_knn_cuda.morton_sorted(queries), queries[np.argsort(codes, kind="stable")])


def test_a_part_keeps_runs_from_everywhere():
    queries = torch.arange(3 * 40 * _knn_cuda.RUN).float().view(-1, 3)
    assert _knn_cuda.part_of(queries, 0.7) is queries and len(_knn_cuda.part_of(queries[:10], 0.1)) == 10
    part = _knn_cuda.part_of(queries, 0.001).view(-1, _knn_cuda.RUN, 3)
    assert len(part) == 4 and torch.equal(part[1], queries[10 * _knn_cuda.RUN : 11 * _knn_cuda.RUN])
    assert len(_knn_cuda.part_of(queries, 0.5)) == len(queries) // 2


def test_a_case_runs_and_a_peer_that_fails_is_left_out(on_the_cpu, monkeypatch, capsys):
    def fails(points, k):
        raise RuntimeError("no memory")

    monkeypatch.setattr(_knn_cuda, "LONG", 1e-9)
    ours = CUDA_PEERS["uner3d"]
    second = CudaPeer("second", ours.make, ours.dist2, lambda: "1", lambda: "")
    peers = [ours, second, CudaPeer("third", fails, ours.dist2, lambda: "1", lambda: "")]
    case = _knn_cuda.prepared("surface", 60_000, 8)
    figure = _knn_cuda.on_cuda(case, "surface", 8, peers, Namespace(repeats=5))
    assert "third: left out, RuntimeError: no memory" in capsys.readouterr().out
    assert list(figure["us_per_query"]) == [f"{name} {order}" for name in ("uner3d", "second")
                                            for order in ("as called", "sorted")]  # fmt: skip
    assert figure["libraries"]["second"]["exact"] and figure["libraries"]["second"]["queries"] < 60_000
    bench_knn.show({"cloud": "surface", "points": 60_000, "k": 8, **figure})
    assert "queries timed" in capsys.readouterr().out


def test_where_cuda_kdtree_is_not_it_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("CUDAKDTREE_LIBRARY", raising=False)
    monkeypatch.delenv("CUDAKDTREE_INCLUDE", raising=False)
    assert available(["cudaKDTree"], CUDA_PEERS)[0] == [] and "is not set" in capsys.readouterr().out
    monkeypatch.setenv("CUDAKDTREE_INCLUDE", str(tmp_path))
    assert "without cukd" in cuda_kdtree.problem()
    monkeypatch.setenv("CUDAKDTREE_LIBRARY", str(tmp_path / "absent.so"))
    assert "names no file" in cuda_kdtree.problem()


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in CUDA_PEERS if name not in PEERS or name == "uner3d"])
def test_a_peer_finds_what_is_there(name):
    found, missing = available([name], CUDA_PEERS)
    if missing:
        pytest.skip(f"{name}: {missing[name]}")
    case = _knn_cuda.prepared("uneven", 20_000, 8)
    search = found[0].make(case["points"], 8)
    dist2 = found[0].dist2(search(case["queries"][case["few"]]))
    assert isinstance(found[0].version(), str) and bench_knn.error_of(dist2, case["truth"]) <= bench_knn.EXACT
