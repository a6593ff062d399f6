"""What `uner3d bench` times: each op beside what one writes with PyTorch, or scipy, instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from uner3d import ops
from uner3d.ops import reference
from uner3d.ops.reference._views import project

N_VIEWS, HEIGHT, WIDTH = 8, 150, 200
CHUNK = 1 << 16  # points at a time of the peers over views: what they hold at once then fits into the caches
K_NEAREST = 8
EPS = 1e-6  # of inverse-distance weights

Pass = Callable[[], Any]


class Case(NamedTuple):
    """One op at one size: ours and the peer, with results that agree within ``tol`` of the largest value."""

    op: str
    run: str  # "forward" or "forward + backward"
    size: str
    peer: str
    ours: Pass
    theirs: Pass
    tol: float


def check(case: Case) -> None:
    """Raise RuntimeError, naming the op, where the two results of a case differ."""
    results = [result if isinstance(result, tuple) else (result,) for result in (case.ours(), case.theirs())]
    for ours, theirs in zip(*results, strict=True):
        a, b = (torch.as_tensor(t).detach().double() for t in (ours, theirs))
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) if a.shape == b.shape else math.inf
        if not difference <= case.tol:
            raise RuntimeError(f"{case.op}, {case.run}: differs from {case.peer} by {difference:.2g} of the largest "
                               f"value, expected at most {case.tol:g}")  # fmt: skip


def all_cases(scale: float) -> Iterator[Case]:
    """All cases; inputs are made here."""
    size = lambda n: max(int(n * scale), 2 * K_NEAREST)  # noqa: E731
    yield from _encoding(size(200_000))
    yield from _neighbours(size(200_000))
    yield from _fusion(size(200_000))
    yield from _weights(size(200_000))
    yield from _composite(size(4096))


def _both(op: str, size: str, peer: str, pair: tuple[Callable, Callable], leaves: list[Tensor], tol: float):
    """Forward without gradients, and forward with the gradients of ``leaves``, as ``pair`` are ours and theirs."""

    def gradients(f: Callable) -> Pass:
        def call() -> tuple[Tensor, ...]:
            out = f()
            return torch.autograd.grad(out, leaves, torch.ones_like(out))

        return call

    ours, theirs = pair
    yield Case(op, "forward", size, peer, torch.no_grad()(ours), torch.no_grad()(theirs), tol)
    yield Case(op, "forward + backward", size, peer, gradients(ours), gradients(theirs), tol)


def _encoding(n: int, n_octaves: int = 10) -> Iterator[Case]:
    x = (_random(n, 3) * 2 - 1).requires_grad_()
    pair = (lambda: ops.positional_encoding(x, n_octaves), lambda: reference.positional_encoding(x, n_octaves))
    yield from _both("positional_encoding", f"{n:,}, L={n_octaves}", "torch", pair, [x], 1e-2)


def _neighbours(n: int) -> Iterator[Case]:
    """Points on a sphere; the peer of idw searches with scipy too: torch can only compute every distance."""
    from scipy.spatial import cKDTree

    points = torch.nn.functional.normalize(_random(n, 3) - 0.5, dim=1)
    queries = points.flip(0) + 1e-3 * (_random(n, 3, seed=1) - 0.5)
    values = _random(n, 3, seed=2).requires_grad_()
    index, tree = ops.KnnIndex(points), cKDTree(points.numpy())
    xyz, threads = queries.numpy(), torch.get_num_threads()

    def search() -> tuple[np.ndarray, np.ndarray]:
        return tree.query(xyz, K_NEAREST, workers=threads)

    def blend() -> Tensor:
        idx = torch.from_numpy(search()[1])
        share = 1 / (((points[idx] - queries[:, None]) ** 2).sum(-1) + EPS)
        return (share[..., None] * values[idx]).sum(1) / share.sum(1, keepdim=True)

    size = f"{n:,}, k={K_NEAREST}"
    yield Case("knn", "forward", size, "scipy", lambda: ops.knn(index, queries, K_NEAREST)[0].sqrt(),
               lambda: search()[0], 1e-4)  # fmt: skip
    pair = (lambda: ops.idw(index, values, queries, K_NEAREST, eps=EPS), blend)
    yield from _both("idw", size, "scipy + torch", pair, [values], 1e-3)


def _views(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cameras on a ring 3 away, and points (n, 3) in a ball that all of them see: K, cam_from_world, points."""
    poses = []
    for angle in torch.arange(N_VIEWS) * (2 * math.pi / N_VIEWS):
        c, s = float(angle.cos()), float(angle.sin())
        poses.append(torch.tensor([[-s, c, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [-c, -s, 0.0, 3.0]]))
    K = torch.tensor([[WIDTH, 0, WIDTH / 2], [0, WIDTH, HEIGHT / 2], [0, 0, 1.0]]).expand(N_VIEWS, 3, 3).contiguous()
    direction = torch.nn.functional.normalize(_random(n, 3) - 0.5, dim=1)
    return K, torch.stack(poses), direction * _random(n, 1, seed=1) * 0.7


def _fusion(n: int, n_channels: int = 32) -> Iterator[Case]:
    K, cam_from_world, points = _views(n)
    maps = _random(N_VIEWS, HEIGHT, WIDTH, n_channels, seed=3).requires_grad_()
    nchw = maps.detach().permute(0, 3, 1, 2).contiguous().requires_grad_()
    size = torch.tensor([WIDTH, HEIGHT])

    def eager() -> tuple[Tensor, Tensor]:
        parts = []
        for part in points.split(CHUNK):
            u, v, _, _ = project(K, cam_from_world, part, HEIGHT, WIDTH)
            grid = (torch.stack([u.t(), v.t()], -1) / size * 2 - 1)[:, :, None]
            samples = torch.nn.functional.grid_sample(nchw, grid, padding_mode="border", align_corners=False)[..., 0]
            mean = samples.mean(0)
            parts.append((mean.t(), ((samples - mean) ** 2).mean(0).t()))
        means, variances = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(variances)

    def ours() -> tuple[Tensor, Tensor]:
        return ops.fuse_views(maps, K, cam_from_world, points)[:2]

    def gradient(f: Callable, leaf: Tensor) -> Tensor:
        out = f()
        return torch.autograd.grad(out, leaf, [torch.ones_like(o) for o in out])[0]

    name, what = f"{n:,}, {N_VIEWS} x {n_channels}", "torch"
    yield Case("fuse_views", "forward", name, what, torch.no_grad()(ours), torch.no_grad()(eager), 1e-3)
    yield Case("fuse_views", "forward + backward", name, what, lambda: gradient(ours, maps),
               lambda: gradient(eager, nchw).permute(0, 2, 3, 1), 1e-3)  # fmt: skip


def _weights(n: int) -> Iterator[Case]:
    K, cam_from_world, points = _views(n)
    depths = (2.7 + _random(N_VIEWS, HEIGHT, WIDTH, seed=4)).requires_grad_()
    masks = _random(N_VIEWS, HEIGHT, WIDTH, seed=5).requires_grad_()
    directions = torch.nn.functional.normalize(_random(n, 3, seed=6) - 0.5, dim=1).requires_grad_()
    power, tolerance = 8.0, 0.2

    def ours() -> Tensor:
        return ops.view_weights(points, K, cam_from_world, HEIGHT, WIDTH, depths, masks, directions, power, tolerance)

    def twin() -> Tensor:
        parts = zip(points.split(CHUNK), directions.split(CHUNK), strict=True)
        views = K, cam_from_world, HEIGHT, WIDTH, depths, masks
        return torch.cat([reference.view_weights(p, *views, d, power, tolerance) for p, d in parts])

    leaves = [depths, masks, directions]
    yield from _both("view_weights", f"{n:,}, {N_VIEWS}", "torch", (ours, twin), leaves, 5e-3)


def _composite(n_rays: int, n_samples: int = 96) -> Iterator[Case]:
    edges = 2 + 4 * _random(n_rays, n_samples + 1).sort(1)[0]
    sigma = (2 * _random(n_rays, n_samples, seed=1)).requires_grad_()
    colour = _random(n_rays, n_samples, 3, seed=2).requires_grad_()

    def outputs(f: Callable) -> Callable[[], Tensor]:
        def call() -> Tensor:
            rgb, depth, opacity, _ = f(sigma, colour, edges)
            return torch.cat([rgb, depth[:, None], opacity[:, None]], 1)

        return call

    pair = (outputs(ops.composite), outputs(reference.composite))
    yield from _both("composite", f"{n_rays:,} x {n_samples}", "torch", pair, [sigma, colour], 1e-4)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
