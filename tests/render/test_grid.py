"""The density grid: lookup, update, carving, bounds."""

import pytest
import torch

from uner3d.render.grid import DensityGrid

EXTENT = torch.tensor([1.0, 0.5, 0.25])


def centre(grid: DensityGrid, i: int, j: int, k: int) -> torch.Tensor:
    return ((torch.tensor([[i, j, k]]) + 0.5) / grid.n * 2 - 1) * grid.extent


def test_cells_follow_the_axes():
    grid = DensityGrid(4, EXTENT)
    assert [int(grid.cells(centre(grid, *ijk))[0]) for ijk in ((0, 0, 0), (1, 2, 3), (3, 3, 3))] == [0, 27, 63]
    assert int(grid.cells(torch.tensor([[9.0, 9.0, 9.0]]))[0]) == 63
    assert int(grid.cells(torch.tensor([[-9.0, -9.0, -9.0]]))[0]) == 0


def test_update_rises_at_once_and_decays_slowly():
    grid = DensityGrid(4, EXTENT)
    x = centre(grid, 1, 2, 3)
    grid.update(x, torch.tensor([10.0]))
    assert float(grid.lookup(x)) == 10
    grid.update(x, torch.tensor([0.0]), rate=0.3)
    assert float(grid.lookup(x)) == pytest.approx(7.0)
    assert float(grid.lookup(centre(grid, 0, 0, 0))) == 1


def test_the_densest_sample_of_a_cell_counts():
    grid = DensityGrid(4, EXTENT)
    x = centre(grid, 2, 2, 2)
    grid.update(x.expand(3, 3), torch.tensor([2.0, 9.0, 4.0]))
    assert float(grid.lookup(x)) == 9


def test_points_outside_the_box_teach_it_nothing():
    grid = DensityGrid(4, EXTENT)
    before = grid.values.clone()
    grid.update(torch.tensor([[1.5, 0.0, 0.0], [0.0, -0.6, 0.0], [0.0, 0.0, 40.0]]), torch.tensor([500.0, 500.0, 0.0]))
    assert torch.equal(grid.values, before)


def test_carved_cells_stay_empty():
    allowed = torch.ones(4, 4, 4, dtype=torch.bool)
    allowed[1, 2, 3] = False
    grid = DensityGrid(4, EXTENT, allowed)
    x = centre(grid, 1, 2, 3)
    grid.update(x, torch.tensor([10.0]))
    assert float(grid.lookup(x)) == 0
    assert float(grid.lookup(centre(grid, 1, 2, 2))) == 1


def test_tighten_keeps_what_matters_and_a_margin():
    grid = DensityGrid(16, EXTENT)
    grid.values.zero_()
    grid.values[grid.cells(centre(grid, 6, 7, 8))] = 20.0
    grid.tighten(margin=2)
    cell = 2 * EXTENT / 16
    torch.testing.assert_close(grid.bounds[0], torch.tensor([4, 5, 6]) * cell - EXTENT)
    torch.testing.assert_close(grid.bounds[1], torch.tensor([9, 10, 11]) * cell - EXTENT)
    grid.values.zero_()
    grid.tighten()
    torch.testing.assert_close(grid.bounds, torch.stack([-EXTENT, EXTENT]))
