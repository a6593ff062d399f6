"""Speed of patch_match against the same hypotheses scored in torch eager, one view after another.

python -m benchmarks.bench_patch_match [--size 400x300] [--sources 6] [--iterations 3] [--device cuda] [--threads 2]
    [--json FILE]
A view of a textured sphere is matched from depths that are wrong by up to 2 % at a width of 400 pixels, less at larger
ones, so that pixels move as far. torch scores one plane per pixel
(projection of the windows, `grid_sample`, weighted correlation, best three); its time counts as often as patch_match
tries planes: 1 + 11 an iteration, without what propagation and random numbers would cost it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._gpu import add_device
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from uner3d import ops
from uner3d.ops import reference

PLANES_PER_ITERATION = 11  # four neighbours near, four far, three perturbations
SIDE, STEP = 5, 2
LIMITS = (2.0, 6.0)  # of depth


def scene(n_views: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Grey images (V, H, W) of a textured sphere of radius 1, K, poses, and depth and normals of the first view."""
    K = torch.tensor([[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]]).repeat(n_views, 1, 1)
    poses, images, first = [], [], None
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for i in range(n_views):
        angle = torch.tensor(0.12 * ((i + 1) // 2) * (-1) ** i)
        c, s = angle.cos(), angle.sin()
        rotation = torch.stack([torch.stack([c, 0 * c, s]), torch.tensor([0.0, 1, 0]), torch.stack([-s, 0 * c, c])])
        centre = -4 * rotation[2]
        poses.append(torch.cat([rotation, -(rotation @ centre)[:, None]], 1))
        rays = torch.stack([(u - width / 2) / (1.2 * width), (v - height / 2) / (1.2 * width), torch.ones_like(u)], -1)
        d = rays @ rotation
        a, b = d.square().sum(-1), (d @ centre)
        root = b.square() - a * (centre.square().sum() - 1)
        depth = torch.where(root > 0, (-b - root.clamp_min(0).sqrt()) / a, torch.zeros_like(a))
        x = centre + depth[..., None] * d
        waves = torch.tensor([[31.0, 7, 5], [-11, 37, 8], [23, -19, 29], [13, 17, -41]]) * (width / 400)
        images.append(torch.where(depth > 0, 0.5 + 0.11 * torch.sin(x @ waves.T).sum(-1), torch.zeros_like(a)))
        first = first or (depth, F.normalize(x, dim=-1))
    return torch.stack(images), K, torch.stack(poses), first[0], first[1]


def eager(images: Tensor, K: Tensor, poses: Tensor, sources: Tensor, depth: Tensor, normal: Tensor) -> Tensor:
    """Scores (H, W) of one plane per pixel, with grid_sample."""
    (height, width), device = images.shape[1:], images.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    v, u = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    offsets = STEP * (torch.arange(SIDE, device=device) - SIDE // 2)
    dv, du = torch.meshgrid(offsets, offsets, indexing="ij")
    du, dv = du.reshape(-1, 1, 1), dv.reshape(-1, 1, 1)
    inverse = K[0].inverse()
    in_camera = normal @ poses[0, :, :3].T
    plane = in_camera @ inverse  # its product with a pixel (u, v, 1) is that of the normal with the pixel's ray
    w = 1 / depth
    scale = w / (plane * torch.stack([u, v, torch.ones_like(u)], -1)).sum(-1)
    wx, wy = plane[..., 0] * scale, plane[..., 1] * scale
    padded = F.pad(images[0][None, None], (4, 4, 4, 4), mode="replicate")
    grey = F.unfold(padded, SIDE, dilation=STEP)[0].view(SIDE * SIDE, height, width)
    weight = 1 / ((1 + ((grey - images[0]) / 0.1) ** 2) * (1 + (du**2 + dv**2) / (STEP * (SIDE // 2)) ** 2))
    weight = weight / weight.sum(0)
    mean = (weight * grey).sum(0)
    centred = weight * (grey - mean)
    variance = (centred * (grey - mean)).sum(0)
    scores = []
    for view in sources.tolist():
        relative = poses[view, :, :3] @ poses[0, :, :3].T
        A = K[view] @ relative @ inverse
        b = K[view] @ (poses[view, :, 3] - relative @ poses[0, :, 3])
        at_w = w + wx * du + wy * dv
        x, y, z = (A[i, 0] * (u + du) + A[i, 1] * (v + dv) + A[i, 2] + b[i] * at_w for i in range(3))
        grid = torch.stack([2 * (x / z) / width - 1, 2 * (y / z) / height - 1], -1)
        other = F.grid_sample(images[view][None, None], grid.view(1, -1, width, 2), align_corners=False,
                              padding_mode="border").view(SIDE * SIDE, height, width)  # fmt: skip
        m = (weight * other).sum(0)
        v2 = (weight * other.square()).sum(0) - m * m
        scores.append((centred * other).sum(0) / ((variance + 1.5e-5) * (v2.clamp_min(0) + 1.5e-5)).sqrt())
    return torch.stack(scores).topk(min(3, len(scores)), dim=0).values.mean(0)


def check(common: tuple, wrong: Tensor, depth: Tensor, normal: Tensor, iterations: int) -> dict[str, float]:
    """Scores against both twins, then that matching finds the sphere: median errors of depth before and after."""
    cpu = lambda t: t.double().cpu()  # noqa: E731
    images, K, poses, reference_view, sources = common
    whole = F.max_pool2d((depth <= 0)[None].float(), 11, 1, 5)[0] == 0  # windows that lie on the sphere
    score = ops.patch_match(*common, wrong, normal, LIMITS, iterations=0)[2]
    on_it = depth.cpu() > 0
    pixels = on_it.nonzero().flip(1)
    twin = reference.patch_ncc(*map(cpu, (images, K, poses)), 0 * pixels[:, 0] + reference_view, pixels,
                               cpu(wrong)[on_it], cpu(normal)[on_it], sources)  # fmt: skip
    want = twin.topk(min(3, len(sources)), dim=1).values.mean(1)
    check_close(score[depth > 0], want, 5e-3, "scores against the float64 twin")
    check_close(eager(images, K, poses, sources, wrong, normal)[whole], score[whole], 5e-3, "torch's scores")
    found = ops.patch_match(*common, wrong, normal, LIMITS, iterations=iterations)[0]
    before, after = ((d / depth - 1).abs()[whole].median().item() for d in (wrong, found))
    if not after < 0.25 * before:
        raise AssertionError(f"median error of depth: {before:.2e} before, {after:.2e} after matching")
    return {"before": before, "after": after}


def main() -> None:
    parser = argument_parser(__doc__)
    add_device(parser)
    parser.add_argument("--size", default="400x300", help="width x height")
    parser.add_argument("--sources", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=3)
    args = parse(parser)
    width, height = map(int, args.size.split("x"))
    images, K, poses, depth, normal = scene(args.sources + 1, height, width)
    sources = torch.arange(1, args.sources + 1)
    noise = 2 * torch.rand(depth.shape, generator=torch.Generator().manual_seed(0)) - 1
    wrong = depth * (1 + 0.02 * (400 / width) * noise)
    images, K, poses, depth, normal, wrong = (t.to(args.device) for t in (images, K, poses, depth, normal, wrong))
    common = (images, K, poses, 0, sources)  # the sources are numbers that the host reads
    errors = check(common, wrong, depth, normal, args.iterations)
    functions = {
        "uner3d": lambda: ops.patch_match(*common, wrong, normal, LIMITS, iterations=args.iterations),
        "torch, one plane": lambda: eager(images, K, poses, sources, wrong, normal),
    }
    times = time_interleaved(functions, args.repeats)
    show(f"{args.size}, {args.sources} sources, {args.iterations} iterations", times, against="torch, one plane")
    n_planes, seconds = 1 + PLANES_PER_ITERATION * args.iterations, times["uner3d"]["median"]
    speedup = n_planes * times["torch, one plane"]["median"] / seconds
    per_megapixel = seconds / (int((depth > 0).sum()) / 1e6)
    print(f"  {speedup:.1f}x torch over {n_planes} planes, {per_megapixel:.3g} s a megapixel")
    if args.json:
        figures = {"seconds": times, "planes": n_planes, "speedup": speedup, "seconds_per_megapixel": per_megapixel}
        write_json(args.json, {"environment": environment(), "size": args.size, "errors": errors, "figures": figures})


if __name__ == "__main__":
    main()
