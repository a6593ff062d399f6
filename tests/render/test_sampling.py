"""Where rays are sampled: order, range, concentration, the space beyond the box."""

import pytest
import torch
import torch.nn.functional as F

from uner3d.render.grid import DensityGrid
from uner3d.render.sampling import importance_edges, outside_edges, ray_box

EXTENT = torch.tensor([1.0, 0.8, 0.6])


def rays(n: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """From a sphere around the box towards its inside; directions of any length."""
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * F.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    target = (torch.rand(n, 3, generator=generator) - 0.5) * EXTENT
    return origins, (target - origins) * (0.2 + torch.rand(n, 1, generator=generator))


def slab_grid(x_low: float, x_high: float, density: float = 50.0) -> DensityGrid:
    """Dense between two values of x, empty elsewhere."""
    grid = DensityGrid(32, EXTENT)
    axis = (torch.arange(32) + 0.5) / 16 - 1
    dense = (axis > x_low) & (axis < x_high)
    grid.values = (density * dense.float())[:, None, None].expand(32, 32, 32).reshape(-1).clone()
    return grid


def edges_of(grid, origins, directions, generator=None, n=24, uniform=0.3):
    t0, t1 = ray_box(origins, directions, grid.bounds)
    return importance_edges(grid, origins, directions, t0, t1, n, generator, uniform), t0, t1


@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("kind", ["full", "slab", "empty", "random"])
def test_edges_rise_within_the_box(jitter, kind):
    grid = DensityGrid(32, EXTENT) if kind == "full" else slab_grid(-0.1, 0.1)
    if kind == "empty":
        grid.values.zero_()
    if kind == "random":
        grid.values = torch.rand(32**3, generator=torch.Generator().manual_seed(3)).pow(8) * 300
    origins, directions = rays()
    edges, t0, t1 = edges_of(grid, origins, directions, torch.Generator().manual_seed(1) if jitter else None)
    assert edges.shape == (64, 25) and edges.isfinite().all()
    assert (edges.diff(dim=-1) >= -1e-6).all()
    assert (edges >= t0[:, None] - 1e-5).all() and (edges <= t1[:, None] + 1e-5).all()


def test_samples_gather_where_the_grid_is_dense():
    grid = slab_grid(-0.1, 0.1)
    grid.values += 1e-4  # thin, but not carved
    origins = torch.tensor([[-3.0, 0.1, 0.05]])
    edges, _, _ = edges_of(grid, origins, torch.tensor([[1.0, 0.0, 0.0]]))
    middles = (edges[:, 1:] + edges[:, :-1]) / 2 - 3
    near = ((middles > -0.2) & (middles < 0.1)).float().mean()
    assert near > 0.55  # an even spread would put 15 % there
    assert (middles < -0.3).any()  # some are spread, so that an unseen surface can be found


def test_an_empty_ray_is_sampled_evenly():
    grid = slab_grid(-0.1, 0.1)
    grid.values = torch.full_like(grid.values, 1e-4)
    origins, directions = rays()
    edges, t0, t1 = edges_of(grid, origins, directions, uniform=0.1)
    even = t0[:, None] + (t1 - t0)[:, None] * torch.linspace(0, 1, 25)
    assert ((edges - even).abs() / (t1 - t0)[:, None]).max() < 0.02


def test_carved_cells_get_no_samples():
    grid = slab_grid(-0.1, 0.1, 0.01)
    edges, _, _ = edges_of(grid, torch.tensor([[-3.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    x = edges[0] - 3
    assert (x[1:-1] > -0.15).all() and (x[1:-1] < 0.15).all()


def test_length_of_the_direction_does_not_matter():
    grid = slab_grid(-0.2, 0.3, 4.0)
    origins, directions = rays()
    long, _, _ = edges_of(grid, origins, directions)
    short, _, _ = edges_of(grid, origins, directions / 5)
    torch.testing.assert_close(short / 5, long, rtol=1e-3, atol=1e-4)


def test_jitter_moves_edges_and_repeats_with_its_seed():
    grid = slab_grid(-0.1, 0.1)
    origins, directions = rays()
    a, b, still = (edges_of(grid, origins, directions, g)[0] for g in
                   (torch.Generator().manual_seed(7), torch.Generator().manual_seed(7), None))  # fmt: skip
    assert torch.equal(a, b)
    assert (a - still).abs().max() > 1e-3


def test_rays_that_miss_give_finite_edges():
    grid = slab_grid(-0.1, 0.1)
    origins, directions = torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    t0, t1 = ray_box(origins, directions, grid.bounds)
    assert t1 <= t0
    edges = importance_edges(grid, origins, directions, t0, torch.maximum(t1, t0 + 1e-6), 8, None, 0.3)
    assert edges.isfinite().all() and (edges.diff(dim=-1) >= 0).all()


def test_ray_box_on_a_known_ray():
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    t0, t1 = ray_box(torch.tensor([[0.0, 0, -3], [0, 0, 0]]), torch.tensor([[0.0, 0, 2], [0, 0, 2]]), box)
    torch.testing.assert_close(t0, torch.tensor([1.0, 1e-3]))
    torch.testing.assert_close(t1, torch.tensor([2.0, 0.5]))


@pytest.mark.parametrize("jitter", [False, True])
def test_outside_edges_start_at_the_box_and_reach_far(jitter):
    t1 = torch.tensor([0.0, 0.5, 4.0, 30.0])
    generator = torch.Generator().manual_seed(0) if jitter else None
    grid = DensityGrid(8, torch.ones(3), outside=True)
    origins, directions = torch.zeros(4, 3), torch.tensor([[0.0, 0.0, 1.0]]).expand(4, 3)
    edges = outside_edges(grid, origins, directions, t1, 12, generator, 1.0)
    assert edges.shape == (4, 13)
    assert (edges.diff(dim=-1) > 0).all()
    start = t1.clamp_min(1e-3)
    assert (edges[:, 0] >= start - 1e-6).all() and (edges[:, -1] <= start + 200.1).all()
    if not jitter:
        torch.testing.assert_close(edges[:, 0], start)
        torch.testing.assert_close(edges[:, -1], start + 200, rtol=1e-4, atol=1e-3)
