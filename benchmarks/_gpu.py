"""What the benchmarks add on a GPU: bandwidth over that of a copy."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COPY_BYTES = 1 << 30  # far beyond any cache


def add_device(parser: Any) -> None:
    """The option --device, cpu by default."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


@functools.cache
def copy_bandwidth() -> float:
    """Bytes read and written per second by a copy from device memory to device memory; measured once a process."""
    free, _ = torch.cuda.mem_get_info()
    source = torch.ones(min(COPY_BYTES, free // 4), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(13):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / statistics.median(times[3:])


def least_bytes(
    inputs: Iterable[Tensor], outputs: Iterable[Tensor], seeds: Iterable[Tensor] = (), grads: Iterable[Tensor] = ()
) -> int:
    """Bytes that must move at least: each tensor once a pass; with gradients the backward reads the inputs again."""
    size = lambda tensors: sum(t.nbytes for t in tensors)  # noqa: E731
    inputs, grads = list(inputs), list(grads)
    forward = size(inputs) + size(outputs)
    return forward + (size(inputs) + size(seeds) + size(grads) if grads else 0)


def bandwidth(n_bytes: int, seconds: float, device: str) -> dict[str, float]:
    """Achieved bandwidth and its share of a copy's, also printed; nothing on the CPU.

    ``n_bytes`` is the least that must move, so that an op that reads its inputs many times has a low share.
    """
    if device != "cuda":
        return {}
    achieved, copy = n_bytes / seconds, copy_bandwidth()
    print(f"  moves {achieved / 1e9:.1f} GB/s at least, {achieved / copy:.3f} of a copy's {copy / 1e9:.0f} GB/s")
    return {"bytes": n_bytes, "bytes_per_second": achieved, "copy_bytes_per_second": copy, "of_copy": achieved / copy}
