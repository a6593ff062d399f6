"""Thinning against brute force: order, distances, duplicates, far origins, memory, and bad input."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d.ops import PoissonThinner, voxel_thin


def brute_force(points: torch.Tensor, radius: float, origin=(0.0, 0.0, 0.0)) -> torch.Tensor:
    """The definition, on the positions as they are kept: float32 relative to the origin."""
    rounded = (points.numpy().astype(np.float64) - np.array(origin)).astype(np.float32).astype(np.float64)
    kept: list[np.ndarray] = []
    keep = []
    for p in rounded:
        free = not kept or ((np.stack(kept) - p) ** 2).sum(1).min() >= radius * radius
        keep.append(free)
        if free:
            kept.append(p)
    return torch.tensor(keep, dtype=torch.bool)


def best_per_voxel(points: torch.Tensor, scores: torch.Tensor, voxel: float) -> list[int]:
    best: dict[tuple, int] = {}
    for i, p in enumerate(points.double().tolist()):
        cell = tuple(np.floor(np.array(p) / voxel).astype(int))
        if cell not in best or scores[i] > scores[best[cell]]:
            best[cell] = i
    return sorted(best.values())


def cloud(n=1500, scale=1.0, dtype=torch.float64, seed=0):
    return scale * torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.01, 0.1, 0.3, 2.0])
def test_agrees_with_brute_force_on_every_instruction_set(isa, radius, dtype):
    points = cloud(dtype=dtype) - 0.5
    thinner = PoissonThinner(radius)
    assert torch.equal(thinner.insert(points), brute_force(points, radius))
    assert thinner.count == len(thinner) == int(brute_force(points, radius).sum())


def test_distances_on_a_lattice_are_decided_exactly(isa):
    # Neighbours lie exactly at the radius, which keeps them, and cells' borders fall on points.
    axis = torch.arange(-4.0, 4.0)
    lattice = torch.cartesian_prod(axis, axis, axis)
    assert PoissonThinner(1.0).insert(lattice).all()
    assert torch.equal(PoissonThinner(1.001).insert(lattice), brute_force(lattice, 1.001))
    assert torch.equal(PoissonThinner(2.0).insert(lattice), brute_force(lattice, 2.0))


def test_the_stream_may_be_cut_anywhere():
    points = cloud()
    whole = PoissonThinner(0.08).insert(points)
    pieces = PoissonThinner(0.08)
    cut = [pieces.insert(part) for part in points.split([1, 0, 7, 8, 500, 984])]
    assert torch.equal(torch.cat(cut), whole)


def test_a_second_offer_of_the_same_points_is_refused():
    thinner, points = PoissonThinner(0.05), cloud()
    first = thinner.insert(points)
    assert first.any() and not thinner.insert(points).any()
    assert thinner.count == int(first.sum())


def test_duplicates_keep_the_first_only():
    points = torch.ones(100, 3)
    assert PoissonThinner(1e-3).insert(points).tolist() == [True] + [False] * 99


@pytest.mark.parametrize("place", [1e6, 4e8])
def test_far_from_the_origin_of_the_world(place):
    origin = torch.tensor([place, -place, place / 3], dtype=torch.float64)
    points = cloud() + origin
    keep = PoissonThinner(0.1, origin=origin).insert(points)
    assert torch.equal(keep, brute_force(points, 0.1, origin.numpy()))
    kept = points[keep]
    assert torch.pdist(kept).min() >= 0.1 * (1 - 1e-5)


def test_many_points_stay_apart_cover_all_and_cost_little_memory():
    points = cloud(150_000)
    points[:, 2] = 0.1 * torch.sin(9 * points[:, 0])
    thinner = PoissonThinner(0.003)
    keep = thinner.insert(points)
    from scipy.spatial import cKDTree

    tree = cKDTree(points[keep].numpy())
    assert tree.query(points[keep].numpy(), k=2)[0][:, 1].min() >= 0.003 * (1 - 1e-5)
    assert tree.query(points.numpy())[0].max() < 0.003 * (1 + 1e-5)
    assert thinner.count > 50_000 and thinner.nbytes <= 32 * thinner.count


def test_the_capacity_hint_is_room_not_a_limit():
    points = cloud(5000)
    roomy, tight = PoissonThinner(0.02, capacity_hint=20_000), PoissonThinner(0.02, capacity_hint=10)
    before = roomy.nbytes
    assert torch.equal(roomy.insert(points), tight.insert(points))
    assert roomy.nbytes == before > tight.nbytes


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(-6, 6)] * 3), max_size=60),
    radius=st.sampled_from([0.3, 1.0, 1.5, 2.0, 5.0]),
    jitter=st.sampled_from([0.0, 1e-7, 0.1]),
)
def test_any_small_cloud_agrees_with_brute_force(rows, radius, jitter):
    points = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
    points = points + jitter * cloud(len(points))
    assert torch.equal(PoissonThinner(radius).insert(points), brute_force(points, radius))


def test_non_contiguous_points():
    points = cloud(300, dtype=torch.float32)
    spread = torch.cat([points, points + 5], 1)[:, :3]
    assert not spread.is_contiguous()
    assert torch.equal(PoissonThinner(0.1).insert(spread), PoissonThinner(0.1).insert(points))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e12])
def test_a_bad_row_is_named_and_nothing_is_inserted(bad):
    thinner, points = PoissonThinner(0.1), cloud(50)
    points[31, 1] = bad
    with pytest.raises(ValueError, match="in row 31"):
        thinner.insert(points)
    assert thinner.count == 0


@pytest.mark.parametrize("make, error, says", [
    (lambda: PoissonThinner(0.0), ValueError, "radius: expected a finite number above 0, got 0.0"),
    (lambda: PoissonThinner(float("nan")), ValueError, "radius: expected a finite number above 0, got nan"),
    (lambda: PoissonThinner(1.0, -1), ValueError, "capacity_hint: expected a number of points"),
    (lambda: PoissonThinner(1.0, origin=torch.zeros(2)), ValueError, "origin: expected shape (3,), got (2,)"),
    (lambda: PoissonThinner(1.0).insert(torch.zeros(3)), ValueError, "points: expected shape (any, 3), got (3,)"),
    (lambda: PoissonThinner(1.0).insert(torch.zeros(1, 3).int()), TypeError, "points: expected dtype torch.float32"),
    (lambda: PoissonThinner(1.0).insert(torch.zeros(1, 3, device="meta")), ValueError, "points: expected a CPU tensor"),
    (lambda: voxel_thin(torch.zeros(2, 3), torch.zeros(3), 1.0), ValueError, "scores: expected shape (N,) with N = 2"),
    (lambda: voxel_thin(torch.zeros(2, 3), torch.zeros(2), -1.0), ValueError, "voxel: expected a finite number above"),
    (lambda: voxel_thin(torch.full((2, 3), torch.nan), torch.zeros(2), 1.0), ValueError, "in row 0"),
    (lambda: voxel_thin(torch.zeros(2, 3), torch.tensor([0, torch.nan]), 1.0), ValueError, "got nan in row 1"),
])  # fmt: skip
def test_bad_arguments_are_named(make, error, says):
    with pytest.raises(error, match=re.escape(says)):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("voxel", [0.05, 0.2, 3.0])
def test_voxel_thin_agrees_with_brute_force(isa, voxel, dtype):
    points = cloud(dtype=dtype) - 0.5
    scores = torch.randint(0, 4, (len(points),), generator=torch.Generator().manual_seed(1))  # with many ties
    got = voxel_thin(points, scores, voxel)
    assert got.dtype == torch.int64 and got.tolist() == best_per_voxel(points, scores, voxel)


def test_voxel_thin_of_few_points():
    assert voxel_thin(torch.zeros(0, 3), torch.zeros(0), 1.0).shape == (0,)
    assert voxel_thin(torch.zeros(4, 3), torch.zeros(4), 1.0).tolist() == [0]
    low = torch.tensor([float("-inf"), -3.0])
    assert voxel_thin(torch.tensor([[-0.1, 0, 0], [0.1, 0, 0]]), low, 1.0).tolist() == [0, 1]
    assert voxel_thin(torch.tensor([[0.2, 0, 0], [0.1, 0, 0]]), low, 1.0).tolist() == [1]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(-9, 9)] * 3, st.integers(0, 3)), max_size=80),
    voxel=st.sampled_from([0.7, 1.0, 4.0]),
    shift=st.sampled_from([0.0, 1e6, -3e9]),
)
def test_voxel_thin_of_any_cloud_agrees_with_brute_force(rows, voxel, shift):
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    points = table[:, :3] + shift
    assert voxel_thin(points, table[:, 3], voxel).tolist() == best_per_voxel(points, table[:, 3], voxel)
