"""Speed of patch_ncc against the same correlations in torch eager (grid_sample), forward and backward.

python -m benchmarks.bench_patch_ncc [--case 1024x8 ...] [--side 5] [--device cuda] [--threads 2] [--json FILE]
A case is PIXELSxSOURCES: pixels of views of a textured sphere with depths and normals somewhat off it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._gpu import add_device
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks.bench_patch_match import scene
from uner3d import ops
from uner3d.ops import reference

STEP = 2
CASES = ["1024x8", "65536x8", "16384x4"]


def sample_inputs(n_pixels: int, n_sources: int) -> tuple[Tensor, ...]:
    """Pixels of the first view of a sphere, and the other views as sources."""
    images, K, poses, depth, normal = scene(n_sources + 1, 300, 400)
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.stack(torch.meshgrid(torch.arange(400), torch.arange(300), indexing="xy"), -1)
    rays = F.pad(everywhere + 0.5, (0, 1), value=1.0) @ K[0].inverse().T
    facing = -(normal @ poses[0, :, :3].T * rays).sum(-1)  # torch below takes the others as they are
    on_it = ((depth > 0) & (facing > 0.5)).nonzero().flip(1)
    pixels = on_it[torch.randint(len(on_it), (n_pixels,), generator=generator)]
    at = pixels[:, 1], pixels[:, 0]
    depths = depth[at] * (1 + 0.01 * torch.randn(n_pixels, generator=generator))
    normals = normal[at] + 0.1 * torch.randn(n_pixels, 3, generator=generator)
    return images, K, poses, 0 * pixels[:, 0], pixels, depths, normals, torch.arange(1, n_sources + 1)


def eager(images: Tensor, K: Tensor, poses: Tensor, views: Tensor, pixels: Tensor, depth: Tensor, normal: Tensor,
          sources: Tensor, side: int) -> Tensor:  # fmt: skip
    """Scores (N, S) where every pixel is seen: all sources at once, windows by one call of grid_sample."""
    height, width = images.shape[1:]
    offsets = torch.arange(side, device=depth.device) - side // 2
    dv, du = torch.meshgrid(offsets, offsets, indexing="ij")
    offset = torch.stack([du, dv], -1).view(-1, 2)
    at = pixels[:, None] + STEP * offset
    inside = torch.minimum(at.clamp_min(0), at.new_tensor([width - 1, height - 1]))
    grey = images[views[:, None], inside[..., 1], inside[..., 0]]
    own = images[views, pixels[:, 1], pixels[:, 0]][:, None]
    weight = 1 / ((1 + ((grey - own) / 0.1) ** 2) * (1 + offset.square().sum(-1) / (side // 2) ** 2))
    weight = weight / weight.sum(1, keepdim=True)
    centred = weight * (grey - (weight * grey).sum(1, keepdim=True))
    variance = (centred * grey).sum(1)
    # All pixels are of one view here.
    in_camera = normal @ poses[views[0], :, :3].T
    inverse = K[views[0]].inverse()
    plane = in_camera @ inverse
    w = 1 / depth
    scale = w / (plane * F.pad(pixels + 0.5, (0, 1), value=1.0)).sum(-1)
    slopes = plane[:, :2] * scale[:, None]
    relative = poses[sources, :, :3] @ poses[views[0], :, :3].T
    A = K[sources] @ relative @ inverse
    b = (K[sources] @ (poses[sources, :, 3] - relative @ poses[views[0], :, 3])[..., None])[..., 0]
    at_w = w[:, None] + (slopes[:, None] * (STEP * offset)).sum(-1)
    homogeneous = F.pad(at + 0.5, (0, 1), value=1.0)
    xyz = torch.einsum("sij,npj->snpi", A, homogeneous) + b[:, None, None] * at_w[..., None]
    uv = xyz[..., :2] / xyz[..., 2:]
    grid = 2 * uv / uv.new_tensor([width, height]) - 1
    other = F.grid_sample(images[sources][:, None], grid, align_corners=False, padding_mode="border")[:, 0]
    mean = (weight * other).sum(-1)
    spread = (weight * other.square()).sum(-1) - mean.square()
    return ((centred * other).sum(-1) / ((variance + 1.5e-5) * (spread.clamp_min(0) + 1.5e-5)).sqrt()).T


def backward(f: Callable, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients in depth and normal of the mean score."""
    depth, normal = (inputs[i].detach().requires_grad_() for i in (5, 6))
    return torch.autograd.grad(f(*inputs[:5], depth, normal, inputs[7]).mean(), (depth, normal))


def check(inputs: tuple[Tensor, ...], ours: Callable, torchs: Callable, side: int, title: str) -> None:
    """Scores against both twins, and gradients relative to the largest; where all sources see the pixel."""
    few = tuple(t[:2000] if i in (3, 4, 5, 6) else t for i, t in enumerate(inputs))
    exact = tuple(t.double().cpu() if t.is_floating_point() else t.cpu() for t in few)
    twin = reference.patch_ncc(*exact, side=side, step=STEP)
    check_close(ours(*few), twin, 5e-3, f"{title}: scores against the float64 twin")
    seen = (twin > -1).all(1)
    check_close(torchs(*few).cpu()[seen], twin[seen], 5e-3, f"{title}: torch's scores")
    for got, want in zip(backward(ours, few), backward(lambda *a: reference.patch_ncc(*a, side=side, step=STEP), exact),
                         strict=True):  # fmt: skip
        check_close(got.cpu() / want.abs().max(), want / want.abs().max(), 0.05, f"{title}: gradients")


def main() -> None:
    parser = argument_parser(__doc__)
    add_device(parser)
    parser.add_argument("--case", nargs="+", default=CASES)
    parser.add_argument("--side", type=int, default=5)
    args = parse(parser)
    figures = {}
    for case in args.case:
        n_pixels, n_sources = map(int, case.split("x"))
        inputs = tuple(t.to(args.device) for t in sample_inputs(n_pixels, n_sources))
        ours = lambda *a: ops.patch_ncc(*a, side=args.side, step=STEP)  # noqa: E731
        torchs = lambda *a: eager(*a, args.side)  # noqa: E731
        check(inputs, ours, torchs, args.side, case)
        for name, run in (("forward", lambda f, x: f(*x)), ("forward + backward", backward)):
            calls = {"uner3d": ours, "torch eager": torchs}
            times = time_interleaved({k: lambda f=f, r=run, x=inputs: r(f, x) for k, f in calls.items()}, args.repeats)
            title = f"{case} {name}"
            show(title, times, "torch eager")
            speedup = times["torch eager"]["median"] / times["uner3d"]["median"]
            figures[title] = {"seconds": times, "speedup": speedup, "against": "torch eager"}
    if args.json:
        write_json(args.json, {"environment": environment(), "figures": figures})


if __name__ == "__main__":
    main()
