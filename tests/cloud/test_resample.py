"""New points on the surface: on it, evenly apart, in any number, whatever the batch."""

import numpy as np
import pytest
import torch
from toy import RADIUS, ball_maps, ball_photos, ring

from uner3d.cloud import resample
from uner3d.cloud.agree import Agreed
from uner3d.cloud.resample import attributes, candidates, kept_rows, radius_for_count, surface_quads, thin


def trusted(photos) -> tuple:
    """Exact maps of which every point is kept and owned."""
    maps = ball_maps(photos)
    points = torch.stack([maps.points(v) for v in range(len(photos))])
    seen = maps.depth > 0
    agreed = Agreed(points, torch.nn.functional.normalize(points, dim=-1), seen, (seen * 3).to(torch.uint8),
                    seen * 0.9, seen * 0.8, seen)  # fmt: skip
    return maps, agreed


@pytest.fixture(scope="module")
def quads():
    return surface_quads(*trusted(ball_photos(2, 48, 36, 80.0, poses=ring(2, arc=1.0))))


def all_kept(quads, radius: float):
    _, masks = thin(quads, radius)
    batches = zip(masks, candidates(quads, radius), strict=True)
    parts = [(x[m], q[m], uv[m]) for bits, (x, q, uv) in batches for m in [kept_rows(bits, len(x))]]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def nearest_distance(x: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x.double(), x.double()).fill_diagonal_(torch.inf).amin(1)


@pytest.mark.parametrize("radius", [0.12, 0.04, 0.02])
def test_points_lie_on_the_surface_and_apart(quads, radius):
    x, quad, uv = all_kept(quads, radius)
    flatness = 0.1 * float(quads.size.median())  # a quad cuts the corner of the ball
    assert (x.norm(dim=-1) - RADIUS).abs().max() < flatness
    assert nearest_distance(x).min() >= radius * (1 - 1e-5)
    assert (uv >= 0).all() and (uv <= 1).all() and quad.max() < len(quads.size)


def test_the_surface_is_filled(quads):
    """No corner of a quad is much farther from a point than the thinning allows."""
    radius = 0.03
    x, _, _ = all_kept(quads, radius)
    gap = torch.cdist(quads.corners.view(-1, 3)[::11], x).amin(1)
    assert float(gap.max()) < 1.9 * radius


@pytest.mark.parametrize("n_points", [1, 7, 100, 2500])
def test_a_count_is_approached_from_above(quads, n_points):
    _, count, masks = radius_for_count(quads, n_points)
    assert count == sum(int(np.unpackbits(m).sum()) for m in masks)
    assert n_points <= count <= 1.06 * n_points + 10


@pytest.mark.parametrize("batch", [1, 50, 1 << 12])
def test_any_batch_size_gives_the_same_points(quads, monkeypatch, batch):
    radius = 0.012 if batch > 1 else 0.05
    want = all_kept(quads, radius)
    monkeypatch.setattr(resample, "BATCH", batch)
    for a, b in zip(all_kept(quads, radius), want, strict=True):
        assert torch.equal(a, b)


def test_attributes_of_points(quads):
    x, quad, uv = all_kept(quads, 0.05)
    normals, confidence, n_views = attributes(quads, quad, uv)
    assert ((normals * torch.nn.functional.normalize(x, dim=-1)).sum(-1) > 0.995).all()
    assert n_views.tolist() == [3] * len(x)
    torch.testing.assert_close(confidence, torch.full((len(x),), 0.8))


def test_quads_do_not_bridge_depth_jumps_or_gaps():
    maps, agreed = trusted(ball_photos(1, 48, 36, 80.0))
    whole = len(surface_quads(maps, agreed).size)
    maps.depth[0, :, 24:] *= 1.5
    jumped = surface_quads(maps, agreed)
    assert 0 < len(jumped.size) < whole
    agreed.kept[0, 18] = False
    assert len(surface_quads(maps, agreed).size) < len(jumped.size)
    agreed.owner[:] = False
    assert len(surface_quads(maps, agreed).size) == 0
