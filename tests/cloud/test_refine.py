"""Patch matching on surface maps: a soft surface becomes a sharp one where there is texture, and stays elsewhere."""

import copy

import pytest
import torch
import torch.nn.functional as F
from toy import RADIUS, ball_maps, ball_photos, ring

from uner3d.cloud import refine
from uner3d.cloud.refine import refine_surfaces, resampled
from uner3d.train.photos import neighbours

WIDTH, HEIGHT, FOCAL = 160, 120, 260.0


@pytest.fixture(scope="module")
def photos():
    full = ball_photos(7, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=1.0))
    return {1: full, 2: full.reduced(2)}


def errors(maps, views=range(1, 6)) -> torch.Tensor:
    """Distances from the ball's surface, where it is not seen obliquely."""
    out = []
    for view in views:
        x = maps.points(view)
        centre = -maps.cam_from_unit[view, :, :3].T @ maps.cam_from_unit[view, :, 3]
        facing = (F.normalize(x, dim=-1) * F.normalize(centre - x, dim=-1)).sum(-1)
        out.append((x.norm(dim=-1) - RADIUS)[(maps.depth[view] > 0) & (facing > 0.6)].abs())
    return torch.cat(out)


def test_a_surface_too_large_is_moved_to_the_true_one(photos):
    soft = ball_maps(photos[1], stride=2, radius=1.04 * RADIUS)
    refined = refine_surfaces(soft, photos, neighbours(photos[1]), iterations=4)
    assert refined.stride == 1 and refined.depth.shape == (7, HEIGHT, WIDTH)
    assert errors(soft).median() > 0.02
    assert errors(refined).median() < 0.2 * errors(soft).median()
    view = 3
    x = F.normalize(refined.points(view), dim=-1)
    near = ((refined.points(view).norm(dim=-1) - RADIUS).abs() < 0.005) & (refined.depth[view] > 0)
    assert (refined.normals[view] * x).sum(-1)[near].median() > 0.97


def test_without_texture_the_depths_stay(photos):
    flat = {k: copy.copy(p) for k, p in photos.items()}
    for p in flat.values():
        p.images = torch.full_like(p.images, 100)
    soft = ball_maps(photos[1], radius=1.04 * RADIUS)
    refined = refine_surfaces(soft, flat, neighbours(photos[1]), iterations=2)
    there = soft.depth > 0
    torch.testing.assert_close(refined.depth[there], soft.depth[there], rtol=5e-3, atol=0)


def test_one_view_alone_stays_as_it_is(photos):
    maps = ball_maps(photos[1])
    ranking = [torch.zeros(0, dtype=torch.int64)] * 7
    refined = refine_surfaces(maps, photos, ranking, iterations=2)
    torch.testing.assert_close(refined.depth, maps.depth, rtol=1e-4, atol=1e-5)


def test_large_sets_end_at_half_the_resolution(photos, monkeypatch):
    monkeypatch.setattr(refine, "MOST_PIXELS", 7 * HEIGHT * WIDTH - 1)
    maps = ball_maps(photos[1], stride=2)
    refined = refine_surfaces(maps, photos, neighbours(photos[1]), iterations=1)
    assert refined.stride == 2 and refined.depth.shape == (7, HEIGHT // 2, WIDTH // 2)


def test_resampling_keeps_pixels_in_place(photos):
    half, full = ball_maps(photos[1], stride=2), ball_maps(photos[1])
    up = resampled(half, 2, photos[1].K[2], HEIGHT, WIDTH)
    both = (up > 0) & (full.depth[2] > 0)
    assert both.sum() > 0.9 * (full.depth[2] > 0).sum()
    assert ((up / full.depth[2]) - 1)[both].abs().median() < 1e-3
