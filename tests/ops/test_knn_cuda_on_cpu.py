"""The CUDA kernels of knn and idw, run on the CPU thread by thread (tests/csrc/cuda_on_cpu), against the CPU ops.

They share indexing, barriers and arithmetic with what a GPU runs. What this cannot tell: the memory model of a GPU,
whether its compiler keeps the bits, and speed.
"""

import importlib
import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from uner3d.ops import _native, idw, knn

from test_idw import sample_inputs as idw_inputs  # isort: skip
from test_idw import tensors  # isort: skip
from test_knn import CLOUDS, cloud, sample_inputs  # isort: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]

ON_CPU = Path(__file__).resolve().parents[1] / "csrc" / "cuda_on_cpu"
CUDA = ["idw", "idw_backward", "knn", "knn_backward", "knn_build", "pair_reduce", "radix_sort", "spatial_order"]
OTHERS = ["bind/knn.cpp", "bind/knn_cuda.cpp", "cpu/idw.cpp", "cpu/knn.cpp", "cpu/knn_build.cpp"]
SMALL = {"kQueryChunk": 300, "kPairChunk": 1500}  # several chunks in every test
GUARD = 4096  # bytes behind scratch memory that nobody may touch

index_module, knn_module, idw_module = (
    importlib.import_module(f"uner3d.ops.{name}") for name in ("knn_index", "knn", "idw")
)


def builder():
    spec = importlib.util.spec_from_file_location("build_cuda_on_cpu", ON_CPU / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    path = builder().build(tmp_path_factory.mktemp("on_cpu"), CUDA, OTHERS, pybind11.get_include(), SMALL)
    spec = importlib.util.spec_from_file_location("cuda_on_cpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cuda(emulated, monkeypatch):
    """The Python side of the CUDA ops, on CPU tensors."""
    scratches = []

    def guarded(like, n_bytes):
        scratches.append(torch.full((n_bytes + GUARD,), 0xA7, dtype=torch.uint8))
        return scratches[-1]

    monkeypatch.setattr(_native, "cuda", emulated)
    for module in (index_module, knn_module, idw_module):
        monkeypatch.setattr(module, "cuda_stream", lambda like: (0, 0))
        monkeypatch.setattr(module, "cuda_scratch", guarded)
    emulated.seed(1)
    emulated.use_whole_grids(False)
    yield emulated
    assert all((s[-GUARD:] == 0xA7).all() for s in scratches)


@pytest.fixture
def fixed_order():
    """Deterministic algorithms, where torch also fills new tensors with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def build(points):
    """The tree; whatever follows runs on small grids, so that its loops over what does not fit into one run too."""
    _native.cuda.use_whole_grids(True)
    tree = index_module._build_cuda(points)
    _native.cuda.use_whole_grids(False)
    return points, *tree


def search(points, queries, k, max_radius=None):
    return knn_module._knn_cuda(*build(points), queries, k, max_radius)


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_neighbours_are_those_of_the_cpu_bit_by_bit(cuda, fixed_order):
    for points, queries, k, max_radius in sample_inputs():
        assert same(search(points, queries, k, max_radius), knn(points, queries, k, max_radius))


@pytest.mark.parametrize("k", [1, 3, 8, 16, 32, 33, 64])
def test_every_capacity(cuda, k):
    points, queries = cloud("surface", 3000), cloud("surface", 900, 1)
    assert same(search(points, queries, k), knn(points, queries, k))


@pytest.mark.parametrize(("kind", "n"), [*((kind, 4097) for kind in CLOUDS), ("surface", 9000), ("uneven", 40_000)])
def test_larger_than_a_block(cuda, kind, n):
    """Up to four halvings by sorts of everything, and a last block that is not full."""
    points = cloud(kind, n, 7)
    queries = torch.cat([cloud(kind, 400, 8), points[:: n // 200]])
    for k, max_radius in ((8, None), (3, 0.1)):
        assert same(search(points, queries, k, max_radius), knn(points, queries, k, max_radius))


@pytest.mark.parametrize("n", [1, 16, 17, 300, 4096, 9000])
def test_tree(cuda, fixed_order, n):
    """Every point once; boxes are those of what is below; the shape is that of the CPU's."""
    points = cloud("normal", n, 3)
    _, leaves, order, boxes, lowest = build(points)
    assert order.flatten()[:n].sort().values.tolist() == list(range(n))
    assert (order.flatten()[n:] == 2**31 - 1).all()
    xyz = leaves.transpose(1, 2).reshape(-1, 3)
    assert torch.equal(xyz[:n], points[order.flatten()[:n].long()]) and torch.isinf(xyz[n:]).all()
    low, high = leaves.amin(2), torch.where(torch.isinf(leaves), -torch.inf, leaves).amax(2)
    lowest_below, first = order.amin(1), 0
    while True:
        groups = (len(low) + 15) // 16
        level = slice(first, first + groups)
        ours = boxes[level].transpose(1, 2).reshape(-1, 6)
        assert torch.equal(ours[: len(low)], torch.cat([low, high], 1))
        assert (ours[len(low) :, :3] == torch.inf).all() and (ours[len(low) :, 3:] == -torch.inf).all()
        assert torch.equal(lowest[level].flatten()[: len(low)], lowest_below)
        assert (lowest[level].flatten()[len(low) :] == 2**31 - 1).all()
        low, high, lowest_below = boxes[level, :3].amin(2), boxes[level, 3:].amax(2), lowest[level].amin(1)
        first += groups
        if groups == 1:
            break
    assert first == len(boxes)


def test_leaves_are_as_tight_as_the_cpus(cuda):
    for kind in ("surface", "normal", "uneven"):
        points = cloud(kind, 20_000)
        areas = []
        for boxes in (build(points)[3], index_module._build_cpu(points)[2]):
            extent = (boxes[:79, 3:] - boxes[:79, :3]).clamp_min(0)  # of the groups whose children are leaves
            areas.append((extent * extent.roll(1, 1)).sum())
        assert areas[0] < 1.1 * areas[1]


def test_order_of_threads_changes_nothing(cuda):
    points, queries = cloud("uneven", 5000), cloud("uneven", 700, 1)
    expected = None
    for seed in range(4):
        cuda.seed(seed)
        tree = build(points)
        found = (*tree, *knn_module._knn_cuda(*tree, queries, 8, None))
        assert expected is None or same(found, expected)
        expected = found


def test_rows_that_are_not_finite(cuda):
    points, queries = cloud("normal", 5000), cloud("normal", 400, 1)
    bad_points = torch.arange(3, 5000, 7)
    points[bad_points, bad_points % 3] = torch.tensor([torch.nan, torch.inf, -torch.inf])[bad_points % 3]
    queries[5, 0], queries[6, 1], queries[7, 2] = torch.nan, torch.inf, -torch.inf
    dist2, idx = search(points, queries, 8)
    finite = torch.isfinite(points).all(1)
    good = torch.isfinite(queries).all(1)
    kept = finite.nonzero()[:, 0]
    expected = knn(points[kept], queries[good], 8)
    assert torch.equal(dist2[good], expected[0]) and torch.equal(idx[good], kept[expected[1]])
    assert torch.isinf(dist2[~good]).all() and (idx[~good] == -1).all()
    nowhere = search(torch.full((40, 3), torch.nan), queries, 3)
    assert torch.isinf(nowhere[0]).all() and (nowhere[1] == -1).all()
    assert (search(points, torch.full((40, 3), torch.inf), 3)[1] == -1).all()
    values = torch.ones(5000, 2)
    out = idw_module._cuda(*build(points), values, queries, None, None, None, 8, 2.0, None, None)
    assert torch.allclose(out[good], torch.ones(1)) and not out[~good].any()


def test_overflow_and_empty(cuda):
    far = torch.tensor([[3e38, 0, 0], [1.0, 0, 0]]), torch.tensor([[-3e38, 0, 0], [0, 0, 0]])
    assert same(search(*far, 2), knn(*far, 2))
    some = cloud("normal", 5)
    dist2, idx = search(some[:0], some, 3)
    assert torch.isinf(dist2).all() and (idx == -1).all()
    assert search(some, some[:0], 3)[0].shape == (0, 3)


def test_gradients_of_distances(cuda):
    points, queries = cloud("duplicates", 700), cloud("duplicates", 500, 1)
    for k, max_radius in ((1, None), (8, 0.3), (64, None)):
        _, idx = knn(points, queries, k, max_radius)
        grad = torch.randn(idx.shape, generator=torch.Generator().manual_seed(0))
        expected = knn_module._backward_cpu(grad, points, queries, idx)
        runs = []
        for seed, deterministic in ((1, False), (2, True), (3, True)):
            cuda.seed(seed)
            torch.use_deterministic_algorithms(deterministic)
            runs.append(knn_module._backward_cuda(grad, points, queries, idx))
            torch.use_deterministic_algorithms(False)
            for a, b in zip(runs[-1], expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        assert same(runs[1], runs[2])


def arguments_of(given: dict) -> tuple:
    names = ("values", "queries", "weights", "normals", "query_normals")
    defaults = {"k": 8, "power": 2.0, "eps": None, "max_radius": None}
    return *(given.get(name) for name in names), *(given.get(key, value) for key, value in defaults.items())


def test_idw_agrees_with_the_cpu(cuda):
    for given in idw_inputs():
        out = idw_module._cuda(*build(given["index"]), *arguments_of(given))
        torch.testing.assert_close(out, idw(**given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("c", [0, 1, 3, 31, 32, 33, 70])
def test_idw_of_any_number_of_channels(cuda, c):
    given = tensors(500, 1000, c)
    out = idw_module._cuda(*build(given["index"]), *arguments_of(given))
    torch.testing.assert_close(out, idw(**given), rtol=1e-5, atol=1e-5)


def both_backwards(cuda, given, wanted, seeds=((1, False), (2, True), (3, True))):
    """Gradients by the CPU, then by the CUDA kernels once per (seed, fixed order)."""
    grad = torch.randn(len(given["queries"]), given["values"].shape[1], generator=torch.Generator().manual_seed(0))
    grad = grad.to(given["values"].dtype)
    in_float = {key: v.float() if isinstance(v, torch.Tensor) else v for key, v in given.items()}
    tree = (given["index"], *index_module._build_cpu(given["index"]))
    yield idw_module._backward_cpu(grad.float(), *tree, *arguments_of(in_float), wanted)
    tree = build(given["index"])
    for seed, deterministic in seeds:
        cuda.seed(seed)
        torch.use_deterministic_algorithms(deterministic)
        yield idw_module._backward_cuda(grad, *tree, *arguments_of(given), wanted)
        torch.use_deterministic_algorithms(False)


def test_gradients_of_idw_agree_with_the_cpu(cuda):
    for given in idw_inputs():
        wanted = [True, given.get("weights") is not None, True, True]
        expected, *runs = both_backwards(cuda, given, wanted)
        for run in runs:
            for a, b in zip(run, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4 * b.abs().max().item() if b.numel() else 0)
        assert same(runs[1], runs[2])


@pytest.mark.parametrize("wanted", [[w >> i & 1 == 1 for i in range(4)] for w in range(16)])
def test_any_set_of_gradients(cuda, wanted):
    expected, *runs = both_backwards(cuda, tensors(300, 250, 5), wanted)
    for run in runs:
        for a, b in zip(run, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("c", [3, 40])
def test_half_values(cuda, dtype, c):
    given = tensors(400, 200, c)
    given["values"] = given["values"].to(dtype)
    expected = idw(**{**given, "values": given["values"].float()})
    out = idw_module._cuda(*build(given["index"]), *arguments_of(given))
    assert out.dtype == dtype
    tolerance = 2e-3 if dtype == torch.float16 else 1e-2
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    expected, *runs = both_backwards(cuda, given, [True] * 4)
    for run in runs:
        assert [g.dtype for g in run] == [dtype, torch.float32, torch.float32, torch.float32]
        for a, b in zip(run, expected, strict=True):
            torch.testing.assert_close(a.float(), b, rtol=tolerance, atol=tolerance * b.abs().max().item())


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(cuda, offset):
    def shifted(t):
        buffer = t.new_empty(t.numel() + offset)
        buffer[offset:] = t.flatten()
        return buffer[offset:].view(t.shape)

    given = tensors(400, 200, 3)
    moved = {key: shifted(v) for key, v in given.items()}
    tree, moved_tree = build(given["index"]), build(moved["index"])
    assert moved["index"].data_ptr() % 16 != 0 and same(tree, moved_tree)
    moved_tree = tuple(shifted(t) for t in tree)
    assert same(
        knn_module._knn_cuda(*moved_tree, moved["queries"], 8, None),
        knn_module._knn_cuda(*tree, given["queries"], 8, None),
    )
    assert torch.equal(
        idw_module._cuda(*moved_tree, *arguments_of(moved)), idw_module._cuda(*tree, *arguments_of(given))
    )


def test_launches_are_rewritten_or_refused():
    rewritten = builder().rewritten
    expected = "cuda_on_cpu::launch(g(n), 128, [&] { f<kK>(a, b); });"
    assert rewritten("f<kK><<<g(n), 128, 0, s>>>(a, b);") == expected
    with pytest.raises(AssertionError):
        rewritten("f <<<1, 1>>> (a)")


def test_missing_barriers_show(emulated):
    """Not always, but soon."""
    emulated.use_whole_grids(True)
    expected = list(range(63, -1, -1))
    right = [all(emulated.pass_on(barrier) == expected for _ in range(20)) for barrier in range(3)]
    assert right == [False, False, True]
