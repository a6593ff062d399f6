"""Correlation of slanted windows between a view and its sources, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from ._views import bilinear

NOISE2 = 1.5e-5


def patch_ncc(images: Tensor, K: Tensor, cam_from_world: Tensor, reference: int, sources: Tensor, depth: Tensor,
              normal: Tensor, side: int = 5, step: int = 2) -> Tensor:  # fmt: skip
    """Correlations (S, H, W) of the window around every pixel of the reference with each source, over the tangent plane
    of depth (H, W) and normal (H, W, 3) in the world; -1 where the source does not see the pixel's point."""
    height, width = images.shape[1:]
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([u, v], -1).to(images).reshape(-1, 2)
    offsets = torch.arange(side) - side // 2
    dv, du = torch.meshgrid(offsets, offsets, indexing="ij")
    offset = torch.stack([du, dv], -1).reshape(-1, 2).to(images)
    distance2 = offset.square().sum(-1) / max(side // 2, 1) ** 2
    at = centres[:, None] + step * offset
    # Outside the reference the edge pixel is repeated, as its plane goes on.
    inside = torch.minimum(at.clamp_min(0.5), at.new_tensor([width - 0.5, height - 0.5]))
    grey = images[reference][inside[..., 1].long(), inside[..., 0].long()]
    own = images[reference].reshape(-1, 1)
    weight = 1 / ((1 + ((grey - own) / 0.1) ** 2) * (1 + distance2))
    weight = weight / weight.sum(1, keepdim=True)
    points = _on_planes(at, centres, depth.reshape(-1), normal.reshape(-1, 3), K[reference], cam_from_world[reference])
    out = []
    for view in sources.tolist():
        in_camera = points @ cam_from_world[view, :, :3].T + cam_from_world[view, :, 3]
        pixel = in_camera @ K[view].T
        uv = pixel[..., :2] / pixel[..., 2:]
        limit = uv.new_tensor([width - 0.5, height - 0.5])
        clamped = torch.minimum(uv.clamp_min(0.5), limit)
        other = bilinear(images[view, None, :, :, None], clamped[..., 0].reshape(-1, 1), clamped[..., 1].reshape(-1, 1))
        other = other.view(weight.shape)
        mean_a, mean_b = (weight * grey).sum(1, keepdim=True), (weight * other).sum(1, keepdim=True)
        a, b = grey - mean_a, other - mean_b
        variance_a, variance_b = (weight * a * a).sum(1), (weight * b * b).sum(1)
        ncc = (weight * a * b).sum(1) / ((variance_a + NOISE2) * (variance_b + NOISE2)).sqrt()
        middle = uv[:, len(offset) // 2]
        seen = (in_camera[:, len(offset) // 2, 2] > 0) & (middle >= 0).all(-1)
        seen &= (middle < middle.new_tensor([width, height])).all(-1)
        out.append(torch.where(seen, ncc, torch.full_like(ncc, -1.0)).view(height, width))
    return torch.stack(out)


def _on_planes(at: Tensor, centres: Tensor, depth: Tensor, normal: Tensor, K: Tensor, pose: Tensor) -> Tensor:
    """Points (N, P, 3) in the world where the rays of pixels ``at`` (N, P, 2) meet the planes through ``centres``."""
    def rays(pixels: Tensor) -> Tensor:
        return torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1) @ K.inverse().T

    in_camera = normal @ pose[:, :3].T
    here, there = rays(centres), rays(at)
    facing = (in_camera * here).sum(-1)
    squarely = here.new_tensor([0.0, 0.0, -1.0]).expand_as(in_camera)
    in_camera = torch.where((facing < 0)[:, None], in_camera, squarely)
    t = depth * (in_camera * here).sum(-1)
    points = there * (t[:, None] / (in_camera[:, None] * there).sum(-1))[..., None]
    return (points - pose[:, 3]) @ pose[:, :3]
