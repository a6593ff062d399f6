"""The losses of training. Each returns a scalar; none sees anything but photos, masks and poses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops


def charbonnier(a: Tensor, b: Tensor, eps: float = 1e-3) -> Tensor:
    """mean sqrt((a - b)^2 + eps^2) over (N, C): as robust as L1, smooth at zero (Charbonnier et al. 1994)."""
    return ((a - b).square() + eps * eps).sqrt().mean()


def mask_loss(opacity: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy between rendered opacity (N,) and the mask's coverage (N,)."""
    return F.binary_cross_entropy(opacity.clamp(1e-4, 1 - 1e-4), mask)


def distortion(weights: Tensor, edges: Tensor) -> Tensor:
    """Spread of the weights (N, S) along each ray over edges (N, S + 1): mip-NeRF 360 (Barron et al. 2022, eq. 15),
    sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 d_i / 3, in linear time; edges in the units of the unit frame."""
    middles, widths = 0.5 * (edges[:, 1:] + edges[:, :-1]), edges[:, 1:] - edges[:, :-1]
    moment = weights * middles
    before, moment_before = weights.cumsum(-1) - weights, moment.cumsum(-1) - moment
    pairs = 2 * (weights * (middles * before - moment_before)).sum(-1)
    return (pairs + (weights.square() * widths).sum(-1) / 3).mean()


def dssim(a: Tensor, b: Tensor, size: int) -> Tensor:
    """(1 - SSIM) / 2 of patches (N, size * size, 3), each patch one uniform window (Wang et al. 2004, eq. 13)."""
    a, b = a.view(-1, size * size, 3), b.view(-1, size * size, 3)
    mean_a, mean_b = a.mean(1), b.mean(1)
    var_a, var_b = a.var(1, unbiased=False), b.var(1, unbiased=False)
    covariance = (a * b).mean(1) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ssim = ssim / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    return (1 - ssim).mean() / 2


def project(K: Tensor, cam_from_unit: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (N, 2) and depths (N,) of points (N, 3), each in its own camera K (N, 3, 3), cam_from_unit (N, 3, 4)."""
    in_camera = torch.einsum("nij,nj->ni", cam_from_unit[:, :, :3], x) + cam_from_unit[:, :, 3]
    depth = in_camera[:, 2]
    pixel = torch.einsum("nij,nj->ni", K, in_camera)
    return pixel[:, :2] / depth.clamp_min(1e-6)[:, None], depth


def reprojection(pixels: Tensor, back: Tensor, valid: Tensor, gate: float) -> Tensor:
    """Forward-backward reprojection error in pixels, where valid and below ``gate``: the multi-view geometric loss.

    pixels (N, 2) of the target; back (N, 2): the surface point of the target carried into another view, replaced by
    the surface which that view's own rendering finds there, and projected back. Beyond the gate the views see
    different surfaces (occlusion), and nothing is to be learnt.
    """
    error = (back - pixels).square().sum(-1).add(1e-6).sqrt()
    kept = valid & (error.detach() < gate)
    return (error * kept).sum() / kept.sum().clamp_min(1) / gate


def idw_colour(cloud: ops.KnnIndex, colours: Tensor, x: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Colours (P, 3) of the cloud, weighted by inverse distance at rendered surface points x (N, 3), against the photo
    (N, 3); ``weight`` (N,) is the rays' opacity. Moves the surface to where the cloud has the photo's colour."""
    rendered = ops.idw(cloud, colours, x, k=8)
    return ((rendered - target).abs().mean(-1) * weight).sum() / weight.sum().clamp_min(1)
