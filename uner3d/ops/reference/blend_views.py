"""Plain-torch twin of blend_views."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ._views import centres
from .sample_views import sample_views


def blend_views(
    maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
    directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor, score_weight: Tensor,
    view_weights: Tensor | None = None, sharpness: float = 30.0,
    sample: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = sample_views,
) -> Tensor:  # fmt: skip
    """See :func:`uner3d.ops.blend_views`; holds (N, V, C). ``sample`` is how maps and images are sampled: the op on a
    GPU, where this is what runs. The products of the layers, and they alone, follow autocast."""
    features, in_map = sample(maps, K_maps, cam_from_world, points)
    pixels, in_image = sample(images, K, cam_from_world, points)
    towards = F.normalize(points[:, None] - centres(cam_from_world), dim=-1)
    cosine = (towards * directions[:, None]).sum(-1, keepdim=True)
    angles = torch.cat([pixels, towards - directions[:, None], cosine], -1)
    # The first layer of [features, angles, what the point adds], part by part: what belongs to the point alone is
    # there once and not once a view, and nothing as wide as the whole input is in memory.
    by_view = F.linear(features, feature_weight) + F.linear(angles, angle_weight)
    h = F.relu(by_view + hidden[:, None].to(by_view.dtype))
    score = F.linear(h, score_weight[None])[..., 0].to(points.dtype) + sharpness * (cosine[..., 0] - 1)
    weights = torch.ones_like(score) if view_weights is None else view_weights
    counts = in_map & in_image & (weights > 0)
    lowest = torch.full_like(score, torch.finfo(score.dtype).min)
    share = torch.softmax(torch.where(counts, score, lowest), -1) * torch.where(counts, weights, 0.0)
    total = share.sum(-1, keepdim=True)
    share = share / torch.where(total > 0, total, 1.0)
    return (share[..., None] * pixels).sum(1)
