"""The point clouds that neighbours are searched in, queries near them, and the order that makes searching cheap."""

from __future__ import annotations

import torch
from torch import Tensor

CLOUDS = ("surface", "uniform", "uneven")
BITS = 16  # of a Morton code per axis: cells far smaller than the spacing of any cloud here


def cloud(kind: str, n: int) -> Tensor:
    """Points (n, 3) on a bumpy sphere with noise, in the cube, or 90 % in 1 % of the cube."""
    generator = torch.Generator().manual_seed(0)
    if kind == "surface":
        direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
        radius = 1 + 0.2 * torch.sin(5 * direction[:, :1])
        return direction * radius + 0.001 * torch.randn(n, 3, generator=generator)
    points = torch.rand(n, 3, generator=generator)
    if kind == "uneven":
        points[: 9 * n // 10] *= 0.01 ** (1 / 3)
    return points[torch.randperm(n, generator=generator)]


def queries_near(points: Tensor, spacing: float) -> Tensor:
    """As many queries as points, each half a ``spacing`` (scene units) from one, in no order."""
    generator = torch.Generator().manual_seed(1)
    shuffled = points[torch.randperm(len(points), generator=generator)]
    return shuffled + 0.5 * spacing * torch.randn(shuffled.shape, generator=generator)


def morton_sorted(queries: Tensor) -> Tensor:
    """The same queries (M, 3) along a Morton curve, on their device."""
    x = queries.double()
    cells = ((x - x.min(0).values) / (x.max() - x.min()).clamp(min=1e-300) * (2**BITS - 1)).long()
    code = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return queries[torch.argsort(code, stable=True)]
