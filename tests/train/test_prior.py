"""Depths before the fit: right where they are given, and a loss that draws the rendering weights to them."""

import pytest
import torch
from toy import ball_depth, ball_photos, ring, small_config

from uner3d.config import Config
from uner3d.train.fit import set_up
from uner3d.train.photos import neighbours
from uner3d.train.prior import Prior, match_photos, prior_loss
from uner3d.train.world import make_world

EXTENT = torch.ones(3)
WHITE = torch.ones(3)


def matched(n_views: int = 12, masks: bool = True, seed: int = 0, **options) -> tuple[Prior, torch.Tensor]:
    """The prior of the ball's photos, and its true depths (V, h, w)."""
    photos = ball_photos(n_views, width=96, height=72, focal=135.0, masks=masks, **options)
    prior = match_photos(photos, 1, neighbours(photos), EXTENT, None if masks else WHITE, seed)
    truth = [ball_depth(photos.K[v], photos.cam_from_unit[v], *photos.size)[0] for v in range(n_views)]
    return prior, torch.stack(truth)


@pytest.mark.parametrize("masks", [True, False])
def test_confirmed_depths_are_right(masks):
    prior, truth = matched(masks=masks)
    known, ball = prior.depth > 0, truth > 0
    assert (known & ball).sum() > 0.4 * ball.sum()
    assert (known & ~ball).sum() < 0.02 * ball.sum()
    error = (prior.depth[known & ball] / truth[known & ball] - 1).abs()
    assert error.median() < 0.005 and (error < 0.02).float().mean() > 0.95
    assert ((prior.weight > 0) == known).all() and float(prior.weight.max()) <= 1


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(threads):
    results = []
    for n in (1, 2):
        threads(n)
        results.append(matched(n_views=6)[0])
    assert results[0].depth.equal(results[1].depth) and results[0].weight.equal(results[1].weight)
    assert not matched(n_views=6, seed=1)[0].depth.equal(results[0].depth)


def test_photos_without_texture_give_little_but_outlines():
    photos = ball_photos(6, masks=False)
    ball = (photos.images != 255).any(-1)
    photos.images[:] = torch.where(photos.images == 255, 255, 90).to(torch.uint8)
    prior = match_photos(photos, 1, neighbours(photos), EXTENT, WHITE, 0)
    assert int((prior.depth > 0).sum()) < 0.05 * int(ball.sum())


def test_one_photo_has_none_and_two_confirm_each_other():
    assert not matched(n_views=1)[0].depth.any()
    prior, truth = matched(n_views=2, poses=ring(2, arc=0.5))
    known = prior.depth > 0
    assert known.sum() > 100 and ((prior.depth / truth.clamp_min(1e-6) - 1).abs()[known] < 0.02).float().mean() > 0.9


def test_points_lie_on_the_ball():
    prior, _ = matched()
    photos = ball_photos(12, width=96, height=72, focal=135.0)
    radius = prior.points(photos).norm(dim=-1)
    assert len(radius) == int((prior.depth > 0).sum()) and float(radius.median()) == pytest.approx(0.6, abs=0.01)


def test_pixels_of_other_reductions():
    depth = torch.arange(2 * 3 * 4.0).view(2, 3, 4)
    prior = Prior(depth, depth / 24, reduction=2)
    views, pixels = torch.tensor([1, 1, 0]), torch.tensor([[7, 5], [8, 6], [0, 1]])
    assert prior.at(views, pixels, 1)[0].tolist() == [23, 23, 0]  # the last row and column stand for what lies beyond
    assert prior.at(views, torch.tensor([[3, 2], [0, 1], [1, 0]]), 2)[0].tolist() == [23, 16, 1]


def test_loss_is_what_lies_elsewhere():
    edges = torch.linspace(1, 3, 21, dtype=torch.float64).repeat(3, 1)
    weights = torch.zeros(3, 20, dtype=torch.float64)
    weights[0, 10], weights[1, 3], weights[2, 10] = 1, 1, 1  # at 2.05, at 1.35, at 2.05
    depth, certain = torch.tensor([2.05, 2.05, 0.0]).double(), torch.tensor([0.5, 0.5, 0.9]).double()
    loss = prior_loss(weights, edges, depth, certain, 0.02)
    assert float(loss) == pytest.approx((0.5 * 0 + 0.5 * 1 + 0) / 3, abs=1e-6)
    fog = torch.full_like(weights, 0.05)
    assert float(prior_loss(fog, edges, depth, certain, 0.02)) < float(prior_loss(0 * fog, edges, depth, certain, 0.02))


def test_gradient_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    edges = 1 + torch.rand(4, 7, generator=generator, dtype=torch.float64).cumsum(1) / 3
    depth, certain = torch.tensor([1.5, 2.0, 0.0, 2.5]).double(), torch.rand(4, generator=generator).double()
    assert torch.autograd.gradcheck(lambda w: prior_loss(w, edges, depth, certain, 0.1), weights)


@pytest.mark.parametrize(("width", "step"), [(96, 1), (900, 3)])
def test_what_photos_are_known_to_see_keeps_its_pixels_rays(width, step):
    photos = ball_photos(2, width=width, height=30, focal=50.0, poses=ring(2, arc=0.5))
    depth = torch.rand(2, 30, width) + 2
    seen = Prior(depth, torch.ones_like(depth), 1).seen(photos)
    assert seen.depth.dtype == torch.float16 and seen.depth.shape == (2, 30 // step, width // step)
    at = step // 2
    torch.testing.assert_close(seen.depth[1, 4, 7].float(), depth[1, 4 * step + at, 7 * step + at], rtol=1e-3, atol=0)
    thinned, whole = torch.tensor([7.5, 4.5, 1]), torch.tensor([7 * step + at + 0.5, 4 * step + at + 0.5, 1])
    torch.testing.assert_close(seen.K[1].inverse() @ thinned, photos.K[1].inverse() @ whole)


def test_all_resolutions_of_a_world_know_what_is_seen():
    photos = ball_photos(3, masks=False)
    world = make_world(Config(), photos, EXTENT, WHITE, None, False)
    depth = torch.ones(3, *photos.size)
    world.show(Prior(depth, depth, 1).seen(photos))
    for some in (*world.photos.values(), photos.reduced(2), photos.to("meta")):
        assert some.seen is not None and some.seen.depth.shape == depth.shape
    world.show(None)
    assert all(some.seen is None for some in world.photos.values())


@pytest.mark.parametrize("visibility", [True, False])
def test_fits_know_what_their_photos_see_unless_they_are_told_not_to(visibility):
    config = small_config(prior_loss=0.2, visibility=visibility)
    world = make_world(config, ball_photos(4), EXTENT, None, None, False)
    trainer, _ = set_up(world, config, None, read_weights=True)
    seen = trainer.world.photos[1].seen
    assert (seen is not None) == visibility and world.prior is not None
    assert seen is None or torch.equal(seen.depth, world.prior.depth.half())
