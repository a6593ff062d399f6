"""Queries that lie close together are searched for together: the same bits as one by one."""

import pytest
import torch
from test_knn import CLOUDS, cloud

from uner3d.ops import knn
from uner3d.ops import reference as ref


def runs_of_queries(kind: str, points: torch.Tensor) -> torch.Tensor:
    """Queries that are as dense as the points, so that they are searched for together, and gaps between some."""
    scale = (points - points.mean(0)).abs().mean()
    near = points + 0.02 * scale * cloud("normal", len(points), 7)
    return torch.cat([near, points[:700], cloud(kind, 300, 8), cloud("normal", 9, 9) * 1e4])


@pytest.mark.parametrize("kind", CLOUDS)
def test_queries_close_together_equal_brute_force_bit_by_bit(isa, kind):
    points = cloud(kind, 1500)
    queries = runs_of_queries(kind, points)
    scale = float((points - points.mean(0)).norm(dim=1).mean())
    for k, max_radius in ((1, None), (3, 0.1 * scale), (8, None), (8, 0.02 * scale), (8, 0.3 * scale), (16, None)):
        dist2, idx = knn(points, queries, k, max_radius)
        expected_dist2, expected_idx = ref.knn(points, queries, k, max_radius)
        assert torch.equal(dist2, expected_dist2) and torch.equal(idx, expected_idx), (k, max_radius)


@pytest.mark.parametrize("scale", [1e-19, 1e15, 3e18])
def test_close_queries_at_the_ends_of_the_number_range(isa, scale):
    """Squares that are denormal, large or infinite: in what order they come does not change."""
    points = cloud("normal", 1500) * scale
    queries = runs_of_queries("normal", points / scale)[:2500] * scale
    dist2, idx = knn(points, queries, 8)
    expected_dist2, expected_idx = ref.knn(points, queries, 8)
    assert torch.equal(dist2, expected_dist2) and torch.equal(idx, expected_idx)


def test_flushed_denormals_leave_the_order_of_ties(isa):
    points = cloud("two_places", 1500)
    before = knn(points, points, 8)
    torch.set_flush_denormal(True)
    try:
        after = knn(points, points, 8)
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
