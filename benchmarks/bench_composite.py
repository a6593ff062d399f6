"""Speed of composite against torch eager, dense and packed; results are checked against each other first.

python -m benchmarks.bench_composite [--rays 4096] [--samples 96] [--channels 3] [--compile] [--device cuda]
                                     [--threads 2] [--json FILE]
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks.peers.compiled import add_compile, wants_compiled, with_compiled
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
    ray = torch.repeat_interleave(torch.arange(n_rays, device=counts.device), counts)
    slot = ray * longest + torch.arange(len(sigma), device=counts.device) - offsets[ray]
    tau = sigma * (edges[:, 1] - edges[:, 0])
    padded = tau.new_zeros(n_rays * longest).index_copy(0, slot, tau).view(n_rays, longest)
    return sum_rays(eager_weights(padded).flatten()[slot], colour, edges, ray, n_rays)


def eager_cumsum(sigma: Tensor, colour: Tensor, edges: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """Packed input, one running sum of the thickness over all rays, less what each ray started with."""
    counts = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
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


@functools.cache
def seed(shape: torch.Size, device: torch.device) -> Tensor:
    """The gradient of an output; made once, since making it is no part of the op."""
    return torch.linspace(0.5, 1.5, shape.numel(), device=device).view(shape)


def forward(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return tuple(f(*args))


def forward_backward(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients in density and colour from colour, depth and opacity, as in training."""
    leaves = [a.detach().requires_grad_() for a in args[:2]]
    outputs = tuple(f(*leaves, *args[2:]))[:3]
    return torch.autograd.grad(outputs, leaves, [seed(o.shape, o.device) for o in outputs])


def forward_backward_all(f: Callable, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients in all three inputs from all four outputs (a distortion loss needs the weights)."""
    leaves = [a.detach().requires_grad_() for a in args[:3]]
    outputs = tuple(f(*leaves, *args[3:]))
    return torch.autograd.grad(outputs, leaves, [seed(o.shape, o.device) for o in outputs])


def n_bytes(run: Callable, inputs: tuple[Tensor, ...]) -> int:
    """The least that must move, by the tensors that ``run`` reads and writes."""
    outputs = forward(ops.composite, inputs)
    if run is forward:
        return least_bytes(inputs, outputs)
    return least_bytes(inputs, outputs, outputs[: 3 if run is forward_backward else 4], run(ops.composite, inputs))


def main() -> None:
    parser = argument_parser(__doc__)
    add_device(parser)
    add_compile(parser)
    for flag, default in (("rays", 4096), ("samples", 96), ("channels", 3)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    args = parse(parser)
    size = (args.rays, args.samples, args.channels)
    cases = {
        "dense": (dense_inputs(*size), {"eager": eager_dense}),
        "packed": (packed_inputs(*size), {"padded": eager_padded, "cumsum": eager_cumsum}),
    }
    figures = {}
    for case, (inputs, eager) in cases.items():
        inputs = tuple(t.to(args.device) for t in inputs)
        quick = {name: f for name, f in eager.items() if name != "padded"}  # its shapes are data, which do not compile
        trial = lambda f, inputs=inputs: forward_backward_all(f, inputs)  # noqa: E731
        peers = eager | with_compiled(quick, wants_compiled(args), trial)
        for run in (forward, forward_backward, forward_backward_all):
            title = f"{case} {run.__name__}"
            ours = run(ops.composite, inputs)
            for peer, f in peers.items():  # "cumsum" takes small differences of one running sum over all rays
                tol = 0.05 * max(1.0, args.rays / 4096) ** 0.5 if peer.startswith("cumsum") else 1e-4
                check_close(ours, run(f, inputs), tol, f"{title} against {peer}")
            calls = {"uner3d": ops.composite, **peers}
            times = time_interleaved({n: lambda f=f, r=run, x=inputs: r(f, x) for n, f in calls.items()}, args.repeats)
            best = min(peers, key=lambda peer: times[peer]["median"])
            show(title, times, best)
            figures[title] = {
                "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"], "against": best,
                **bandwidth(n_bytes(run, inputs), times["uner3d"]["median"], args.device),
            }  # fmt: skip
    if args.json:
        write_json(args.json, {"environment": environment(), "size": size, "figures": figures})


if __name__ == "__main__":
    main()
