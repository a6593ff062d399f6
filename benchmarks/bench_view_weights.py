"""Speed of view_weights (angle x mask x visibility) against torch eager, in chunks of points.

python -m benchmarks.bench_view_weights [--case 8x1000000 ...] [--compile] [--device cuda] [--threads 2]
                                        [--json FILE]
A case is views x points; masks and depth maps are 200 x 150. With --compile the peer's chunks run under torch.compile
too. On CUDA the peer also runs whole, and that under torch.compile.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks._views import check_gradient, inputs, off_borders, project, sample
from benchmarks.peers.compiled import add_compile, wants_compiled, with_compiled
from uner3d import ops

CASES = ["8x1000000", "49x40000", "8x40000"]
HEIGHT, WIDTH, POWER, TOLERANCE = 150, 200, 8, 0.2
CHUNK = 1 << 16


def eager(
    points: Tensor, K: Tensor, cam_from_world: Tensor, depths: Tensor, masks: Tensor, directions: Tensor
) -> Tensor:
    """(N, V); depths are taken as known everywhere, which spares torch the work that the kernel does for the others."""
    grid, z, seen = project(K, cam_from_world, points, HEIGHT, WIDTH)
    depth, mask = sample(torch.stack([depths, masks], 1), grid).unbind(1)
    centres = -(cam_from_world[:, :, :3].transpose(1, 2) @ cam_from_world[:, :, 3:])[..., 0]
    rays = torch.nn.functional.normalize(points - centres[:, None], dim=-1)
    angle = (rays * directions).sum(-1).clamp(min=0) ** POWER
    visible = (2 - (z / depth - 1) / TOLERANCE).clamp(0, 1)
    return (seen * angle * mask * visible).t()


def eager_chunked(points: Tensor, *args: Tensor, f: Callable = eager) -> Tensor:
    out = points.new_empty(len(points), len(args[0]))
    for begin in range(0, len(points), CHUNK):
        part = slice(begin, begin + CHUNK)
        out[part] = f(points[part], *args[:-1], args[-1][part])
    return out


def fused(
    points: Tensor, K: Tensor, cam_from_world: Tensor, depths: Tensor, masks: Tensor, directions: Tensor
) -> Tensor:
    return ops.view_weights(
        points, K, cam_from_world, HEIGHT, WIDTH, depths, masks, directions, float(POWER), TOLERANCE
    )


def backward(f: Callable, args: tuple[Tensor, ...], grad: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
    args = tuple(t.detach().requires_grad_(i in wanted) for i, t in enumerate(args))
    return list(torch.autograd.grad(f(*args), [args[i] for i in wanted], grad))


def backward_chunked(
    args: tuple[Tensor, ...], grad: Tensor, wanted: tuple[int, ...], f: Callable = eager
) -> list[Tensor]:
    """Chunk by chunk: gradients of the maps (3, 4) add up, those of the points (0, 5) follow each other."""
    parts: list[list[Tensor]] = []
    for begin in range(0, len(args[0]), CHUNK):
        part = slice(begin, begin + CHUNK)
        parts.append(backward(f, (args[0][part], *args[1:5], args[5][part]), grad[part], wanted))
    columns = zip(*parts, strict=True)
    return [torch.cat(c) if i in (0, 5) else torch.stack(c).sum(0) for i, c in zip(wanted, columns, strict=True)]


def run_case(case: str, options: Namespace) -> dict[str, object]:
    n_views, n_points = map(int, case.split("x"))
    repeats, device = options.repeats, options.device
    maps, K, cam_from_world, points = (t.to(device) for t in inputs(n_views, n_points, 2, HEIGHT, WIDTH))
    points = points[off_borders(K, cam_from_world, points, HEIGHT, WIDTH)]
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(len(points), 3, generator=generator), dim=-1).to(device)
    depths, masks = (2.7 + maps[..., 0]).contiguous(), maps[..., 1].contiguous()
    args = (points, K, cam_from_world, depths, masks, directions)
    grad = torch.rand(len(points), n_views, generator=generator).to(device)
    whole, parts = ({"torch whole": eager} if device == "cuda" else {}), {"torch": eager}
    if device == "cuda":
        whole = with_compiled(whole, True, lambda f: (f(*args), backward(f, args, grad, (0, 3, 4, 5))))
    else:
        trial = lambda f: (eager_chunked(*args, f=f), backward_chunked(args, grad, (0, 3, 4, 5), f))  # noqa: E731
        parts = with_compiled(parts, wants_compiled(options), trial)
    runs: dict[str, dict[str, Callable]] = {
        "forward": {
            "uner3d": lambda: fused(*args),
            **{name: lambda f=f: eager_chunked(*args, f=f) for name, f in parts.items()},
            **{name: lambda f=f: f(*args) for name, f in whole.items()},
        }
    }
    for name, call in runs["forward"].items():
        check_close(fused(*args), call(), 1e-4, f"{case} {name}")
    n_bytes = {"forward": least_bytes(args, [grad])}  # the output is as large as its gradient
    for name, wanted in (("points, directions", (0, 5)), ("all", (0, 3, 4, 5))):
        ours = backward(fused, args, grad, wanted)
        for a, b in zip(ours, backward_chunked(args, grad, wanted), strict=True):
            check_gradient(a, b, f"{case} {name}")
        runs[f"forward+backward to {name}"] = {
            "uner3d": lambda w=wanted: backward(fused, args, grad, w),
            **{n: lambda f=f, w=wanted: backward_chunked(args, grad, w, f) for n, f in parts.items()},
            **{n: lambda f=f, w=wanted: backward(f, args, grad, w) for n, f in whole.items()},
        }
        n_bytes[f"forward+backward to {name}"] = least_bytes(args, [grad], [grad], ours)
    figures: dict[str, object] = {}
    for name, functions in runs.items():
        times = time_interleaved(functions, repeats)
        best = min((n for n in functions if n != "uner3d"), key=lambda n: times[n]["median"])
        show(f"{case} {name}", times, best)
        figures[name] = {
            "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"], "against": best,
            **bandwidth(n_bytes[name], times["uner3d"]["median"], device),
        }  # fmt: skip
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="views x points")
    add_device(parser)
    add_compile(parser)
    args = parse(parser)
    figures = {case: run_case(case, args) for case in args.case}
    if args.json:
        write_json(args.json, {"environment": environment(), "maps": f"{HEIGHT} x {WIDTH}", "figures": figures})


if __name__ == "__main__":
    main()
