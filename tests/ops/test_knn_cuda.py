"""KnnIndex and knn on CUDA: the bits of the CPU, and the manners of a torch op."""

import pytest
import torch

from uner3d.ops import KnnIndex, knn

from test_knn import CLOUDS, cloud, sample_inputs  # isort: skip

pytestmark = pytest.mark.gpu


def on_cuda(points, queries, k, max_radius=None):
    return [t.cpu() for t in knn(points.cuda(), queries.cuda(), k, max_radius)]


def same(ours, theirs):
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture
def fixed_order():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_equals_the_cpu_bit_by_bit():
    for points, queries, k, max_radius in sample_inputs():
        assert same(on_cuda(points, queries, k, max_radius), knn(points, queries, k, max_radius))


@pytest.mark.parametrize("k", [1, 3, 4, 8, 12, 16, 20, 32, 40, 64])
def test_every_capacity(k):
    points, queries = cloud("surface", 20_000), cloud("surface", 3000, 1)
    assert same(on_cuda(points, queries, k), knn(points, queries, k))


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("n", [4096, 4097, 33_000, 300_000])
def test_larger_than_a_block(kind, n):
    points = cloud(kind, n, 7)
    queries = torch.cat([cloud(kind, 2000, 8), points[:: n // 500]])
    for k, max_radius in ((8, None), (3, 0.1)):
        assert same(on_cuda(points, queries, k, max_radius), knn(points, queries, k, max_radius))


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-12])
def test_clusters_of_any_size(scale):
    points = cloud("normal", 50_000)
    points[:45_000] = points[:45_000] * scale + 0.25
    assert same(on_cuda(points, points[::13], 8), knn(points, points[::13], 8))


@pytest.mark.slow
def test_more_queries_than_are_sorted_together():
    points, queries = cloud("normal", 3000), cloud("normal", (1 << 22) + 77, 1)
    assert same(on_cuda(points, queries, 2), knn(points, queries, 2))


@pytest.mark.slow
def test_more_than_2_31_elements():
    """The last rows of an output of 2^31 elements; 26 GB."""
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GB of free GPU memory")
    points = cloud("normal", 2000).cuda()
    queries = cloud("normal", 1 << 16, 1).cuda().repeat((1 << 9) + 1, 1)
    dist2, idx = knn(points, queries, 64)
    assert dist2.numel() > 2**31
    assert same((dist2[-(1 << 16) :], idx[-(1 << 16) :]), (dist2[: 1 << 16], idx[: 1 << 16]))


def test_rows_that_are_not_finite():
    points, queries = cloud("normal", 5000), cloud("normal", 400, 1)
    points[3::7, 1], points[5::11, 0] = torch.nan, -torch.inf
    queries[5, 0], queries[6, 1], queries[7, 2] = torch.nan, torch.inf, -torch.inf
    kept, good = torch.isfinite(points).all(1).nonzero()[:, 0], torch.isfinite(queries).all(1)
    dist2, idx = on_cuda(points, queries, 8)
    expected = knn(points[kept], queries[good], 8)
    assert torch.equal(dist2[good], expected[0]) and torch.equal(idx[good], kept[expected[1]])
    assert torch.isinf(dist2[~good]).all() and (idx[~good] == -1).all()
    with pytest.raises(ValueError, match=r"points: expected finite coordinates, .* in row 3"):
        KnnIndex(points.cuda(), check=True)
    with pytest.raises(ValueError, match=r"queries: expected finite coordinates, .* in row 5"):
        knn(points[kept].cuda(), queries.cuda(), 1, check=True)
    assert (on_cuda(torch.full((50, 3), torch.nan), queries, 2)[1] == -1).all()


def test_heap_of_duplicates():
    points = torch.full((1_000_000, 3), 0.7)
    _, idx = on_cuda(points, points[:20_000], 8)
    assert torch.equal(idx, torch.arange(8).expand(20_000, 8))


def gradients(points, queries, k):
    points, queries = points.clone().requires_grad_(), queries.clone().requires_grad_()
    dist2 = knn(points, queries, k, 1.0)[0]
    weights = torch.sin(torch.arange(dist2.numel(), device=dist2.device)).view_as(dist2)
    return torch.autograd.grad((torch.where(torch.isinf(dist2), 0.0, dist2) * weights).sum(), (points, queries))


@pytest.mark.parametrize("deterministic", [False, True])
def test_gradients_agree_with_the_cpu(deterministic):
    for k in (1, 8, 33):
        points, queries = cloud("duplicates", 2000), cloud("normal", 3000, 1)
        torch.use_deterministic_algorithms(deterministic)
        ours = gradients(points.cuda(), queries.cuda(), k)
        torch.use_deterministic_algorithms(False)
        for a, b in zip(ours, gradients(points, queries, k), strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-4)


def test_gradients_repeat_in_deterministic_mode(fixed_order):
    points, queries = cloud("duplicates", 300).cuda(), cloud("normal", 200_000, 1).cuda()
    first = gradients(points, queries, 8)
    for _ in range(3):
        assert same(gradients(points, queries, 8), first)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(offset):
    def shifted(t):
        return torch.cat([t.new_zeros(offset), t.flatten()]).cuda()[offset:].view(t.shape)

    points, queries = cloud("normal", 5000), cloud("normal", 701, 1)
    assert shifted(points).data_ptr() % 16 != 0
    assert same(knn(shifted(points), shifted(queries), 8), knn(points, queries, 8))


def test_runs_on_the_current_stream():
    """Inputs are written late on a side stream: a kernel on any other would read what was there before."""
    points, queries = cloud("surface", 100_000).cuda(), cloud("surface", 50_000, 1).cuda()
    expected = knn(points, queries, 8)
    late_points, late_queries = torch.full_like(points, 0.3), torch.full_like(queries, 0.1)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        late_points.copy_(points)
        late_queries.copy_(queries)
        found = knn(late_points, late_queries, 8)
    torch.cuda.synchronize()
    assert same(found, expected)


@pytest.mark.parametrize("deterministic", [False, True])
def test_can_be_captured_in_a_graph(deterministic):
    """Build, search and backward; capture fails where an op synchronises or allocates by itself."""
    torch.use_deterministic_algorithms(deterministic)
    points, queries = cloud("normal", 20_000).cuda(), cloud("normal", 5000, 1).cuda().requires_grad_()

    def step():
        dist2, idx = knn(points, queries, 8)
        return dist2, idx, torch.autograd.grad(dist2.sum(), queries)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        points.copy_(cloud("surface", 20_000, 2))
        queries.copy_(cloud("surface", 5000, 3))
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert same(captured, step())
    torch.use_deterministic_algorithms(False)


def test_empty_inputs():
    some = cloud("normal", 5).cuda()
    dist2, idx = knn(some[:0], some, 3)
    assert torch.isinf(dist2).all() and (idx == -1).all() and dist2.shape == (5, 3)
    assert knn(some, some[:0], 3)[0].shape == (0, 3)


def test_opcheck():
    points, queries = cloud("normal", 23, 4).cuda(), cloud("normal", 7, 5).cuda()
    index = KnnIndex(points.requires_grad_())
    torch.library.opcheck(torch.ops.uner3d.knn.default, (*index.tensors(), queries.requires_grad_(), 3, 1.5))
    torch.library.opcheck(torch.ops.uner3d.knn_build.default, (points.detach(),))
    dist2, idx = knn(index, queries, 3)
    torch.library.opcheck(
        torch.ops.uner3d.knn_backward.default, (torch.ones_like(dist2), points.detach(), queries.detach(), idx)
    )


def test_float64_is_refused():
    with pytest.raises(TypeError, match=r"points: expected float32 on CUDA, got torch\.float64"):
        KnnIndex(torch.zeros(2, 3, dtype=torch.float64, device="cuda"))


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    points, queries = cloud("normal", 5000), cloud("normal", 700, 1)
    with torch.cuda.device(0):
        dist2, idx = knn(points.to("cuda:1"), queries.to("cuda:1"), 8)
        assert torch.cuda.current_device() == 0 and dist2.device.index == 1
    assert same((dist2, idx), knn(points, queries, 8))
