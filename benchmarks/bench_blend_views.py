"""Speed of blend_views (colours from learned scores of the views' pixels) against torch eager, in chunks of points.

python -m benchmarks.bench_blend_views [--case 8x32x16x200000 ...] [--compile] [--threads 2] [--json FILE]
A case is views x channels x hidden units x points; the maps are 150 x 200 and the images 300 x 400 pixels. "layers":
gradients of the hidden units and the layers, as with an encoder that stays as it is; "all": of the maps too.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks._views import check_gradient, inputs, off_borders, project, sample
from benchmarks.peers.compiled import add_compile, with_compiled
from uner3d import ops

CASES = ["8x32x16x200000", "8x32x16x20000", "49x32x16x20000"]
HEIGHT, WIDTH, SHARPNESS = 150, 200, 30.0
CHUNK = 1 << 13
MAPS, POINTS, DIRECTIONS, HIDDEN, LAYERS = 0, 5, 6, 7, (8, 9, 10)


def eager(maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
          directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor,
          score_weight: Tensor) -> Tensor:  # fmt: skip
    """(N, 3); maps (V, C, H, W) and images (V, 3, H, W), as torch samples them. Without views that see nothing."""
    grid, _, in_map = project(K_maps, cam_from_world, points, *maps.shape[2:])
    features = sample(maps, grid).permute(2, 0, 1)
    grid, _, in_image = project(K, cam_from_world, points, *images.shape[2:])
    pixels = sample(images, grid).permute(2, 0, 1)
    centres = -(cam_from_world[:, :, :3].transpose(1, 2) @ cam_from_world[:, :, 3:])[..., 0]
    towards = F.normalize(points[:, None] - centres, dim=-1)
    cosine = (towards * directions[:, None]).sum(-1, keepdim=True)
    angles = torch.cat([pixels, towards - directions[:, None], cosine], -1)
    # As matrices: of three-dimensional inputs without gradients torch makes small products, twice as slow.
    layer = F.linear(features.flatten(0, 1), feature_weight) + F.linear(angles.flatten(0, 1), angle_weight)
    h = F.relu(layer.view(*cosine.shape[:2], -1) + hidden[:, None])
    score = h @ score_weight + SHARPNESS * (cosine[..., 0] - 1)
    seen = (in_map & in_image).t()
    share = torch.softmax(score.masked_fill(~seen, -1e9), -1) * seen
    return (share[..., None] * pixels).sum(1)


def ours(*args: Tensor) -> Tensor:
    return ops.blend_views(*args, None, SHARPNESS)


def parts(args: tuple[Tensor, ...]) -> list[tuple[slice, tuple[Tensor, ...]]]:
    """The arguments for one chunk of points after another."""
    of_points = (POINTS, DIRECTIONS, HIDDEN)
    cuts = [slice(begin, begin + CHUNK) for begin in range(0, len(args[POINTS]), CHUNK)]
    return [(cut, tuple(t[cut] if i in of_points else t for i, t in enumerate(args))) for cut in cuts]


def chunked(args: tuple[Tensor, ...], f: Callable = eager) -> Tensor:
    out = torch.empty_like(args[POINTS])
    for cut, part in parts(args):
        out[cut] = f(*part)
    return out


def backward(f: Callable, args: tuple[Tensor, ...], grad: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
    args = tuple(t.detach().requires_grad_(i in wanted) for i, t in enumerate(args))
    return list(torch.autograd.grad(f(*args), [args[i] for i in wanted], grad))


def backward_chunked(args: tuple[Tensor, ...], grad: Tensor, wanted: tuple[int, ...],
                     f: Callable = eager) -> list[Tensor]:  # fmt: skip
    """Chunk by chunk: gradients of the hidden units follow each other, all others add up."""
    total = [torch.empty_like(args[i]) if i == HIDDEN else torch.zeros_like(args[i]) for i in wanted]
    for cut, part in parts(args):
        for i, whole, got in zip(wanted, total, backward(f, part, grad[cut], wanted), strict=True):
            if i == HIDDEN:
                whole[cut] = got
            else:
                whole += got
    return total


def run_case(case: str, options: Namespace) -> dict[str, object]:
    n_views, n_channels, n_hidden, n_points = map(int, case.split("x"))
    maps, K_maps, poses, points = inputs(n_views, n_points, n_channels, HEIGHT, WIDTH)
    g = torch.Generator().manual_seed(1)
    images, K = torch.rand(n_views, 2 * HEIGHT, 2 * WIDTH, 3, generator=g), K_maps * torch.tensor([2.0, 2, 1])[:, None]
    points = points[off_borders(K_maps, poses, points, HEIGHT, WIDTH)]
    normal = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    args = (maps, K_maps, images, K, poses, points, F.normalize(normal(len(points), 3), dim=1),
            normal(len(points), n_hidden), 0.2 * normal(n_hidden, n_channels), 0.2 * normal(n_hidden, 7),
            normal(n_hidden))  # fmt: skip
    peer = (maps.permute(0, 3, 1, 2).contiguous(), K_maps, images.permute(0, 3, 1, 2).contiguous(), *args[3:])
    grad = torch.rand(len(points), 3, generator=g)
    trial = lambda f: (chunked(peer, f), backward_chunked(peer, grad, (HIDDEN, *LAYERS), f))  # noqa: E731
    peers = with_compiled({"torch": eager}, options.compile, trial)
    runs: dict[str, dict[str, Callable]] = {
        "forward": {"uner3d": lambda: ours(*args), **{n: lambda f=f: chunked(peer, f) for n, f in peers.items()}}
    }
    for name, call in runs["forward"].items():
        check_close(ours(*args), call(), 1e-3, f"{case} {name}")
    for name, wanted in (("layers", (HIDDEN, *LAYERS)), ("all", (MAPS, HIDDEN, *LAYERS))):
        got, want = backward(ours, args, grad, wanted), backward_chunked(peer, grad, wanted)
        for i, a, b in zip(wanted, got, want, strict=True):
            check_gradient(a, b.permute(0, 2, 3, 1) if i == MAPS else b, f"{case} {name}, input {i}")
        runs[f"forward+backward to {name}"] = {
            "uner3d": lambda w=wanted: backward(ours, args, grad, w),
            **{n: lambda f=f, w=wanted: backward_chunked(peer, grad, w, f) for n, f in peers.items()},
        }
    figures: dict[str, object] = {}
    for name, functions in runs.items():
        times = time_interleaved(functions, options.repeats)
        best = min((n for n in functions if n != "uner3d"), key=lambda n: times[n]["median"])
        show(f"{case} {name}", times, best)
        figures[name] = {"seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"],
                         "against": best}  # fmt: skip
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="views x channels x hidden units x points")
    add_compile(parser)
    args = parse(parser)
    figures = {case: run_case(case, args) for case in args.case}
    if args.json:
        write_json(args.json, {"environment": environment(), "maps": f"{HEIGHT} x {WIDTH}", "figures": figures})


if __name__ == "__main__":
    main()
