import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference
from uner3d.ops.reference.density_grid import contract

EXTENT = (1.0, 0.7, 1.3)


def sample_inputs(n=12, n_points=9000, carved=True, contracted=False, dtype=torch.float64, seed=0):
    """values, points, sigma, extent, allowed; a third of the points lie outside, many share a cell."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    extent = torch.tensor([2.0, 2.0, 2.0] if contracted else EXTENT, dtype=torch.float64)
    points = (2.6 * random(n_points, 3) - 1.3) * extent
    points[n_points // 2 :] *= 0.2
    if contracted:
        points[::3] *= 50
    allowed = random(n, n, n) > 0.3 if carved else None
    values = 20 * random(n, n, n) * (1 if allowed is None else allowed)
    sigma = 30 * random(n_points) * (random(n_points) > 0.3)
    return values.to(dtype), points.to(dtype), sigma.to(dtype), extent.to(dtype), allowed


def updated(function, values, *args, **kwargs):
    values = values.clone()
    assert function(values, *args, **kwargs) is None
    return values


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("carved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_update_matches_the_twin(isa, dtype, carved, contracted):
    values, points, sigma, extent, allowed = sample_inputs(carved=carved, contracted=contracted)
    cells = (contract(points) if contracted else points) / extent
    within = ((12 * (cells + 1) / 2).round() - 12 * (cells + 1) / 2).abs().amin(-1) > 1e-4  # of a cell, of the box
    args = [t.to(dtype) for t in (values, points[within], sigma[within], extent)]
    args[2].requires_grad_()  # and no gradient is kept
    got = updated(ops.grid_update, *args, allowed, 0.25, contracted)
    want = updated(reference.grid_update, *args, allowed, 0.25, contracted)
    assert not got.requires_grad and not want.requires_grad
    assert ((got != args[0]).sum() > 100) and (got == args[0]).any()
    torch.testing.assert_close(got, want, rtol=3e-7 if dtype == torch.float32 else 1e-14, atol=1e-14)
    assert allowed is None or not got[~allowed].any()


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_match_the_twin(isa, dtype, contracted):
    extent = torch.tensor(EXTENT, dtype=dtype)
    points = 3 * torch.rand(4, 500, 3, generator=torch.Generator().manual_seed(0), dtype=dtype) - 1.5
    got, want = (f(points, extent, 37, contracted) for f in (ops.grid_cells, reference.grid_cells))
    assert got.shape == (4, 500) and got.dtype == torch.int64
    assert (got != want).sum() <= 2  # one rounding may put a point on the other side of a wall


@pytest.mark.parametrize("x", [math.inf, -math.inf, math.nan, 1e30, -1e30])
def test_cells_of_any_number_lie_in_the_grid(isa, x):
    cells = ops.grid_cells(torch.full((40, 3), x), torch.ones(3), 5)
    assert cells.unique().tolist() == [124 if x > 0 else 0]


def test_every_cell_is_found_once():
    n = 7
    at = (torch.arange(n) + 0.5) / n * 2 - 1
    points = torch.stack(torch.meshgrid(at, at, at, indexing="ij"), -1) * torch.tensor(EXTENT)
    assert torch.equal(ops.grid_cells(points, torch.tensor(EXTENT), n), torch.arange(n**3).view(n, n, n))


def test_scratch_is_left_as_it_came():
    values, points, sigma, extent, allowed = sample_inputs()
    seen = torch.full_like(values, -1.0)
    got = updated(ops.grid_update, values, points, sigma, extent, allowed, seen=seen)
    assert (seen == -1).all()
    assert torch.equal(got, updated(ops.grid_update, values, points, sigma, extent, allowed))


def test_what_is_passed_over_changes_nothing():
    values = torch.rand(4, 4, 4)
    points = torch.tensor([[1.5, 0, 0], [0.1, 0.1, 0.1], [math.nan, 0, 0]])
    sigma = torch.tensor([9.0, -1.0, 9.0])
    assert torch.equal(updated(ops.grid_update, values, points, sigma, torch.ones(3)), values)


def test_a_density_that_is_no_number_shows():
    for order in ([5.0, math.nan], [math.nan, 5.0]):
        got = updated(ops.grid_update, torch.ones(1, 1, 1), torch.zeros(2, 3), torch.tensor(order), torch.ones(3))
        assert got.isnan().all()


def test_the_order_of_points_does_not_matter():
    values, points, sigma, extent, allowed = sample_inputs(n_points=30_000, dtype=torch.float32)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    got = updated(ops.grid_update, values, points, sigma, extent, allowed)
    assert torch.equal(got, updated(ops.grid_update, values, points[order], sigma[order], extent, allowed))


def test_same_bytes_with_any_number_of_threads(threads):
    values, points, sigma, extent, allowed = sample_inputs(n=24, n_points=50_000, dtype=torch.float32)
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        got = updated(ops.grid_update, values, points, sigma, extent, allowed)
        results.append((got.numpy().tobytes(), ops.grid_cells(points, extent, 24).numpy().tobytes()))
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("carved", [False, True])
def test_opcheck(carved):
    values, points, sigma, extent, allowed = sample_inputs(n=4, n_points=50, carved=carved)
    seen = torch.full_like(values, -1.0)
    args = (values, seen, points, sigma, extent, allowed, 0.3, False)
    torch.library.opcheck(torch.ops.uner3d.grid_update.default, args)
    torch.library.opcheck(torch.ops.uner3d.grid_cells.default, (points, extent, 4, True))


def test_empty():
    values = torch.rand(3, 3, 3)
    empty = (torch.zeros(0, 3), torch.zeros(0), torch.ones(3))
    assert torch.equal(updated(ops.grid_update, values, *empty), values)
    assert ops.grid_cells(torch.zeros(2, 0, 3), torch.ones(3), 3).shape == (2, 0)
    assert ops.grid_cells(torch.zeros(3), torch.ones(3), 3).shape == ()


def test_non_contiguous_inputs():
    values, points, sigma, extent, allowed = sample_inputs()
    loose = [torch.stack([t, t], -1)[..., 0] for t in (points, sigma, extent, allowed)]
    assert not loose[0].is_contiguous()
    got = updated(ops.grid_update, values, *loose)
    assert torch.equal(got, updated(ops.grid_update, values, points, sigma, extent, allowed))
    assert torch.equal(ops.grid_cells(loose[0], loose[2], 12), ops.grid_cells(points, extent, 12))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(values=torch.zeros(4, 4, 5)), ValueError, r"values: expected shape \(n, n, n\) with n = 4, got"),
        (dict(values=torch.zeros(0, 0, 0)), ValueError, "values: expected 1 to 1290 cells along an axis, got 0"),
        (dict(values=torch.zeros(4, 4, 8)[..., ::2]), ValueError, "values: expected a contiguous tensor"),
        (dict(points=torch.zeros(5, 2)), ValueError, r"points: expected shape \(N, 3\)"),
        (dict(points=torch.zeros(5, 3).double()), TypeError, "points: expected dtype torch.float32"),
        (dict(sigma=torch.zeros(4)), ValueError, r"sigma: expected shape \(N,\) with N = 5"),
        (dict(extent=torch.zeros(2)), ValueError, r"extent: expected shape \(3,\)"),
        (dict(allowed=torch.zeros(4, 4, 4)), TypeError, "allowed: expected dtype torch.bool"),
        (dict(seen=torch.zeros(4, 4, 3)), ValueError, r"seen: expected shape \(n, n, n\) with n = 4"),
        (dict(seen=torch.zeros(4, 4, 8)[..., ::2]), ValueError, "seen: expected a contiguous tensor"),
        (dict(rate=1.5), ValueError, "rate: expected a value from 0.0 to 1.0, got 1.5"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    good = dict(values=torch.zeros(4, 4, 4), points=torch.zeros(5, 3), sigma=torch.zeros(5), extent=torch.ones(3))
    with pytest.raises(error, match=message):
        ops.grid_update(**(good | change))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((None, torch.ones(3), 4), TypeError, "points: expected a tensor"),
        ((torch.zeros(()), torch.ones(3), 4), ValueError, r"points: expected shape \(N, 3\)"),
        ((torch.zeros(5, 4), torch.ones(3), 4), ValueError, r"points: expected shape \(5, 3\), got \(5, 4\)"),
        ((torch.zeros(5, 3), torch.ones(3), 1291), ValueError, "n: expected 1 to 1290 cells along an axis, got 1291"),
    ],
)
def test_bad_arguments_of_cells_are_named(args, error, message):
    with pytest.raises(error, match=message):
        ops.grid_cells(*args)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9), n_points=st.integers(0, 60), carved=st.booleans(), contracted=st.booleans(),
    rate=st.floats(0, 1), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_grid(n, n_points, carved, contracted, rate, seed):
    values, points, sigma, extent, allowed = sample_inputs(n, n_points, carved, contracted, seed=seed)
    got = updated(ops.grid_update, values, points, sigma, extent, allowed, rate, contracted)
    want = updated(reference.grid_update, values, points, sigma, extent, allowed, rate, contracted)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)
    assert (got >= 0).all() and (got <= max(50.0, float(values.max()))).all()
