"""The density grid of a field that is as it is."""

import torch
from toy import RADIUS, BallField

from uner3d.render.fill import fill_grid
from uner3d.render.grid import DensityGrid

CENTRE = torch.tensor([0.0, 0.0, -3.0])


def ball_grid(n: int = 16, allowed: torch.Tensor | None = None, extent=(1.0, 1.0, 1.0), **fill) -> DensityGrid:
    grid = DensityGrid(n, torch.tensor(extent), allowed)
    fill_grid(grid, BallField(), [(None, CENTRE)], 3.0, **fill)
    return grid


def distances(grid: DensityGrid) -> torch.Tensor:
    axes = [((torch.arange(grid.n) + 0.5) * 2 / grid.n - 1) * float(half) for half in grid.extent]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).norm(dim=-1)


def test_cells_of_the_ball_are_dense_and_far_ones_empty():
    for extent in ((1.0, 1.0, 1.0), (1.0, 0.8, 0.9)):
        grid = ball_grid(extent=extent)
        d = distances(grid)
        assert (grid.cube[d < RADIUS] == 200).all()
        assert (grid.cube[d > RADIUS + 2 * 1.8 * 2 / 16] == 0).all()


def test_the_bounds_close_around_it():
    grid = ball_grid(32)
    assert (grid.bounds[1] < 0.95).all() and (grid.bounds[1] > RADIUS).all()
    torch.testing.assert_close(grid.bounds[0], -grid.bounds[1])


def test_carved_cells_stay_empty_and_are_not_asked():
    allowed = torch.zeros(16, 16, 16, dtype=torch.bool)
    allowed[8:] = True
    asked = []

    class Watched(BallField):
        def density(self, x, rays, sources, window):
            asked.append(x)
            return super().density(x, rays, sources, window)

    grid = DensityGrid(16, torch.ones(3), allowed)
    fill_grid(grid, Watched(), [(None, CENTRE)], 3.0)
    assert (grid.cube[:8] == 0).all() and (grid.cube[8:] > 0).any()
    assert (torch.cat(asked)[:, 0] > 0).all()


def test_the_largest_density_of_all_looks_counts():
    class Sided(BallField):
        """Seen from one side only."""

        def density(self, x, rays, sources, window):
            sigma, code = super().density(x, rays, sources, window)
            return sigma * (rays[:, 2] * sources > 0), code

    both, one = DensityGrid(16, torch.ones(3)), DensityGrid(16, torch.ones(3))
    fill_grid(both, Sided(), [(1.0, CENTRE), (-1.0, -CENTRE)], 3.0)
    fill_grid(one, Sided(), [(-1.0, CENTRE)], 3.0)
    assert torch.equal(both.values, ball_grid().values)
    assert (one.values == 0).all()


def test_random_places_come_from_the_generator():
    first = ball_grid(8, generator=torch.Generator().manual_seed(1))
    again = ball_grid(8, generator=torch.Generator().manual_seed(1))
    other = ball_grid(8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
