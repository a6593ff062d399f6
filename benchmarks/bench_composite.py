"""Speed of composite against torch eager, dense and packed; results are checked against each other first.

python benchmarks/bench_composite.py [--rays 4096] [--samples 96] [--channels 3] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from uner3d import ops


def eager_weights(tau: Tensor) -> Tensor:
    """Weights (R, S) in the form most NeRF code has: a cumulative product of 1 - alpha."""
    alpha = 1 - torch.exp(-tau)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1), 1)
    return alpha * through[:, :-1]


def eager_dense(sigma: Tensor, colour: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
    weights = eager_weights(sigma * (edges[:, 1:] - edges[:, :-1]))
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    return (weights[..., None] * colour).sum(1), (weights * middle).sum(1), weights.sum(1), weights


def sum_rays(weights: Tensor, colour: Tensor, edges: Tensor, ray: Tensor, n_rays: int) -> tuple[Tensor, ...]:
    rgb = colour.new_zeros(n_rays, colour.shape[1]).index_add(0, ray, weights[:, None] * colour)
    depth = weights.new_zeros(n_rays).index_add(0, ray, weights * edges.mean(1))
    return rgb, depth, weights.new_zeros(n_rays).index_add(0, ray, weights), weights


def eager_padded(sigma: Tensor, colour: Tensor, edges: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """Packed input, the thickness padded to the longest ray."""
    counts = offsets.diff()
    n_rays, longest = len(counts), int(counts.max())
    ray = torch.repeat_interleave(torch.arange(n_rays), counts)
    slot = ray * longest + torch.arange(len(sigma)) - offsets[ray]
    tau = sigma * (edges[:, 1] - edges[:, 0])
    padded = tau.new_zeros(n_rays * longest).index_copy(0, slot, tau).view(n_rays, longest)
    return sum_rays(eager_weights(padded).flatten()[slot], colour, edges, ray, n_rays)


def eager_cumsum(sigma: Tensor, colour: Tensor, edges: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """Packed input, one running sum of the thickness over all rays, less what each ray started with."""
    counts = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(len(counts)), counts)
    tau = sigma * (edges[:, 1] - edges[:, 0])
    total = torch.cat([tau.new_zeros(1), torch.cumsum(tau, 0)])
    weights = torch.exp(total[offsets[ray]] - total[:-1]) * (1 - torch.exp(-tau))
    return sum_rays(weights, colour, edges, ray, len(counts))


def dense_inputs(n_rays: int, n_samples: int, n_channels: int) -> tuple[Tensor, ...]:
    gen = torch.Generator().manual_seed(0)
    edges = 2 + torch.rand(n_rays, n_samples + 1, generator=gen).sort(1)[0] * 4
    sigma = torch.rand(n_rays, n_samples, generator=gen) * 2
    return sigma, torch.rand(n_rays, n_samples, n_channels, generator=gen), edges


def packed_inputs(n_rays: int, n_samples: int, n_channels: int) -> tuple[Tensor, ...]:
    gen = torch.Generator().manual_seed(1)
    counts = torch.randint(0, 2 * n_samples + 1, (n_rays,), generator=gen)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    n = int(offsets[-1])
    t0 = 2 + 4 * (torch.arange(n) - torch.repeat_interleave(offsets[:-1], counts)) / (2 * n_samples)
    edges = torch.stack([t0, t0 + 2 / n_samples], 1)
    return torch.rand(n, generator=gen) * 2, torch.rand(n, n_channels, generator=gen), edges, offsets


def forward(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return tuple(f(*args))


def forward_backward(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients in density and colour from colour, depth and opacity, as in training."""
    leaves = [a.detach().requires_grad_() for a in args[:2]]
    outputs = tuple(f(*leaves, *args[2:]))[:3]
    seeds = [torch.full_like(o, 0.5 + i) for i, o in enumerate(outputs)]
    return torch.autograd.grad(outputs, leaves, seeds)


def forward_backward_all(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients in all three inputs from all four outputs (a distortion loss needs the weights)."""
    leaves = [a.detach().requires_grad_() for a in args[:3]]
    outputs = tuple(f(*leaves, *args[3:]))
    seeds = [torch.full_like(o, 0.5 + i) for i, o in enumerate(outputs)]
    return torch.autograd.grad(outputs, leaves, seeds)


def check(name: str, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        worst = ((a - b).abs() / (1 + b.abs())).max().item()
        if not worst <= tolerance:
            raise SystemExit(f"{name}: results differ by {worst:.2e}, more than {tolerance:.0e}")


def seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, default in (("rays", 4096), ("samples", 96), ("channels", 3), ("threads", 2), ("repeats", 15)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = (args.rays, args.samples, args.channels)
    cases = {
        "dense": (dense_inputs(*size), {"eager": eager_dense}),
        "packed": (packed_inputs(*size), {"eager_padded": eager_padded, "eager_cumsum": eager_cumsum}),
    }
    figures = {}
    for case, (inputs, peers) in cases.items():
        for run in (forward, forward_backward, forward_backward_all):
            ours = run(ops.composite, inputs)
            for peer, f in peers.items():  # the peers lose digits (1 - alpha, one running sum over all rays)
                check(f"{case} {run.__name__} {peer}", ours, run(f, inputs), 1e-3 if run is forward else 0.05)
            calls = {"ours": ops.composite, **peers}
            taken = seconds({n: lambda f=f, run=run, x=inputs: run(f, x) for n, f in calls.items()}, args.repeats)
            speedup = min(taken[p] for p in peers) / taken["ours"]
            figures[f"{case} {run.__name__}"] = {**taken, "speedup": speedup}
            shown = "  ".join(f"{n} {t * 1e3:.2f} ms" for n, t in taken.items())
            print(f"{case:6} {run.__name__:20} {shown}  {speedup:.1f}x")
    if args.json:
        args.json.write_text(json.dumps({**about(args.threads), "size": size, "seconds": figures}, indent=1) + "\n")


def about(n_threads: int) -> dict[str, object]:
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    device = platform.processor() or platform.machine()
    return {"device": device, "torch": torch.__version__, "threads": n_threads, "isa": ops.get_isa(),
            "commit": git.stdout.strip()}  # fmt: skip


if __name__ == "__main__":
    main()
