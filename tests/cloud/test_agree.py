"""Agreement of exact and of wrong depth maps of a textured ball."""

import pytest
import torch
import torch.nn.functional as F
from toy import RADIUS, ball_depth, ball_maps, ball_photos, ring

from uner3d.cloud.agree import agree, disagreement_warning, few_photos_warning
from uner3d.cloud.raster import footprint, raster_normals
from uner3d.train.photos import neighbours

WIDTH, HEIGHT, FOCAL = 96, 72, 160.0
BAD = 2


@pytest.fixture(scope="module")
def photos():
    return ball_photos(7, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=1.4))


@pytest.fixture(scope="module")
def right(photos):
    maps = ball_maps(photos)
    return maps, agree(maps, photos, neighbours(photos))


def inner(maps, view: int, cosine: float = 0.5) -> torch.Tensor:
    """Pixels whose surface is not seen obliquely."""
    x = maps.points(view)
    center = -maps.cam_from_unit[view, :, :3].T @ maps.cam_from_unit[view, :, 3]
    facing = (F.normalize(x, dim=-1) * F.normalize(center - x, dim=-1)).sum(-1)
    return (maps.depth[view] > 0) & (facing > cosine)


def test_a_true_surface_is_confirmed(right):
    maps, agreed = right
    for view in range(1, 6):
        here = inner(maps, view)
        assert agreed.kept[view][here].float().mean() > 0.95
        assert agreed.n_views[view][here].float().mean() > 4
        assert not agreed.kept[view][maps.depth[view] == 0].any()
        assert (agreed.points[view][agreed.kept[view]].norm(dim=-1) - RADIUS).abs().max() < 0.006
    assert agreed.confidence[agreed.kept].min() > 0.3 and agreed.confidence.max() <= 1
    assert disagreement_warning(maps, agreed) is None


def test_photos_of_a_true_surface_correlate(right):
    maps, agreed = right
    ncc = torch.cat([agreed.ncc[v][inner(maps, v, 0.6)] for v in range(1, 6)])
    ncc = ncc[~ncc.isnan()]
    assert len(ncc) > 2000 and ncc.median() > 0.9


def test_normals_point_outwards(right):
    maps, agreed = right
    for view in (0, 3):
        here = inner(maps, view)
        cosine = (agreed.normals[view][here] * F.normalize(maps.points(view)[here], dim=-1)).sum(-1)
        assert cosine.min() > 0.95 and cosine.median() > 0.998


def test_normals_of_a_plane_at_any_depth_jump():
    """Two parallel planes: the jump between them bends no normal by more than its smoothing."""
    depth = torch.full((12, 16), 2.0)
    depth[:, 8:] = 3.0
    y, x = torch.meshgrid(torch.arange(12) - 5.5, torch.arange(16) - 7.5, indexing="ij")
    points = torch.stack([x / 20 * depth, y / 20 * depth, depth], -1)
    normals = raster_normals(points, depth, torch.eye(4)[:3])
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, -1]).expand_as(normals), rtol=0, atol=1e-4)


def test_the_wrong_depths_of_one_view_are_rejected(photos, right):
    maps = ball_maps(photos)
    maps.depth[BAD] *= 0.93  # a surface that floats before the true one
    agreed = agree(maps, photos, neighbours(photos))
    assert agreed.kept[BAD].sum() == 0
    for view in (1, 3, 4):
        here = inner(maps, view)
        assert agreed.kept[view][here].float().mean() > 0.8
        assert (agreed.points[view][agreed.kept[view]].norm(dim=-1) - RADIUS).abs().max() < 0.01
    assert agreed.n_views[3].max() < right[1].n_views[3].max()


def test_depths_that_agree_but_contradict_the_photos():
    """A ball that is too large is the same from all sides; the photos, half a radian apart, alone reveal it."""
    photos = ball_photos(7, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=4.0))
    right, wrong = ball_maps(photos), ball_maps(photos)
    wrong.depth = torch.stack([ball_depth(wrong.K[v], wrong.cam_from_unit[v], HEIGHT, WIDTH, 0.8)[0] for v in range(7)])
    ranking = neighbours(photos)
    ncc, confidence = [], []
    for maps in (right, wrong):
        agreed = agree(maps, photos, ranking)
        here = inner(maps, 3, 0.8) & ~agreed.ncc[3].isnan()
        assert here.sum() > 200 and agreed.n_views[3][here].float().mean() > 2  # the geometry is consistent
        ncc.append(float(agreed.ncc[3][here].median()))
        confidence.append(float(agreed.confidence[3][here].mean()))
    assert ncc[1] < ncc[0] - 0.2 and confidence[1] < confidence[0] - 0.05


def test_every_piece_of_surface_has_an_owner(right):
    _, agreed = right
    assert not (agreed.owner & ~agreed.kept).any()
    owned = agreed.points[agreed.owner]
    kept = agreed.points[agreed.kept][::7]
    nearest = torch.cdist(kept, owned).amin(1)
    assert float(nearest.median()) < 0.03 and float(nearest.max()) < 0.1  # a pixel is 0.02 wide; more at the outline
    assert agreed.owner.sum() < 0.6 * agreed.kept.sum()


def test_wrong_poses_are_reported(photos):
    maps = ball_maps(photos)
    noise = torch.rand(7, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.85
    maps.depth *= noise[:, None, None]
    agreed = agree(maps, photos, neighbours(photos))
    sentence = disagreement_warning(maps, agreed)
    assert sentence is not None and "check the camera poses" in sentence and "%" in sentence
    assert agreed.confidence.max() < 0.25
    maps.depth.zero_()
    nothing = agree(maps, photos, neighbours(photos))
    assert "do not agree on any surface" in disagreement_warning(maps, nothing)


def test_two_views_are_enough_to_agree(photos):
    pair = ball_photos(2, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=1.4)[:2])
    maps = ball_maps(pair)
    agreed = agree(maps, pair, neighbours(pair))
    assert agreed.points.isfinite().all() and agreed.kept.any()
    assert (agreed.n_views[agreed.kept] == 2).all()


def test_footprint_is_a_pixel_on_the_surface(right):
    maps, _ = right
    here = maps.depth[0] > 0
    torch.testing.assert_close(footprint(maps, 0).view(HEIGHT, WIDTH)[here], maps.depth[0][here] / FOCAL)


def test_what_few_photos_cannot_tell_is_said():
    assert few_photos_warning(1).startswith("1 photo") and few_photos_warning(2).startswith("2 photos")
    assert few_photos_warning(3) is None
