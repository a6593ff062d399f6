"""Memory and seconds that a peer's search structure takes, each measured in a process of its own.

python -m benchmarks.peers.memory PEER CLOUD POINTS QUERIES K THREADS    prints one JSON object

Peaks are the kernel's own (VmHWM), over what the process held before: points, queries and loaded libraries.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._child import run_module
from benchmarks._clouds import cloud, queries_near

SMALL = 1000  # points of the search that loads libraries and starts threads before anything is measured


def measure_apart(peer: str, kind: str, n: int, m: int, k: int, threads: int) -> dict[str, float]:
    """:func:`measure` in a fresh process."""
    done = run_module("benchmarks.peers.memory", peer, kind, *map(str, (n, m, k, threads)))
    if done.returncode:
        raise RuntimeError(f"{peer}: its memory could not be measured: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(peer: str, kind: str, n: int, m: int, k: int, threads: int) -> dict[str, float]:
    """``build_s``, and megabytes (1e6 bytes) beyond points and queries.

    ``build_mb``: peak while the structure is made. ``held_mb``: what it keeps. ``query_mb``: peak of a search of m
    queries, the structure and the results included; ``result_mb``: the results alone.
    """
    from benchmarks.peers.knn import PEERS

    points = cloud(kind, n)
    queries = queries_near(points, 1e-3)[:m].clone().numpy()
    xyz = points.numpy()
    found = PEERS[peer]
    found.make(xyz[:SMALL].copy(), min(k, SMALL), threads)(queries[:SMALL].copy())
    before = _settled()
    start = time.perf_counter()
    search = found.make(xyz, k, threads)
    seconds = time.perf_counter() - start
    built = _peak()
    held = _settled()
    result = search(queries)
    searched = _peak()
    size = found.dist2(result).nbytes + found.index(result).nbytes
    mb = {"build_mb": built - before, "held_mb": held - before, "query_mb": searched - before, "result_mb": size}
    return {"build_s": seconds, **{name: n_bytes / 1e6 for name, n_bytes in mb.items()}}


def _settled() -> int:
    """Bytes in use, after freed ones went back to the system; the peak is counted from here on."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    peer, kind, *numbers = sys.argv[1:]
    n, m, k, threads = map(int, numbers)
    result: dict[str, Any] = measure(peer, kind, n, m, k, threads)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
