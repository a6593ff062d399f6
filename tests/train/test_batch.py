"""Which views and pixels a step uses."""

import pytest
import torch
from toy import ball_photos

from uner3d.train.batch import draw_batch, draw_group, gather
from uner3d.train.losses import project
from uner3d.train.photos import neighbours


@pytest.mark.parametrize("n_views", [2, 3, 4, 5, 12])
def test_targets_are_never_sources(n_views):
    ranking = neighbours(ball_photos(n_views))
    generator = torch.Generator().manual_seed(0)
    anchors = set()
    for _ in range(200):
        group = draw_group(ranking, 6, generator)
        sources, targets = group.sources.tolist(), group.targets.tolist()
        assert 1 <= len(sources) <= 6 and len(set(sources)) == len(sources)
        assert len(set(targets)) == len(targets) and not set(sources) & set(targets)
        assert n_views < 4 or len(targets) > 1  # the geometric loss needs two
        anchors.add(targets[0])
    assert anchors == set(range(n_views))


def test_rays_pass_through_their_pixels():
    photos = ball_photos(4)
    batch = draw_batch(photos, torch.tensor([1, 3]), 160, 4, torch.Generator().manual_seed(0), None)
    assert len(batch.views) == 160 and set(batch.views.tolist()) <= {1, 3}
    x = batch.origins + 2.0 * batch.directions
    pixel, depth = project(photos.K[batch.views], photos.cam_from_unit[batch.views], x)
    torch.testing.assert_close(pixel, batch.pixels + 0.5, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(depth, torch.full((160,), 2.0), rtol=1e-4, atol=1e-4)
    for i in (0, 77, 159):
        column, row = batch.pixels[i].tolist()
        view = int(batch.views[i])
        torch.testing.assert_close(batch.colours[i], photos.images[view, row, column] / 255)
        assert float(batch.masks[i]) == float(photos.masks[view, row, column]) / 255


def test_patches_are_whole_squares():
    photos = ball_photos(3)
    batch = draw_batch(photos, torch.tensor([0]), 64, 4, torch.Generator().manual_seed(2), None)
    patches = batch.pixels.view(4, 4, 4, 2)
    assert (patches[:, :, 1:, 0] - patches[:, :, :-1, 0] == 1).all()
    assert (patches[:, 1:, :, 1] - patches[:, :-1, :, 1] == 1).all()


@pytest.mark.parametrize("masks", [True, False])
def test_the_object_is_preferred_and_the_rest_not_forgotten(masks):
    photos = ball_photos(3, masks=masks)
    batch = draw_batch(photos, torch.tensor([0, 1, 2]), 900, 1, torch.Generator().manual_seed(1), torch.ones(3))
    coloured = ((1 - batch.colours).abs().amax(-1) > 0.06).float().mean()
    everywhere = ((1 - photos.images / 255).abs().amax(-1) > 0.06).float().mean()
    assert 1.4 * everywhere < coloured < 0.95


def test_photos_smaller_than_a_patch():
    photos = ball_photos(2, 3, 2)
    batch = draw_batch(photos, torch.tensor([0]), 32, 4, torch.Generator().manual_seed(0), None)
    assert batch.colours.shape == (32, 3)
    assert (batch.pixels >= 0).all() and (batch.pixels < torch.tensor([3, 2])).all()


def test_gather_without_masks():
    photos = ball_photos(2, masks=False)
    batch = gather(photos, torch.tensor([1]), torch.tensor([[5, 9]]))
    assert batch.masks is None and batch.origins.shape == (1, 3)


def test_the_seed_decides():
    photos = ball_photos(4)
    a, b, c = (draw_batch(photos, torch.arange(4), 64, 4, torch.Generator().manual_seed(s), None) for s in (0, 0, 1))
    assert torch.equal(a.pixels, b.pixels) and not torch.equal(a.pixels, c.pixels)
