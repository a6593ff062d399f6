"""knn against brute force: the same bits, whatever the instruction set, the thread count or the cloud."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d.ops import KnnIndex, knn
from uner3d.ops import reference as ref

CLOUDS = ("normal", "surface", "uneven", "lattice", "collinear", "one_place", "two_places", "far", "duplicates", "tiny")


def cloud(kind: str, n: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    if kind == "surface":
        x = x / x.norm(dim=1, keepdim=True)
    elif kind == "uneven":
        x[: 9 * n // 10] *= 1e-3
    elif kind == "lattice":  # many equal distances
        x = (x * 2).round()
    elif kind == "collinear":
        x[:, 1:] = 0
    elif kind == "one_place":
        x = torch.full_like(x, 0.3)
    elif kind == "two_places":
        x = (x[:, :1] > 0).double().expand(n, 3).clone()
    elif kind == "far":  # spacing 1 at 1e6
        x = (x * 10).round() + 1e6
    elif kind == "duplicates":
        x = x[torch.randint(max(n // 7, 1), (n,), generator=generator)] if n else x
    elif kind == "tiny":  # squares lose their digits in float32
        x = x * 1e-21
    return x.to(dtype)


def sample_inputs(dtype=torch.float32):
    """(points, queries, k, max_radius) over clouds, sizes around the width of the tree, and k up to the limit."""
    for kind in CLOUDS:
        points = cloud(kind, 1500, dtype=dtype)
        queries = torch.cat([cloud(kind, 60, 1, dtype), points[::31]])
        for k, max_radius in ((1, None), (8, None), (13, None), (64, None), (8, 0.4)):
            yield points, queries, k, max_radius
    for n in (1, 2, 15, 16, 17, 255, 256, 257, 272, 4097):
        yield cloud("normal", n, 2, dtype), cloud("normal", 20, 3, dtype), min(n, 64), None
        yield cloud("normal", n, 2, dtype), cloud("normal", 20, 3, dtype), 64, 1.0


def small_inputs(dtype=torch.float64):
    return cloud("normal", 23, 4, dtype), cloud("normal", 7, 5, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_brute_force_bit_by_bit(isa, dtype):
    for points, queries, k, max_radius in sample_inputs(dtype):
        dist2, idx = knn(points, queries, k, max_radius)
        expected_dist2, expected_idx = ref.knn(points, queries, k, max_radius)
        assert torch.equal(dist2, expected_dist2)
        assert torch.equal(idx, expected_idx)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 70), st.integers(0, 9), st.integers(1, 64), st.sampled_from(CLOUDS), st.integers(0, 10**6),
    st.sampled_from([None, 0.0, 0.5, 3.0, math.inf]), st.sampled_from([1e-15, 1.0, 1e15]),
)  # fmt: skip
def test_any_cloud(n, m, k, kind, seed, max_radius, scale):
    points, queries = cloud(kind, n, seed) * scale, cloud(kind, m, seed + 1) * scale
    dist2, idx = knn(points, queries, k, max_radius)
    expected_dist2, expected_idx = ref.knn(points, queries, k, max_radius)
    assert torch.equal(dist2, expected_dist2) and torch.equal(idx, expected_idx)
    assert dist2.shape == idx.shape == (m, k)


def test_ties_go_to_the_lower_index():
    points = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [1, 0, 0]])
    for shift in range(6):
        assert knn(points.roll(shift, 0), torch.zeros(1, 3), 3)[1].tolist() == [[0, 1, 2]]


def test_heap_of_duplicates_is_searched_quickly(threads):
    """Every box touches the query here; only the lowest index of each lets the search stop."""
    threads(1)
    points = torch.full((200_000, 3), 0.7)
    _, idx = knn(points, points[:20_000], 8)
    assert torch.equal(idx, torch.arange(8).expand(20_000, 8))


def test_thread_count_and_order_of_queries_change_nothing(isa, threads):
    points, queries = cloud("uneven", 20_000), cloud("uneven", 30_000, 1)
    results = []
    for n_threads in (1, 2, 3):
        threads(n_threads)
        p, q = points.clone().requires_grad_(), queries.clone().requires_grad_()
        index = KnnIndex(p)
        dist2, idx = knn(index, q, 5)
        (dist2 * torch.arange(5)).sum().backward()
        results.append((index.order, index.boxes, dist2.detach(), idx, p.grad, q.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    shuffle = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))
    assert torch.equal(knn(index, queries[shuffle], 5)[1], results[0][3][shuffle])


@pytest.mark.slow
def test_more_queries_than_are_sorted_together():
    points, queries = cloud("normal", 3000), cloud("normal", (1 << 20) + 77, 1)
    dist2, _ = knn(points, queries, 1)
    rows = torch.cat([torch.arange(50), torch.arange(len(queries) - 100, len(queries))])
    assert torch.equal(dist2[rows], ref.knn(points, queries[rows], 1)[0])


def test_gradients_match_the_twin_and_finite_differences(isa):
    points, queries = small_inputs()
    points, queries = points.requires_grad_(), queries.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, q: knn(p, q, 4)[0], (points, queries))
    radius = 0.8  # some rows are padded
    padded = torch.isinf(knn(points, queries, 6, radius)[0])
    assert padded.any() and not padded.all()
    grads = []
    for op in (knn, ref.knn):
        dist2 = op(points, queries, 6, radius)[0]
        weights = torch.arange(1.0, dist2.numel() + 1).reshape(dist2.shape)
        grads.append(torch.autograd.grad((torch.where(padded, 0.0, dist2) * weights).sum(), (points, queries)))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_opcheck():
    points, queries = small_inputs()
    index = KnnIndex(points.requires_grad_())
    torch.library.opcheck(torch.ops.uner3d.knn.default, (*index.tensors(), queries.requires_grad_(), 3, 1.5))
    torch.library.opcheck(torch.ops.uner3d.knn_build.default, (points.detach(),))
    dist2, idx = knn(index, queries, 3)
    grad = torch.ones_like(dist2)
    torch.library.opcheck(
        torch.ops.uner3d.knn_backward.default, (grad, points.detach(), queries.detach(), idx), {}
    )  # fmt: skip


def test_empty_inputs():
    some = cloud("normal", 5)
    dist2, idx = knn(some[:0], some, 3)
    assert torch.isinf(dist2).all() and (idx == -1).all() and dist2.shape == (5, 3)
    dist2, idx = knn(some, some[:0], 3)
    assert dist2.shape == idx.shape == (0, 3)
    points, queries = some[:0].clone().requires_grad_(), some.clone().requires_grad_()
    torch.where(torch.isinf(d := knn(points, queries, 2)[0]), 0.0, d).sum().backward()
    assert points.grad.shape == (0, 3) and not queries.grad.any()


def test_non_contiguous_inputs():
    points, queries = cloud("normal", 300), cloud("normal", 40, 1)
    wide = torch.cat([points, points], 1)
    expected = knn(points, queries, 4)
    for got in (knn(wide[:, 3:], queries.t().contiguous().t(), 4), knn(wide[:, :3], queries.repeat(2, 1)[:40], 4)):
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])
    strided = wide[:, 3:].requires_grad_()
    knn(strided, queries, 1)[0].sum().backward()
    assert strided.grad.abs().sum() > 0


def test_index_tensors_may_start_anywhere(isa):
    """A tree that was stored in a larger tensor lies at any multiple of four bytes."""
    points, queries = cloud("normal", 1500), cloud("normal", 1500, 1)
    index, shifted = KnnIndex(points), KnnIndex(points)
    for name in ("leaves", "order", "boxes", "lowest"):
        value = getattr(index, name)
        setattr(shifted, name, torch.cat([value.new_zeros(1), value.flatten()])[1:].view(value.shape))
    assert all(torch.equal(a, b) for a, b in zip(knn(index, queries, 8), knn(shifted, queries, 8), strict=True))


def test_extra_memory_of_the_index():
    for dtype, most in ((torch.float32, 18), (torch.float64, 32)):
        _, *tree = KnnIndex(cloud("normal", 100_000, dtype=dtype)).tensors()
        assert sum(t.numel() * t.element_size() for t in tree) <= most * 100_000


def test_squares_that_overflow_are_no_neighbours():
    dist2, idx = knn(torch.tensor([[3e38, 0, 0], [1.0, 0, 0]]), torch.tensor([[-3e38, 0, 0], [0, 0, 0]]), 2)
    assert idx.tolist() == [[-1, -1], [1, -1]] and dist2[1, 0] == 1


def test_points_changed_in_place_are_noticed():
    points = cloud("normal", 10)
    index = KnnIndex(points)
    points += 1
    with pytest.raises(RuntimeError, match="build a new KnnIndex"):
        knn(index, points, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(index=torch.zeros(3, 2)), ValueError, r"points: expected shape \(N, 3\) with N = 3, got \(3, 2\)"),
        (dict(index=torch.zeros(3, 3, dtype=torch.int64)), TypeError, "points: expected dtype"),
        (dict(queries=torch.zeros(2, 3, dtype=torch.float64)), TypeError, "queries: expected dtype torch.float32"),
        (dict(queries=torch.zeros(3)), ValueError, "queries: expected shape"),
        (dict(queries=[[0.0, 0, 0]]), TypeError, "queries: expected a tensor"),
        (dict(k=0), ValueError, "k: expected a value from 1 to 64, got 0"),
        (dict(k=65), ValueError, "k: expected a value from 1 to 64, got 65"),
        (dict(max_radius=-1.0), ValueError, "max_radius: expected a value from 0"),
        (dict(max_radius=math.nan), ValueError, "max_radius: expected a value from 0"),
        (dict(index=torch.tensor([[0.0, 0, 0], [0, math.nan, 0]])), ValueError, r"points: .* nan.* in row 1"),
        (dict(queries=torch.tensor([[0.0, 0, 0], [0, 0, math.inf]])), ValueError, r"queries: .* inf.* in row 1"),
        (dict(queries=torch.tensor([[math.nan, 0, 0]]), check=True), ValueError, r"queries: .*nan.* in row 0"),
        (dict(index=torch.tensor([[math.nan, 0, 0]]), check=True), ValueError, r"points: .*nan.* in row 0"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        knn(**{"index": torch.zeros(3, 3), "queries": torch.zeros(2, 3), "k": 1, **arguments})
