"""Free space: a bright point before a photo's bare background is contradicted, a hidden or dark one is not."""

from types import SimpleNamespace

import pytest
import torch
from toy import RADIUS, ball_maps, ball_photos, ring

from uner3d.cloud.agree import agree
from uner3d.cloud.free_space import bare_pixels, contradictions, mixed_pixels
from uner3d.train.photos import neighbours

WHITE, DARK = torch.ones(3), torch.tensor([0.2, 0.3, 0.2])


@pytest.fixture(scope="module")
def scene():
    photos = ball_photos(6, 96, 72, 160.0, masks=False, poses=ring(6))
    return photos, ball_maps(photos), bare_pixels(photos, WHITE)


def count(scene, points, colour=DARK):
    photos, maps, bare = scene
    return contradictions(points, colour.expand(len(points), 3), maps, photos, bare, WHITE)


def test_bare_pixels_are_those_beside_the_ball(scene):
    _, maps, bare = scene
    assert (bare[maps.depth > 0].float().mean(), bare[maps.depth == 0].float().mean()) == (0.0, 1.0)


def test_a_floater_is_contradicted_where_it_is_seen(scene):
    floater = torch.tensor([[RADIUS + 0.25, 0.0, 0.0]])
    assert count(scene, floater).item() >= 2


def test_points_within_the_ball_are_not(scene):
    generator = torch.Generator().manual_seed(0)
    inside = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1) * 0.93 * RADIUS
    assert count(scene, inside).max() == 0


def test_what_looks_like_the_background_contradicts_nothing(scene):
    assert count(scene, torch.tensor([[RADIUS + 0.25, 0.0, 0.0]]), colour=0.95 * WHITE).item() == 0


def test_points_outside_all_photos_are_not_contradicted(scene):
    far = torch.tensor([[0.0, 50.0, 0.0], [float("nan"), 0.0, 0.0]])
    assert count(scene, far).tolist() == [0, 0]


def test_agreement_drops_a_surface_that_overhangs_the_silhouette(scene):
    """All views carry the same ball, too large by 7 %: geometry alone would confirm its rim."""
    photos = scene[0]
    large = ball_maps(photos, radius=1.07 * RADIUS)
    plain = agree(large, photos, neighbours(photos))
    carved = agree(large, photos, neighbours(photos), WHITE)
    assert carved.kept.sum() < plain.kept.sum()
    assert not (carved.kept & ~plain.kept).any()


def test_black_background_ends_where_the_object_is_lit():
    """A rim and a crack of the same grey: the rim hangs together with the black around it, the crack does not."""
    image = torch.zeros(40, 60, 3, dtype=torch.uint8)
    image[10:30, 10:50] = 36
    image[12:28, 12:48] = 150
    image[18:22, 20:30] = 36
    photos = SimpleNamespace(images=image[None])
    bare = bare_pixels(photos, torch.zeros(3))[0]
    assert bare[:12].all() and bare[:, :12].all() and not bare[12:28, 12:48].any()
    assert not bare_pixels(photos, WHITE).any()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_outlines_are_dropped_but_not_what_is_thin(stride):
    """A disc loses the pixels beside the background, a wire of two pixels keeps all of its own."""
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(40), indexing="ij")
    disc = (rows - 10) ** 2 + (columns - 12) ** 2 < 50
    wire = (columns == 33) | (columns == 34)
    kept = disc | wire
    bare = ~kept.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
    mixed = mixed_pixels(kept, bare, stride)
    inner = -torch.nn.functional.max_pool2d(-disc[None].float(), 3, 1, 1)[0] > 0
    assert torch.equal(kept & mixed, disc & ~inner)
    assert not (mixed & wire).any()
