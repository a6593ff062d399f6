"""Positional encoding against torch eager, forward and forward + backward; checked against float64 first.

python -m benchmarks.bench_positional_encoding [--points 200000] [--octaves 10] [--device cuda] [--json FILE]

Three eager peers: octave by octave, all octaves in one broadcast, and that in chunks that fit into the caches (CPU);
on CUDA the first two under torch.compile too.
The encoding writes far more than it computes: bytes per second are given beside those of a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, with_compiled
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from uner3d import ops
from uner3d.ops import reference

CHUNK = 4096  # points of the chunked peer
EXACT = 5e-7  # what the op promises
ROUNDED = 1e-2  # of the peers, which round 2^l pi x before they take its sine


def eager_octaves(x: Tensor, n_octaves: int) -> Tensor:
    parts = [x]
    for octave in range(n_octaves):
        angle = math.pi * 2.0**octave * x
        parts += [torch.sin(angle), torch.cos(angle)]
    return torch.cat(parts, -1)


def eager_broadcast(x: Tensor, n_octaves: int) -> Tensor:
    rates = math.pi * 2.0 ** torch.arange(n_octaves, dtype=x.dtype, device=x.device)
    angle = x[:, None, :] * rates[:, None]
    return torch.cat([x, torch.stack([torch.sin(angle), torch.cos(angle)], 2).flatten(1)], 1)


def eager_chunked(x: Tensor, n_octaves: int) -> Tensor:
    return torch.cat([eager_broadcast(part, n_octaves) for part in x.split(CHUNK)])


def forward(f: Callable[..., Tensor], x: Tensor, n_octaves: int, grad: Tensor) -> Tensor:
    with torch.no_grad():
        return f(x, n_octaves)


def forward_backward(f: Callable[..., Tensor], x: Tensor, n_octaves: int, grad: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x, n_octaves), x, grad)[0]


def check(run: Callable, peers: dict[str, Callable], x: Tensor, n_octaves: int, grad: Tensor) -> None:
    """Gradients are as large as the angle's factor in the last octave; errors are taken relative to that."""
    scale = 1.0 if run is forward else math.pi * 2.0**n_octaves
    ours = run(ops.positional_encoding, x, n_octaves, grad) / scale
    exact = run(reference.positional_encoding, x.double(), n_octaves, grad.double()) / scale
    check_close(ours, exact, EXACT, f"uner3d {run.__name__}")
    for name, peer in peers.items():
        check_close(ours, run(peer, x, n_octaves, grad) / scale, ROUNDED, f"{name} {run.__name__}")


def measure(n: int, d: int, n_octaves: int, device: str, repeats: int) -> dict[str, dict]:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(n, d, generator=generator) * 2 - 1).to(device)
    grad = torch.rand(n, d * (2 * n_octaves + 1), generator=generator).to(device)
    peers = {"octaves": eager_octaves, "broadcast": eager_broadcast}
    if device == "cpu":
        peers["chunked"] = eager_chunked
    peers = with_compiled(peers, device, lambda peer: forward_backward(peer, x, n_octaves, grad))
    into, figures = torch.empty_like(grad), {}
    for run in (forward, forward_backward):
        check(run, peers, x, n_octaves, grad)
        calls = {
            name: lambda f=f, run=run: run(f, x, n_octaves, grad)
            for name, f in {"uner3d": ops.positional_encoding, **peers}.items()
        }
        calls["copy"] = lambda: into.copy_(grad)  # reads and writes as many bytes as the output has
        times = time_interleaved(calls, repeats)
        best = min(peers, key=lambda peer: times[peer]["median"])
        n_bytes = (x.nbytes + grad.nbytes) * (1 if run is forward else 2) + (0 if run is forward else x.nbytes)
        moved = n_bytes / times["uner3d"]["median"]
        of_copy = moved / (2 * grad.nbytes / times["copy"]["median"])
        show(f"{run.__name__}: {n} points, {d} coordinates, {n_octaves} octaves, {device}", times, best)
        print(f"  moves {moved / 1e9:.1f} GB/s, {of_copy:.2f} of that of a copy of its output")
        figures[run.__name__] = {
            "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"],
            "against": best, "bytes_per_second": moved, "of_same_copy": of_copy,
            **bandwidth(n_bytes, times["uner3d"]["median"], device),
        }  # fmt: skip
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--coordinates", type=int, default=3)
    parser.add_argument("--octaves", type=int, default=10)
    add_device(parser)
    args = parse(parser)
    size = (args.points, args.coordinates, args.octaves)
    figures = measure(*size, args.device, args.repeats)
    if args.json:
        record = {"benchmark": "positional_encoding", **environment(), "size": size, "figures": figures}
        write_json(args.json, record)


if __name__ == "__main__":
    main()
