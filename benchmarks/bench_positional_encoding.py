"""Positional encoding against torch eager, forward and forward + backward; checked against float64 first.

python -m benchmarks.bench_positional_encoding [--points 200000 4000000] [--octaves 10] [--compile] [--device cuda]
                                               [--json FILE]

Eager peers: octave by octave, all octaves in one broadcast, by a matrix product, and the broadcast in chunks that fit
into the caches (CPU); on CUDA, and with --compile on the CPU, the broadcast under torch.compile too.

The encoding writes far more than it computes, so its time is also given over a floor: the bytes that must move, every
tensor once a pass, at the bandwidth of a copy of the output in the same run. On the CPU there are two of each. "In
place" writes into pages that are there already, ours by calling the kernel with an output that is kept. "As called" is
the op, and its fresh floor is a copy that allocates: outputs up to 512 MiB ours puts into pages of earlier ones, above
that it pays for fresh pages as the copy does (docs/performance.md).
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks.peers.compiled import add_compile, wants_compiled, with_compiled
from uner3d import ops
from uner3d.ops import reference
from uner3d.ops._register import typed

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


def eager_product(x: Tensor, n_octaves: int) -> Tensor:
    """All angles by one matrix product, a cosine as a sine a quarter turn on; without gradients it works in place."""
    d = x.shape[1]
    rates = math.pi * 2.0 ** torch.arange(n_octaves, dtype=x.dtype, device=x.device)
    spread = (rates[:, None, None, None] * torch.eye(d, dtype=x.dtype, device=x.device)[:, None]).expand(-1, -1, 2, -1)
    matrix = spread.permute(1, 0, 2, 3).reshape(d, -1)
    phase = x.new_tensor([0, math.pi / 2])[:, None].expand(n_octaves, 2, d).reshape(-1)
    if torch.is_grad_enabled():
        return torch.cat([x, torch.addmm(phase, x, matrix).sin()], 1)
    out = x.new_empty(len(x), d + len(phase))
    out[:, :d] = x
    torch.addmm(phase, x, matrix, out=out[:, d:])
    out[:, d:].sin_()
    return out


def eager_chunked(x: Tensor, n_octaves: int) -> Tensor:
    return torch.cat([eager_broadcast(part, n_octaves) for part in x.split(CHUNK)])


def forward(f: Callable[..., Tensor], x: Tensor, n_octaves: int, grad: Tensor) -> Tensor:
    with torch.no_grad():
        return f(x, n_octaves)


def forward_backward(f: Callable[..., Tensor], x: Tensor, n_octaves: int, grad: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x, n_octaves), x, grad)[0]


def kernel_in_place(x: Tensor, n_octaves: int, grad: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Per pass the CPU kernels alone, into outputs that are allocated and touched here, once."""
    out, grad_x = torch.zeros_like(grad), torch.zeros_like(x)
    size = (*x.shape, n_octaves, True, -1.0, torch.get_num_threads())

    def run_forward() -> Tensor:
        typed("positional_encoding_forward", x)(x.data_ptr(), out.data_ptr(), *size)
        return out

    def run_both() -> Tensor:
        run_forward()
        typed("positional_encoding_backward", x)(x.data_ptr(), grad.data_ptr(), grad_x.data_ptr(), *size)
        return grad_x

    return {"forward": run_forward, "forward_backward": run_both}


def check(run: Callable, peers: dict[str, Callable], x: Tensor, n_octaves: int, grad: Tensor) -> None:
    """Gradients are as large as the angle's factor in the last octave; errors are taken relative to that."""
    scale = 1.0 if run is forward else math.pi * 2.0**n_octaves
    ours = run(ops.positional_encoding, x, n_octaves, grad) / scale
    exact = run(reference.positional_encoding, x.double(), n_octaves, grad.double()) / scale
    check_close(ours, exact, EXACT, f"uner3d {run.__name__}")
    if x.device.type == "cpu":
        check_close(kernel_in_place(x, n_octaves, grad)[run.__name__]() / scale, ours, 0, f"in place {run.__name__}")
    for name, peer in peers.items():
        check_close(ours, run(peer, x, n_octaves, grad) / scale, ROUNDED, f"{name} {run.__name__}")


def floors(times: dict[str, dict[str, float]], n_bytes: int, copied: int) -> dict[str, float]:
    """Seconds of ours over those that ``n_bytes`` take at the rate of a copy that reads and writes ``copied`` bytes."""
    found = {}
    for name, of, copy in (
        ("in place", "uner3d in place", "copy in place"),
        ("as called", "uner3d", "copy in place"),
        ("as called, fresh floor", "uner3d", "copy fresh"),
    ):
        if of in times and copy in times:
            found[name] = times[of]["median"] * copied / (n_bytes * times[copy]["median"])
            print(f"  {found[name]:.2f} x the copy floor, {name}")
    return found


def measure(n: int, d: int, n_octaves: int, args: Namespace) -> dict[str, dict]:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(n, d, generator=generator) * 2 - 1).to(args.device)
    grad = torch.rand(n, d * (2 * n_octaves + 1), generator=generator).to(args.device)
    some = slice(0, min(n, 200_000))  # float64 twins of more take too much memory
    peers = {"octaves": eager_octaves, "broadcast": eager_broadcast}
    if wants_compiled(args):  # the faster of the two: compiling takes longer than all else here
        trial = lambda peer: forward_backward(peer, x, n_octaves, grad)  # noqa: E731
        peers |= with_compiled({"broadcast": eager_broadcast}, True, trial)
    peers["product"] = eager_product
    if args.device == "cpu":
        peers["chunked"] = eager_chunked
    into, figures = torch.zeros_like(grad), {}
    for run in (forward, forward_backward):
        check(run, peers, x[some], n_octaves, grad[some])
        calls = {
            name: lambda f=f, run=run: run(f, x, n_octaves, grad)
            for name, f in {"uner3d": ops.positional_encoding, **peers}.items()
        }
        calls["copy in place"] = lambda: into.copy_(grad)  # reads and writes as many bytes as the output has
        if args.device == "cpu":
            calls["copy fresh"] = grad.clone
            calls["uner3d in place"] = kernel_in_place(x, n_octaves, grad)[run.__name__]
        times = time_interleaved(calls, args.repeats)
        best = min(peers, key=lambda peer: times[peer]["median"])
        n_bytes = (x.nbytes + grad.nbytes) * (1 if run is forward else 2) + (0 if run is forward else x.nbytes)
        show(f"{run.__name__}: {n} points, {d} coordinates, {n_octaves} octaves, {args.device}", times, best)
        figures[run.__name__] = {
            "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"], "against": best,
            "bytes": n_bytes, "copy_bytes_per_second": 2 * grad.nbytes / times["copy in place"]["median"],
            "times_floor": floors(times, n_bytes, 2 * grad.nbytes),
            **bandwidth(n_bytes, times["uner3d"]["median"], args.device),
        }  # fmt: skip
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[200_000, 4_000_000])
    parser.add_argument("--coordinates", type=int, default=3)
    parser.add_argument("--octaves", type=int, default=10)
    add_device(parser)
    add_compile(parser)
    args = parse(parser)
    sizes = [(n, args.coordinates, args.octaves) for n in args.points]
    figures = {"x".join(map(str, size)): measure(*size, args) for size in sizes}
    if args.json:
        record = {"benchmark": "positional_encoding", **environment(), "size": "points x coordinates x octaves"}
        write_json(args.json, {**record, "figures": figures})


if __name__ == "__main__":
    main()
