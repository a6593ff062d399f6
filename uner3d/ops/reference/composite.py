"""Plain-torch twin of composite."""

from __future__ import annotations

import torch
from torch import Tensor

from ..composite import CompositeResult


def composite(sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None = None) -> CompositeResult:
    """See :func:`uner3d.ops.composite`; evaluate in float64 where accuracy matters."""
    if ray_offsets is None:
        return _dense(sigma, colour, edges[:, :-1], edges[:, 1:])
    rays = [
        _dense(sigma[None, a:b], colour[None, a:b], edges[None, a:b, 0], edges[None, a:b, 1])
        for a, b in zip(ray_offsets[:-1].tolist(), ray_offsets[1:].tolist(), strict=True)
    ]
    if not rays:
        return CompositeResult(colour[:0], sigma[:0], sigma[:0], sigma)
    colours, depths, opacities, weights = zip(*rays, strict=True)
    return CompositeResult(torch.cat(colours), torch.cat(depths), torch.cat(opacities), torch.cat(weights, 1)[0])


def _dense(sigma: Tensor, colour: Tensor, t0: Tensor, t1: Tensor) -> CompositeResult:
    tau = sigma * (t1 - t0)
    before = torch.cumsum(torch.cat([torch.zeros_like(tau[:, :1]), tau[:, :-1]], 1), 1)
    weights = torch.exp(-before) * -torch.expm1(-tau)
    return CompositeResult(
        (weights[..., None] * colour).sum(1), (weights * (t0 + t1) / 2).sum(1), weights.sum(1), weights
    )
