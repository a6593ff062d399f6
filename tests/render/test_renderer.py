"""Rendering against a ball whose depth, opacity and colour are known."""

import math

import pytest
import torch
from toy import RADIUS, BallField, ball_depth, look_at_origin, pinhole, random_sources

from uner3d.model.field import BaseField
from uner3d.render.grid import DensityGrid
from uner3d.render.image import render_image
from uner3d.render.renderer import RenderSettings, pixel_rays, render_rays


def ball_grid(n: int = 48, density: float = 200.0) -> DensityGrid:
    """A grid that knows the ball, as after some steps of training."""
    grid = DensityGrid(n, torch.ones(3))
    axis = (torch.arange(n) + 0.5) / n * 2 - 1
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    grid.values = density * (x.norm(dim=-1) < RADIUS + 1.8 / n).float()
    return grid


def camera(distance: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.tensor(pinhole(40, 30, 50.0)).float(),
            torch.tensor(look_at_origin([distance * 0.6, 0.3, distance * 0.8])).float())  # fmt: skip


def test_pixel_rays_reach_their_pixels():
    K, pose = camera()
    pixels = torch.rand(20, 2) * 30
    origins, directions = pixel_rays(K, pose, pixels)
    x = (origins + 2.5 * directions) @ pose[:, :3].T + pose[:, 3]
    torch.testing.assert_close(x[:, 2], torch.full((20,), 2.5), rtol=1e-5, atol=1e-5)  # t is the z-depth
    torch.testing.assert_close((x @ K.T)[:, :2] / x[:, 2:], pixels, rtol=1e-4, atol=1e-3)
    one_by_one = pixel_rays(K.expand(20, 3, 3), pose.expand(20, 3, 4), pixels)
    torch.testing.assert_close(one_by_one[1], directions, rtol=1e-4, atol=1e-5)


def test_image_of_a_ball():
    K, pose = camera()
    settings = RenderSettings(samples=48, uniform=0.1, background=torch.tensor([1.0, 0.9, 0.0]))
    colour, depth, opacity = render_image(BallField(), None, ball_grid(), K, pose, 30, 40, settings)
    truth, _ = ball_depth(K, pose, 30, 40)
    inner = ball_depth(K, pose, 30, 40, 0.93 * RADIUS)[0] > 0
    outer = ball_depth(K, pose, 30, 40, 1.07 * RADIUS)[0] > 0
    assert inner.sum() > 100 and (~outer).sum() > 500
    assert (opacity[inner] > 0.99).all() and (opacity[~outer] < 1e-3).all()
    assert (depth[inner] - truth[inner]).abs().max() < 0.05
    assert (depth[~outer] == 0).all()
    torch.testing.assert_close(colour[inner], torch.tensor([0.2, 0.5, 0.8]).expand(int(inner.sum()), 3),
                               rtol=0, atol=0.01)  # fmt: skip
    torch.testing.assert_close(colour[~outer], settings.background.expand(int((~outer).sum()), 3), rtol=0, atol=0.002)


def test_thin_fog_follows_the_exponential_law():
    """Opacity of a ball of density 1 along its diameter is 1 - exp(-2 r), and the background shines through."""
    origins, directions = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 2.0]])
    grid = DensityGrid(32, torch.ones(3))
    background = torch.tensor([1.0, 1.0, 0.0])
    out = render_rays(BallField(1.0), None, grid, origins, directions, RenderSettings(400, background=background))
    want = 1 - math.exp(-2 * RADIUS)
    assert float(out.opacity) == pytest.approx(want, abs=0.01)
    torch.testing.assert_close(out.colour[0], want * torch.tensor([0.2, 0.5, 0.8]) + (1 - want) * background,
                               rtol=0, atol=0.01)  # fmt: skip
    attenuated = (1 - (1 + 2 * RADIUS) * math.exp(-2 * RADIUS)) / want  # mean distance travelled inside
    assert float(out.depth) == pytest.approx((3 - RADIUS + attenuated) / 2, abs=0.01)  # in multiples of the direction


def test_black_without_background_and_carved_cells_are_empty():
    K, pose = camera()
    colour, _, opacity = render_image(BallField(), None, ball_grid(), K, pose, 30, 40, RenderSettings(24))
    assert (colour[0, 0] == 0).all() and opacity.max() > 0.99
    carved = ball_grid()
    carved.allowed = torch.zeros(48, 48, 48, dtype=torch.bool)
    origins, directions = pixel_rays(K, pose, torch.tensor([[20.0, 15.0]]))
    assert render_rays(BallField(), None, carved, origins, directions, RenderSettings(24)).opacity.max() == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0], ids=["all carved", "some carved", "none carved"])
def test_leaving_out_carved_samples_changes_nothing(share):
    """The field is asked for the samples that can matter, or for all of them and what is carved dropped."""
    torch.manual_seed(0)
    field, sources, grid = BaseField(5, 4), random_sources(3), DensityGrid(8, torch.ones(3))
    field.out.bias.data[0] = 0.0  # opaque enough for colours to count
    grid.allowed = torch.rand(8, 8, 8) < share
    origins = 0.2 * torch.randn(40, 3) - torch.tensor([0.0, 0.0, 3.0])
    directions = 0.1 * torch.randn(40, 3) + torch.tensor([0.0, 0.0, 1.0])
    results = []
    for fixed in (False, True):
        field.zero_grad()
        settings = RenderSettings(24, uniform=1.0, background=torch.ones(3), window=4.0, fixed_shapes=fixed)
        out = render_rays(field, sources, grid, origins, directions, settings)
        (out.colour.square().sum() + out.depth.sum()).backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in field.parameters()]
        results.append([out.colour, out.depth, out.opacity, out.weights, *gradients])
    for left_out, dropped in zip(*results, strict=True):
        torch.testing.assert_close(left_out, dropped)
    assert (results[0][2].max() > 0.1) == (share > 0)


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_what_no_source_shows_has_the_colour_given_for_it(fixed_shapes):
    """A ball before the only source's camera and one behind it; without background, past both."""
    unseen = torch.tensor([0.3, 0.9, 0.1])
    source = random_sources(1)
    centre = -source.cam_from_unit[0, :, :3].T @ source.cam_from_unit[0, :, 3]
    away = torch.nn.functional.normalize(centre, dim=0)
    across = torch.linalg.cross(away, torch.tensor([0.0, 1, 0]))
    origins = torch.stack([across * 3, across * 3 + away * 2 * centre.norm(), across * 3 + torch.tensor([0.0, 9, 0])])
    grid = DensityGrid(32, torch.full((3,), 20.0))
    grid.values += 1

    class TwoBalls(BallField):
        def density(self, x, rays, sources, window):
            far = (x - away * 2 * centre.norm()).norm(dim=-1)
            return 200.0 * (torch.minimum(x.norm(dim=-1), far) < RADIUS).float(), torch.zeros(len(x), 1)

    settings = RenderSettings(samples=256, uniform=1.0, unseen=unseen, fixed_shapes=fixed_shapes)
    colour = render_rays(TwoBalls(), source, grid, origins, -across.expand(3, 3), settings).colour
    wanted = torch.stack([torch.tensor([0.2, 0.5, 0.8]), unseen, unseen])
    torch.testing.assert_close(colour, wanted, rtol=0, atol=1e-3)
    settings.background = torch.tensor([0.0, 0.0, 1.0])
    past = render_rays(TwoBalls(), source, grid, origins, -across.expand(3, 3), settings).colour[2]
    torch.testing.assert_close(past, settings.background)


def test_the_space_beyond_the_box_is_rendered_on_request():
    class Wall(BallField):
        """Opaque behind z = 4 (beyond the box)."""

        def density(self, x, rays, sources, window):
            return 100.0 * (x[:, 2] > 4).float(), torch.zeros(len(x), 1)

    origins, directions = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    grid = DensityGrid(16, torch.ones(3), outside=True)
    inside = render_rays(Wall(), None, grid, origins, directions, RenderSettings(16, 0))
    beyond = render_rays(Wall(), None, grid, origins, directions, RenderSettings(16, 64))
    assert float(inside.opacity) == 0
    assert float(beyond.opacity) > 0.99 and float(beyond.depth) == pytest.approx(7.0, abs=0.5)
    assert (beyond.edges.diff(dim=-1) >= 0).all()


def test_rays_that_miss_and_no_rays_at_all():
    grid = ball_grid()
    grid.tighten()
    settings = RenderSettings(16, background=torch.ones(3))
    missing = render_rays(BallField(), None, grid, torch.tensor([[9.0, 9.0, 9.0]]), torch.tensor([[1.0, 0.0, 0.0]]),
                          settings)  # fmt: skip
    assert (missing.colour == 1).all() and missing.opacity == 0 and missing.depth.isfinite().all()
    none = render_rays(BallField(), None, grid, torch.zeros(0, 3), torch.zeros(0, 3), settings)
    assert none.colour.shape == (0, 3)
    K, _ = camera()
    away = torch.tensor(look_at_origin([0.0, 0.3, 3.0])).float()
    away[1:] = -away[1:]  # turned about its x axis: it looks away from the box
    colour, depth, opacity = render_image(BallField(), None, grid, K, away, 6, 8, settings)
    assert (colour == 1).all() and (depth == 0).all() and (opacity == 0).all()


def test_gradients_reach_density_and_colour():
    class Learnt(BallField):
        def __init__(self):
            super().__init__()
            self.log_density = torch.zeros((), requires_grad=True)
            self.paint = torch.full((3,), 0.5, requires_grad=True)

        def density(self, x, rays, sources, window):
            sigma, code = super().density(x, rays, sources, window)
            return sigma / self.value * self.log_density.exp(), code

        def colour(self, x, rays, code, sources):
            return self.paint.expand(len(x), 3)

    field = Learnt()
    out = render_rays(field, None, DensityGrid(16, torch.ones(3)), torch.tensor([[0.0, 0.0, -3.0]]),
                      torch.tensor([[0.0, 0.0, 1.0]]), RenderSettings(200))  # fmt: skip
    out.opacity.sum().backward(retain_graph=True)
    assert float(field.log_density.grad) == pytest.approx(2 * RADIUS * math.exp(-2 * RADIUS), abs=0.01)
    out.colour.sum().backward()
    torch.testing.assert_close(field.paint.grad, out.opacity.detach().expand(3), rtol=0, atol=0.02)
