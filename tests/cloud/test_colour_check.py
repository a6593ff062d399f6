"""Colours of the photos that see a point, against those of the photo that it comes from."""

import copy

import pytest
import torch
from toy import ball_maps, ball_photos, ring

from uner3d.cloud.agree import agree
from uner3d.cloud.colour_check import colour_deviation
from uner3d.train.photos import PhotoSet, neighbours

WIDTH, HEIGHT, FOCAL = 96, 72, 140.0
LIMIT = 0.03


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    return ball_photos(7, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=1.4))


def deviations(photos: PhotoSet, radius: float, view: int = 3) -> torch.Tensor:
    """Of all pixels of a view, their surface being a ball of another radius."""
    maps = ball_maps(photos, radius=radius)
    rows, columns = (maps.depth[view] > 0).nonzero().unbind(1)
    points = maps.points(view)[rows, columns]
    return colour_deviation(photos, view, neighbours(photos)[view], points, rows, columns, maps)


def exposed(photos: PhotoSet, gains: list[float]) -> PhotoSet:
    """The same photos, each with an exposure of its own."""
    other = copy.copy(photos)
    scale = torch.tensor(gains)[:, None, None, None]
    other.images = (photos.images.float() * scale).round().clamp(0, 255).to(torch.uint8)
    return other


def test_a_true_surface_has_the_colours_of_its_photos(photos):
    found = deviations(photos, 0.6)
    assert float((found > LIMIT).float().mean()) < 0.02


def test_a_surface_beside_the_true_one_has_others(photos):
    """A third of the radius before the ball, neighbouring photos show places many pixels apart."""
    assert float((deviations(photos, 0.8) > LIMIT).float().mean()) > 0.5


def test_exposure_is_no_contradiction(photos):
    varied = exposed(photos, [1.0, 0.8, 1.1, 0.9, 0.75, 1.15, 1.0])
    assert float((deviations(varied, 0.6) > LIMIT).float().mean()) < 0.03
    assert float((deviations(varied, 0.8) > LIMIT).float().mean()) > 0.4


def test_where_no_other_photo_sees_the_point_nothing_is_said(photos):
    maps = ball_maps(photos)
    rows, columns = (maps.depth[0] > 0).nonzero().unbind(1)
    none = torch.zeros(0, dtype=torch.long)
    points = maps.points(0)[rows, columns]
    assert (colour_deviation(photos, 0, none, points, rows, columns, maps) == 0).all()
    behind = points - 10 * photos.cam_from_unit[0, 2, :3]
    assert (colour_deviation(photos, 0, neighbours(photos)[0], behind, rows, columns, maps) == 0).all()


def test_a_fringe_of_background_beside_an_outline_is_dropped(monkeypatch):
    """What matching makes of an outline: a ring of background at the depth of the ball, the same in every view. The
    geometry agrees; the photos show other places of the background there."""
    photos = ball_photos(7, WIDTH, HEIGHT, FOCAL, masks=False, poses=ring(7, arc=1.4))
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 256, (7, HEIGHT // 6, WIDTH // 6, 3), generator=generator, dtype=torch.uint8)
    noise = cells.repeat_interleave(6, 1).repeat_interleave(6, 2)
    true, fat = ball_maps(photos), ball_maps(photos, radius=0.63)
    bare = true.depth == 0
    photos.images = torch.where(bare[..., None], noise, photos.images)
    fringe = bare & (fat.depth > 0)
    maps = ball_maps(photos)
    maps.depth = torch.where(fringe, fat.depth, true.depth)
    agreed = agree(maps, photos, neighbours(photos))
    assert agreed.kept[fringe].float().mean() < 0.15
    assert agreed.kept[true.depth > 0].float().mean() > 0.6
    monkeypatch.setattr("uner3d.cloud.agree.COLOUR_TOLERANCE", 9.0)
    assert agree(maps, photos, neighbours(photos)).kept[fringe].float().mean() > 0.2
