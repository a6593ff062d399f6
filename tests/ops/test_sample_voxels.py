"""Trilinear interpolation in a lattice: values, gradients, walls, limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

EXTENT = (1.0, 0.7, 1.3)


def inputs(n=9, n_points=3000, dtype=torch.float64, seed=0):
    """values, points (a third of them outside, some on walls, corners and lattice points), extent."""
    g = torch.Generator().manual_seed(seed)
    extent = torch.tensor(EXTENT, dtype=dtype)
    points = (2.4 * torch.rand(n_points, 3, generator=g, dtype=dtype) - 1.2) * extent
    points[:8] = extent * torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    points[8:9] = 0
    return torch.randn(n, n, n, generator=g, dtype=dtype), points, extent


def with_gradient(function, values, points, extent):
    values = values.clone().requires_grad_()
    out = function(values, points, extent)
    (grad,) = torch.autograd.grad((out * torch.linspace(-1, 2, len(out), dtype=out.dtype)).sum(), values)
    return out.detach(), grad


@pytest.mark.parametrize("n", [2, 3, 9, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_the_twin(isa, dtype, n):
    arguments = inputs(n, dtype=dtype)
    for got, want in zip(with_gradient(ops.sample_voxels, *arguments),
                         with_gradient(reference.sample_voxels, *arguments), strict=True):  # fmt: skip
        torch.testing.assert_close(got, want, rtol=2e-5 if dtype == torch.float32 else 1e-12,
                                   atol=2e-5 if dtype == torch.float32 else 1e-12)  # fmt: skip
        assert got.any()


def test_inside_it_is_torchs_own_interpolation():
    values, points, extent = inputs()
    points = points[(points.abs() <= extent).all(1)]
    want = F.grid_sample(values[None, None], (points / extent).flip(1).view(1, 1, 1, -1, 3), align_corners=True)
    torch.testing.assert_close(ops.sample_voxels(values, points, extent), want.view(-1), rtol=1e-12, atol=1e-12)


def test_outside_there_is_nothing(isa):
    values, extent = torch.ones(3, 3, 3), torch.tensor(EXTENT)
    beyond = torch.nextafter(extent, torch.full((3,), 9.0))
    points = torch.cat([torch.diag(beyond), -torch.diag(beyond), torch.tensor([
        [math.nan, 0, 0], [0, math.inf, 0], [0, 0, -math.inf], [1e30, 0, 0]])])  # fmt: skip
    values.requires_grad_()
    out = ops.sample_voxels(values, points, extent)
    out.sum().backward()
    assert not out.any() and not values.grad.any()
    assert (ops.sample_voxels(values, torch.diag(extent), extent) == 1).all()
    broken = torch.full((3, 3, 3), math.nan)
    assert not ops.sample_voxels(broken, points, extent).any()
    assert not reference.sample_voxels(broken, points, extent).any()


@given(st.integers(2, 12), st.integers(0, 60), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_values_lie_between_those_of_the_lattice_and_weights_add_up_to_one(n, n_points, seed):
    values, points, extent = inputs(n, max(n_points, 9), torch.float32, seed)
    values.requires_grad_()
    out = ops.sample_voxels(values, points, extent)
    inside = (points.abs() <= extent).all(1)
    assert not out[~inside].any()
    assert (out[inside] >= values.min() - 1e-5).all() and (out[inside] <= values.max() + 1e-5).all()
    out.sum().backward()
    torch.testing.assert_close(values.grad.sum(), inside.sum().float(), rtol=1e-4, atol=1e-4)


def test_same_bytes_with_any_number_of_threads(threads):
    values, points, extent = inputs(40, 60_000, torch.float32)
    points[1000:] *= 0.05  # many in a few voxels
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append([t.numpy().tobytes() for t in with_gradient(ops.sample_voxels, values, points, extent)])
    assert results[0] == results[1] == results[2] == results[3]


def test_gradients_and_registration():
    values, points, extent = inputs(3, 40)
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: ops.sample_voxels(v, points, extent), values)
    torch.library.opcheck(torch.ops.uner3d.sample_voxels.default, (values, points, extent))
    grad = torch.rand(len(points), dtype=torch.float64)
    torch.library.opcheck(torch.ops.uner3d.sample_voxels_backward.default, (grad, values.detach(), points, extent))
    points.requires_grad_()
    assert torch.autograd.grad(ops.sample_voxels(values, points, extent).sum(), points, allow_unused=True) == (None,)


def test_any_layout_and_no_points():
    values, points, extent = inputs(5, 200)
    want = with_gradient(ops.sample_voxels, values, points, extent)
    apart = (values.transpose(0, 2).contiguous().transpose(0, 2), points.repeat(1, 2)[:, :3], extent)
    assert not apart[0].is_contiguous() and not apart[1].is_contiguous()
    for got, expected in zip(with_gradient(ops.sample_voxels, *apart), want, strict=True):
        assert torch.equal(got, expected)
    out, grad = with_gradient(ops.sample_voxels, values, points[:0], extent)
    assert out.shape == (0,) and not grad.any()


@pytest.mark.parametrize(("change", "message"), [
    ({"values": torch.zeros(1, 1, 1)}, "values: expected 2 to 1290 along an axis, got 1"),
    ({"values": torch.zeros(3, 3, 4)}, "values"),
    ({"points": torch.zeros(5, 2)}, "points"),
    ({"points": torch.zeros(5, 3, dtype=torch.float64)}, "points"),
    ({"extent": torch.ones(2)}, "extent"),
])  # fmt: skip
def test_wrong_arguments_are_named(change, message):
    arguments = {"values": torch.zeros(3, 3, 3), "points": torch.zeros(5, 3), "extent": torch.ones(3)} | change
    with pytest.raises((TypeError, ValueError), match=message):
        ops.sample_voxels(**arguments)
