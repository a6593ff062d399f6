"""Fair timing of functions that are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def time_interleaved(
    functions: dict[str, Callable[[], Any]], repeats: int = 5, min_seconds: float = 0.1, warmup: int = 1
) -> dict[str, dict[str, float]]:
    """Time callables in turn, so that a slow moment of the machine falls on all of them and ratios stay fair.

    Each round calls every function once, or as often as fills ``min_seconds``: the first calls of a function that takes
    milliseconds find the caches full of what the one before it left. Every round starts with another function. Where
    CUDA is in use, each timing waits for the device.

    Returns per name, in seconds of one call: ``median``, ``spread`` (largest less smallest), ``min``, and ``repeats``.
    """
    if repeats < 5:
        raise ValueError(f"repeats: expected at least 5 for a median worth reporting, got {repeats}")
    calls = {}
    for name, function in functions.items():
        for _ in range(warmup):
            function()
        calls[name] = max(1, int(min_seconds / max(_seconds(function, 1), 1e-9)))
    names = list(functions)
    times: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(repeats):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            times[name].append(_seconds(functions[name], calls[name]))
    return {
        name: {"median": statistics.median(t), "spread": max(t) - min(t), "min": min(t), "repeats": repeats}
        for name, t in times.items()
    }


def _seconds(function: Callable[[], Any], n_calls: int) -> float:
    _synchronize()
    start = time.perf_counter()
    for _ in range(n_calls):
        function()
    _synchronize()
    return (time.perf_counter() - start) / n_calls


def _synchronize() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
