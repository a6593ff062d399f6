import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

CASES = [
    # views, height, width, channels, points, weights
    (3, 9, 12, 1, 40, None),
    (2, 5, 7, 3, 33, "shared"),
    (4, 16, 11, 8, 70, "per_point"),
    (5, 13, 17, 36, 129, "per_point"),
    (1, 6, 6, 35, 31, None),
    (3, 8, 9, 70, 65, "shared"),
    (8, 20, 24, 32, 6000, "per_point"),
]


def sample_inputs(n_views, height, width, n_channels, n_points, weights, dtype=torch.float32, seed=0):
    """Cameras on a ring that look at the origin (one has skew), points in front, beside and behind them."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    K = torch.zeros(n_views, 3, 3, dtype=torch.float64)
    K[:, 0, 0], K[:, 1, 1] = width * (0.9 + 0.2 * random(n_views)), height * (0.9 + 0.2 * random(n_views))
    K[:, 0, 1], K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = 0.3, width / 2 + 0.2, height / 2 - 0.3, 1
    pose = torch.zeros(n_views, 3, 4, dtype=torch.float64)
    for v in range(n_views):
        pose[v, :, :3] = torch.linalg.matrix_exp(torch.linalg.cross(torch.eye(3).double(), (random(3) - 0.5)[None]))
        pose[v, :, 3] = torch.tensor([0.2, -0.1, 2.0]) + 0.2 * random(3)
    points = 4 * random(n_points, 3) - 2
    points[: n_points // 2] *= 0.4
    maps = random(n_views, height, width, n_channels) + 3
    per_point = (random(n_points, n_views) - 0.2).clamp(min=0)
    w = {None: None, "shared": random(n_views) + 0.1, "per_point": per_point}[weights]
    away = away_from_borders(K, pose, points, height, width)
    inputs = (maps, K, pose, points[away], w[away] if weights == "per_point" else w)
    return tuple(None if t is None else t.to(dtype) for t in inputs)


def away_from_borders(K, pose, points, height, width, margin=1e-3):
    """Points whose projections lie off all pixel cell borders, where float32 may fall on the other side."""
    xyz = torch.einsum("vij,nj->nvi", pose[:, :, :3], points) + pose[:, :, 3]
    uv = torch.einsum("vij,nvj->nvi", K, xyz)[..., :2] / xyz[..., 2:]
    cell = 2 * uv
    return ((cell - cell.round()).abs().amin(-1) > margin).all(1) & (xyz[..., 2].abs() > 0.05).all(1)


def double(inputs):
    return tuple(None if t is None else t.double() for t in inputs)


def with_grad(inputs):
    maps, K, pose, points, w = inputs
    return tuple(
        None if t is None else t.detach().clone().requires_grad_(i in (0, 3, 4))
        for i, t in enumerate((maps, K, pose, points, w))
    )


def gradients(function, inputs, seed=1):
    inputs = with_grad(inputs)
    out = function(*inputs)
    g = torch.Generator().manual_seed(seed)
    loss = sum((o * torch.rand(o.shape, generator=g, dtype=torch.float64).to(o)).sum() for o in out)
    return out, torch.autograd.grad(loss, [t for t in inputs if t is not None and t.requires_grad])


@pytest.mark.parametrize("case", CASES)
def test_matches_the_float64_twin(isa, case):
    inputs = sample_inputs(*case)
    out, grads = gradients(ops.fuse_views, inputs)
    expected, expected_grads = gradients(reference.fuse_views, double(inputs))
    assert ((expected[2] > 0).any() and (expected[2] == 0).any()) or len(inputs[3]) < 64
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=2e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=2e-5 * want.abs().max().item())


@pytest.mark.parametrize("case", CASES)
def test_double_matches_the_twin_to_rounding(isa, case):
    inputs = sample_inputs(*case, dtype=torch.float64)
    out, grads = gradients(ops.fuse_views, inputs)
    expected, expected_grads = gradients(reference.fuse_views, inputs)
    for got, want in zip(out + grads, expected + expected_grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_variance_survives_a_large_mean():
    maps, *cameras, w = sample_inputs(8, 12, 12, 16, 200, None)
    maps = (maps + 1000).round(decimals=2)
    _, var, _ = ops.fuse_views(maps, *cameras, w)
    _, expected, _ = reference.fuse_views(maps.double(), *double(cameras))
    torch.testing.assert_close(var.double(), expected, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("weights", [None, "shared", "per_point"])
def test_gradcheck(weights):
    inputs = with_grad(sample_inputs(3, 5, 6, 3, 12, weights, dtype=torch.float64))
    if weights == "per_point":
        inputs = (*inputs[:4], (inputs[4].detach() + 0.1).requires_grad_())  # finite differences must not cross zero
    assert torch.autograd.gradcheck(ops.fuse_views, inputs, nondet_tol=0.0)


def test_weight_gradient_at_zero_is_that_from_above():
    inputs = sample_inputs(4, 6, 6, 5, 60, "per_point", dtype=torch.float64)
    inputs[4][:, 1] = 0
    _, grads = gradients(ops.fuse_views, inputs)
    _, expected = gradients(reference.fuse_views, inputs)
    assert grads[2][:, 1].abs().max() > 0
    torch.testing.assert_close(grads[2], expected[2])


@pytest.mark.parametrize("output", [0, 1, 2])
def test_gradient_through_one_output_alone(output):
    inputs = sample_inputs(3, 6, 7, 6, 50, "per_point", dtype=torch.float64)
    for function, store in ((ops.fuse_views, []), (reference.fuse_views, [])):
        leaves = with_grad(inputs)
        wanted = [leaves[i] for i in ((0, 3, 4) if output < 2 else (4,))]
        store += torch.autograd.grad(function(*leaves)[output].sin().sum(), wanted)
        if function is ops.fuse_views:
            got = store
    for a, b in zip(got, store, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weights", [None, "shared", "per_point"])
def test_opcheck(weights):
    torch.library.opcheck(torch.ops.uner3d.fuse_views.default, with_grad(sample_inputs(2, 4, 5, 3, 9, weights)))


@pytest.mark.parametrize("case", [CASES[3], CASES[5], (3, 20, 24, 32, 9000, "shared")])
def test_same_bytes_with_any_number_of_threads(case):
    inputs = sample_inputs(*case)
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            out, grads = gradients(ops.fuse_views, inputs)
            results.append([t.detach().numpy().tobytes() for t in out + grads])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_no_view_gives_zeros():
    maps, K, pose, points, _ = sample_inputs(3, 6, 6, 4, 20, None)
    behind = points.new_tensor([[0.0, 0, -50], [float("nan"), 0, 0], [float("inf"), 0, 0]])
    out, grads = gradients(ops.fuse_views, (maps, K, pose, behind, None))
    assert all((t == 0).all() for t in out + grads)
    out = ops.fuse_views(maps, K, pose, points, torch.zeros(3))
    assert all((t == 0).all() for t in out)


def test_negative_weight_counts_as_zero():
    maps, K, pose, points, _ = sample_inputs(3, 6, 6, 4, 20, None)
    a = ops.fuse_views(maps, K, pose, points, torch.tensor([1.0, -5.0, float("nan")]))
    b = ops.fuse_views(maps, K, pose, points, torch.tensor([1.0, 0.0, 0.0]))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_edge_pixels_are_repeated():
    maps = torch.arange(4.0).reshape(1, 2, 2, 1)
    K = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]])
    points = torch.tensor([[0.2, 0.1, 1], [1.9, 1.9, 1], [1.0, 0.2, 1], [0.0, 0.0, 1], [2.0, 1.0, 1]])
    mean, var, weight_sum = ops.fuse_views(maps, K, torch.eye(3, 4)[None], points)
    torch.testing.assert_close(mean[:, 0], torch.tensor([0.0, 3.0, 0.5, 0.0, 0.0]))
    assert weight_sum.tolist() == [1, 1, 1, 1, 0] and (var == 0).all()


@pytest.mark.parametrize(("axis", "size"), [("V", 0), ("N", 0), ("C", 0), ("H", 0)])
def test_empty(axis, size):
    maps, K, pose, points, _ = sample_inputs(2, 4, 5, 3, 9, None)
    n = len(points)
    if axis == "V":
        maps, K, pose = maps[:0], K[:0], pose[:0]
    elif axis == "N":
        points = points[:0]
    else:
        maps = maps[:, :0] if axis == "H" else maps[..., :0]
    out, grads = gradients(ops.fuse_views, (maps, K, pose, points, None))
    assert out[0].shape == (0 if axis == "N" else n, maps.shape[-1]) and out[0].shape == out[1].shape
    assert grads[0].shape == maps.shape and (grads[0] == 0).all() and (grads[1] == 0).all()


def test_non_contiguous_inputs():
    inputs = sample_inputs(3, 6, 7, 5, 50, "per_point")
    loose = tuple(torch.stack([t, t], -1)[..., 0] for t in inputs)
    assert not loose[0].is_contiguous()
    for a, b in zip(ops.fuse_views(*loose), ops.fuse_views(*inputs), strict=True):
        assert torch.equal(a, b)
    out = ops.fuse_views(inputs[0].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), *inputs[1:])
    assert torch.equal(out[0], ops.fuse_views(*inputs)[0])


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, None, TypeError, "maps: expected a tensor"),
        (0, torch.zeros(3, 6, 7), ValueError, r"maps: expected shape \(V, H, W, C\)"),
        (0, torch.zeros(3, 6, 7, 2, dtype=torch.int32), TypeError, "maps: expected dtype"),
        (1, torch.zeros(2, 3, 3), ValueError, r"K: expected shape \(V, 3, 3\) with V = 3, got \(2, 3, 3\)"),
        (2, torch.zeros(3, 4, 4), ValueError, r"cam_from_world: expected shape \(V, 3, 4\)"),
        (3, torch.zeros(8, 3, dtype=torch.float64), TypeError, "points: expected dtype torch.float32"),
        (3, torch.zeros(8, 3, device="meta"), ValueError, "points: expected device cpu, got meta"),
        (4, torch.zeros(4), ValueError, r"view_weights: expected shape \(V,\) with V = 3, got \(4,\)"),
        (4, torch.zeros(1, 3), ValueError, r"view_weights: expected shape \(N, V\)"),
    ],
)
def test_bad_arguments_are_named(index, value, error, message):
    inputs = list(sample_inputs(3, 6, 7, 2, 20, None))
    inputs[index] = value
    with pytest.raises(error, match=message):
        ops.fuse_views(*inputs)


@settings(max_examples=30, deadline=None)
@given(
    n_views=st.integers(1, 5), height=st.integers(1, 9), width=st.integers(1, 9), n_channels=st.integers(1, 40),
    weights=st.sampled_from([None, "shared", "per_point"]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(n_views, height, width, n_channels, weights, seed):
    inputs = sample_inputs(n_views, height, width, n_channels, 30, weights, torch.float64, seed)
    out, grads = gradients(ops.fuse_views, inputs)
    expected, expected_grads = gradients(reference.fuse_views, inputs)
    for got, want in zip(out + grads, expected + expected_grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    order = torch.randperm(n_views, generator=torch.Generator().manual_seed(seed))
    w = inputs[4]
    shuffled = ops.fuse_views(*(t[order] for t in inputs[:3]), inputs[3], None if w is None else w[..., order])
    for got, want in zip(shuffled, out, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
