"""What bench_knn.py shares between the CPU and CUDA: the check of exactness, and time per query."""

from __future__ import annotations

from torch import Tensor

EXACT = 1e-5  # relative error of a squared distance: rounding of coordinates' differences, and no neighbour missed


def error_of(dist2: Tensor, truth: Tensor) -> float:
    """Largest relative error of squared distances (M, k) of some queries, against those from float64."""
    return float(((dist2.double() - truth).abs() / truth.clamp(min=1e-300)).max())


def check_ours(error: float, name: str) -> None:
    if not error <= EXACT:
        raise AssertionError(f"{name}: squared distances differ by {error:.3g} of their size, expected {EXACT:g}")


def per_query(times: dict[str, dict[str, float]], counts: dict[str, int]) -> dict[str, dict[str, float]]:
    """Microseconds per query and their spread, from seconds per call."""
    micro = lambda field: {name: t[field] / counts[name] * 1e6 for name, t in times.items()}  # noqa: E731
    return {"us_per_query": micro("median"), "spread_us": micro("spread")}
