"""Correlation of slanted windows between pixels of some views and sources, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from ._views import bilinear

NOISE2 = 1.5e-5


def patch_ncc(images: Tensor, K: Tensor, cam_from_world: Tensor, views: Tensor, pixels: Tensor, depth: Tensor,
              normal: Tensor, sources: Tensor, *, side: int = 5, step: int = 2) -> Tensor:  # fmt: skip
    """Twin of :func:`uner3d.ops.patch_ncc`: scores (N, S), differentiable in depth and normal by autograd."""
    n_views, height, width = images.shape
    size = pixels.new_tensor([width, height])
    valid = (views >= 0) & (views < n_views) & ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0)
    valid &= depth.isfinite()
    views, pixels = views.where(valid, 0 * views), pixels.where(valid[:, None], 0 * pixels)
    depth = torch.where(valid, depth, torch.ones_like(depth))
    offsets = torch.arange(side, device=depth.device) - side // 2
    dv, du = torch.meshgrid(offsets, offsets, indexing="ij")
    offset = torch.stack([du, dv], -1).reshape(-1, 2)
    at = pixels[:, None] + step * offset
    # Outside the reference the edge pixel is repeated, as its plane goes on.
    inside = torch.minimum(at.clamp_min(0), size - 1)
    grey = images[views[:, None], inside[..., 1], inside[..., 0]]
    own = images[views, pixels[:, 1], pixels[:, 0]][:, None]
    distance2 = offset.square().sum(-1).to(images) / max(side // 2, 1) ** 2
    weight = 1 / ((1 + ((grey - own) / 0.1) ** 2) * (1 + distance2))
    weight = weight / weight.sum(1, keepdim=True)
    points = _on_planes(at.to(images) + 0.5, pixels.to(images)[:, None] + 0.5, depth, normal, K[views],
                        cam_from_world[views])  # fmt: skip
    scores = [_correlations(images, K, cam_from_world, int(source), points, grey, weight, valid & (views != source))
              for source in sources]  # fmt: skip
    return torch.stack(scores, 1) if scores else depth.new_empty(len(depth), 0)


def _correlations(images: Tensor, K: Tensor, cam_from_world: Tensor, source: int, points: Tensor, grey: Tensor,
                  weight: Tensor, valid: Tensor) -> Tensor:  # fmt: skip
    """Of windows that lie at ``points`` (N, P, 3) with the one source: (N,), -1 where it does not see the middle."""
    n_views, height, width = images.shape
    if not 0 <= source < n_views:
        return torch.full_like(weight[:, 0], -1.0)
    in_camera = points @ cam_from_world[source, :, :3].T + cam_from_world[source, :, 3]
    pixel = in_camera @ K[source].T
    uv = pixel[..., :2] / pixel[..., 2:]
    clamped = torch.minimum(uv.clamp_min(0.5), uv.new_tensor([width - 0.5, height - 0.5]))
    other = bilinear(images[source, None, :, :, None], clamped[..., 0].reshape(-1, 1), clamped[..., 1].reshape(-1, 1))
    other = other.view(weight.shape)
    mean_a, mean_b = (weight * grey).sum(1, keepdim=True), (weight * other).sum(1, keepdim=True)
    a, b = grey - mean_a, other - mean_b
    variance_a, variance_b = (weight * a * a).sum(1), (weight * b * b).sum(1)
    ncc = (weight * a * b).sum(1) / ((variance_a + NOISE2) * (variance_b + NOISE2)).sqrt()
    middle = weight.shape[1] // 2
    seen = valid & (in_camera[:, middle, 2] > 0) & (uv[:, middle] >= 0).all(-1)
    seen &= (uv[:, middle] < uv.new_tensor([width, height])).all(-1)
    return torch.where(seen, ncc, torch.full_like(ncc, -1.0))


def _on_planes(at: Tensor, centres: Tensor, depth: Tensor, normal: Tensor, K: Tensor, pose: Tensor) -> Tensor:
    """Points (N, P, 3) in the world where the rays of pixels ``at`` (N, P, 2) meet the planes through ``centres``
    (N, 1, 2) at depth (N,); K (N, 3, 3), pose (N, 3, 4) of their cameras."""
    inverse = K.inverse().mT

    def rays(pixels: Tensor) -> Tensor:
        return torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1) @ inverse

    in_camera = (normal[:, None] @ pose[:, :, :3].mT)[:, 0]
    here, there = rays(centres)[:, 0], rays(at)
    facing = (in_camera * here).sum(-1)
    squarely = here.new_tensor([0.0, 0.0, -1.0]).expand_as(in_camera)
    in_camera = torch.where((facing < 0)[:, None], in_camera, squarely)
    t = depth * (in_camera * here).sum(-1)
    points = there * (t[:, None] / (in_camera[:, None] * there).sum(-1))[..., None]
    return (points - pose[:, None, :, 3]) @ pose[:, :, :3]
