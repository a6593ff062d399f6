"""Surface maps of an analytic field."""

import pytest
import torch
from toy import RADIUS, BallField, ball_depth, ball_photos

from uner3d.cloud.surface import behind_wall, first_crossing, raster_rays, render_surfaces
from uner3d.render.grid import DensityGrid
from uner3d.train.photos import neighbours


def ball_grid(n: int = 48) -> DensityGrid:
    grid = DensityGrid(n, torch.ones(3))
    axis = (torch.arange(n) + 0.5) / n * 2 - 1
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    grid.values = 200 * (x.norm(dim=-1) < RADIUS + 1.8 / n).float()
    grid.tighten()
    return grid


@pytest.mark.parametrize("length", [1.0, 0.25])
def test_crossing_of_a_ball(length):
    """Half of the light is gone ln 2 / density behind the surface; depth counts in multiples of the direction."""
    offsets = torch.linspace(0, 0.5, 21)
    origins = torch.stack([torch.zeros(21), offsets, torch.full((21,), -3.0)], 1)
    directions = torch.tensor([[0.0, 0.0, length]]).expand(21, 3)
    depth = first_crossing(BallField(), None, ball_grid(), origins, directions, 32, 16.0)
    want = 3 - (RADIUS**2 - offsets**2).sqrt() + 0.693 / 200
    torch.testing.assert_close(depth * length, want, rtol=0, atol=0.012)


def test_crossing_in_fog_is_where_half_the_light_is_gone():
    grid = DensityGrid(16, torch.ones(3))
    origins, directions = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    depth = first_crossing(BallField(1.0), None, grid, origins, directions, 128, 16.0)
    assert float(depth) == pytest.approx(3 - RADIUS + 0.6931, abs=0.02)
    thin = first_crossing(BallField(0.5), None, grid, origins, directions, 128, 16.0)
    assert float(thin) == 0  # 0.6 of optical depth never reaches ln 2


def test_no_crossing_beside_the_ball_or_in_carved_cells():
    origins = torch.tensor([[0.0, 0.7, -3.0], [5.0, 5.0, -3.0], [0.0, 0.0, -3.0]])
    directions = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
    depth = first_crossing(BallField(), None, ball_grid(), origins, directions, 24, 16.0)
    assert depth[:2].tolist() == [0, 0] and depth[2] > 2
    carved = ball_grid()
    carved.allowed = torch.zeros(48, 48, 48, dtype=torch.bool)
    assert first_crossing(BallField(), None, carved, origins, directions, 24, 16.0).tolist() == [0, 0, 0]
    assert len(first_crossing(BallField(), None, ball_grid(), origins[:0], directions[:0], 24, 16.0)) == 0


class BallModel:
    field = BallField()

    def encode_views(self, photos, views):
        assert 0 < len(views) < len(photos)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("masks", [True, False])
def test_maps_of_all_views(stride, masks):
    photos = ball_photos(3, masks=masks)
    done = []
    maps = render_surfaces(BallModel(), photos, neighbours(photos), ball_grid(), 2, 32, stride, 16.0, done.append)
    height, width = 48 // stride, 64 // stride
    assert maps.depth.shape == (3, height, width) and done == pytest.approx([1 / 3, 2 / 3, 1])
    for view in range(3):
        truth, _ = ball_depth(maps.K[view], maps.cam_from_unit[view], height, width)
        inner = ball_depth(maps.K[view], maps.cam_from_unit[view], height, width, 0.93 * RADIUS)[0] > 0
        assert (maps.depth[view][inner] - truth[inner]).abs().max() < 0.05
        assert (maps.depth[view][ball_depth(maps.K[view], maps.cam_from_unit[view], height, width, 0.65)[0] == 0]
                == 0).all()  # fmt: skip
        radii = maps.points(view)[inner].norm(dim=-1)
        assert (radii - RADIUS).abs().max() < 0.03


def test_raster_rays_go_row_by_row():
    K = torch.tensor([[10.0, 0, 2], [0, 10, 1], [0, 0, 1]])
    _, directions = raster_rays(K, torch.eye(4)[:3], 2, 4)
    torch.testing.assert_close(directions[:, 0], torch.tensor([-0.15, -0.05, 0.05, 0.15]).repeat(2))
    torch.testing.assert_close(directions[:, 1], torch.tensor([-0.05, 0.05]).repeat_interleave(4))


def test_a_soft_surface_is_moved_into_the_silhouettes():
    from toy import RADIUS, ball_photos

    from uner3d.cloud.surface import enter_hull, raster_rays
    from uner3d.train.hull import Silhouettes

    photos = ball_photos(7)
    height, width = photos.size
    origins, directions = raster_rays(photos.K[0], photos.cam_from_unit[0], height, width)
    # Exact depths of the ball, then a surface that begins three pixels too early, as a soft density does.
    b, c = (origins * directions).sum(-1), origins.square().sum(-1) - RADIUS**2
    a = directions.square().sum(-1)
    inside = b * b - a * c > 0
    exact = torch.where(inside, (-b - (b * b - a * c).clamp_min(0).sqrt()) / a, torch.zeros_like(b))
    focal = float(photos.K[0, 0, 0])
    moved = enter_hull(Silhouettes(photos), origins, directions, exact * (1 - 3 / focal), focal)
    assert (moved >= exact * (1 - 3 / focal) - 1e-5).logical_or(moved == 0).all()
    kept = moved > 0
    before, after = 3 * exact[kept] / focal, (moved - exact)[kept].abs()
    assert kept[inside].float().mean() > 0.9 and float(after.mean()) < 0.6 * float(before.mean())
    assert (moved[~inside] == 0).all()


def test_what_is_painted_onto_the_wall_of_the_box_is_no_surface():
    grid = ball_grid()
    origins, directions = torch.tensor([[0.0, 0.1, -3.0]]).repeat(4, 1), torch.tensor([[0.0, 0.0, 2.0]]).repeat(4, 1)
    depth = torch.tensor([1.0, 1.0 + 0.9 / 48, 1.0 + 3.0 / 48, 0.0])  # in multiples of the direction; a cell is 2 / 48
    assert behind_wall(grid, origins, directions, depth).tolist() == [0.0, 0.0, depth[2].item(), 0.0]
    inside = behind_wall(grid, torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.5]))
    assert inside.tolist() == [0.5]  # a camera in the box has no wall before it
