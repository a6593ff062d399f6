import ctypes
import mmap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

CASES = [  # views, height, width, channels, points
    (3, 9, 12, 1, 40),
    (2, 5, 7, 3, 33),
    (3, 7, 6, 4, 65),
    (4, 16, 11, 8, 70),
    (5, 13, 17, 36, 129),
    (1, 6, 6, 35, 31),
    (3, 20, 24, 70, 3000),
]


def sample_inputs(n_views, height, width, n_channels, n_points, dtype=torch.float32, seed=0):
    """Cameras that look along z with small turns, points all over the place, none on a border of pixel cells."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    K = torch.tensor([[width, 0.2, width / 2 + 0.1], [0, height, height / 2 - 0.2], [0, 0, 1]]).double()
    K = K.expand(n_views, 3, 3)
    turns = torch.linalg.cross(torch.eye(3).double().expand(n_views, 3, 3), (random(n_views, 1, 3) - 0.5))
    pose = torch.cat([torch.linalg.matrix_exp(turns), torch.zeros(n_views, 3, 1).double()], -1)
    pose[:, :, 3] = torch.tensor([0.1, 0.0, 2.0]) + 0.2 * random(n_views, 3)
    points = 4 * random(n_points, 3) - 2
    points[: n_points // 2] *= 0.4
    xyz = torch.einsum("vij,nj->nvi", pose[:, :, :3], points) + pose[:, :, 3]
    cell = 2 * torch.einsum("vij,nvj->nvi", K, xyz)[..., :2] / xyz[..., 2:]
    away = ((cell - cell.round()).abs().amin(-1) > 2e-3).all(1) & (xyz[..., 2].abs() > 0.05).all(1)
    maps = random(n_views, height, width, n_channels)
    return tuple(t.to(dtype) for t in (maps, K, pose, points[away]))


def leaves(inputs):
    return tuple(t.detach().clone().requires_grad_(i in (0, 3)) for i, t in enumerate(inputs))


def gradients(function, inputs):
    inputs = leaves(inputs)
    values, valid = function(*inputs)
    g = torch.Generator().manual_seed(1)
    upstream = torch.rand(values.shape, generator=g, dtype=torch.float64).to(values)
    return values, valid, torch.autograd.grad(values, (inputs[0], inputs[3]), upstream)


@pytest.mark.parametrize("case", CASES)
def test_matches_the_float64_twin(isa, case):
    inputs = sample_inputs(*case)
    values, valid, grads = gradients(ops.sample_views, inputs)
    expected, expected_valid, expected_grads = gradients(reference.sample_views, tuple(t.double() for t in inputs))
    assert expected_valid.any() and not expected_valid.all()
    assert torch.equal(valid, expected_valid) and valid.dtype == torch.bool
    assert (values[~valid] == 0).all()
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=2e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=2e-5 * want.abs().max().item())


@pytest.mark.parametrize("case", CASES)
def test_double_matches_the_twin_to_rounding(isa, case):
    inputs = sample_inputs(*case, dtype=torch.float64)
    values, valid, grads = gradients(ops.sample_views, inputs)
    expected, expected_valid, expected_grads = gradients(reference.sample_views, inputs)
    assert torch.equal(valid, expected_valid)
    for got, want in zip((values, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("n_channels", [1, 5])
def test_gradcheck(n_channels):
    inputs = leaves(sample_inputs(3, 5, 6, n_channels, 14, torch.float64))
    assert torch.autograd.gradcheck(lambda *x: ops.sample_views(*x)[0], inputs, nondet_tol=0.0)


def test_opcheck():
    torch.library.opcheck(torch.ops.uner3d.sample_views.default, leaves(sample_inputs(2, 4, 5, 3, 9)))


@pytest.mark.parametrize("wanted", [0, 3])
def test_one_gradient_alone(wanted):
    inputs = sample_inputs(3, 6, 7, 6, 50, torch.float64)
    both = gradients(ops.sample_views, inputs)[2]
    alone = tuple(t.detach().clone().requires_grad_(i == wanted) for i, t in enumerate(inputs))
    values, _ = ops.sample_views(*alone)
    upstream = torch.rand(values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (got,) = torch.autograd.grad(values, alone[wanted], upstream)
    assert torch.equal(got, both[0 if wanted == 0 else 1])


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[6]])
def test_same_bytes_with_any_number_of_threads(case):
    inputs = sample_inputs(*case)
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            values, valid, grads = gradients(ops.sample_views, inputs)
            results.append([t.detach().numpy().tobytes() for t in (values, valid, *grads)])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_fusing_the_samples_is_fuse_views():
    inputs = sample_inputs(4, 9, 8, 36, 200)
    values, valid = ops.sample_views(*inputs)
    mean, _, weight_sum = ops.fuse_views(*inputs)
    assert torch.equal(weight_sum, valid.sum(1).float())
    torch.testing.assert_close(mean, values.sum(1) / valid.sum(1, keepdim=True).clamp(min=1))


def test_points_that_are_not_numbers_are_not_valid():
    maps, K, pose, _ = sample_inputs(2, 5, 6, 3, 9)
    bad = torch.tensor([[float("nan"), 0, 0], [0, float("inf"), 0], [0, 0, -9.0]])
    values, valid, grads = gradients(ops.sample_views, (maps, K, pose, bad))
    assert not valid.any() and (values == 0).all() and all((g == 0).all() for g in grads)


@pytest.mark.parametrize("axis", ["V", "N", "C", "W"])
def test_empty(axis):
    maps, K, pose, points = sample_inputs(2, 4, 5, 3, 9)
    maps = {"V": maps[:0], "N": maps, "C": maps[..., :0], "W": maps[:, :, :0]}[axis]
    if axis == "V":
        K, pose = K[:0], pose[:0]
    points = points[:0] if axis == "N" else points
    values, valid, grads = gradients(ops.sample_views, (maps, K, pose, points))
    assert values.shape == (len(points), len(maps), maps.shape[-1]) and valid.shape == values.shape[:2]
    assert not values.any() if axis == "W" else values.numel() == 0
    assert not grads[0].any() and not grads[1].any()


def test_non_contiguous_inputs():
    inputs = sample_inputs(3, 6, 7, 5, 50)
    loose = tuple(torch.stack([t, t], -1)[..., 0] for t in inputs)
    assert not loose[0].is_contiguous()
    for a, b in zip(gradients(ops.sample_views, loose)[2], gradients(ops.sample_views, inputs)[2], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(ops.sample_views(*loose)[0], ops.sample_views(*inputs)[0])


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, [1.0], TypeError, "maps: expected a tensor"),
        (0, torch.zeros(3, 6, 7), ValueError, r"maps: expected shape \(V, H, W, C\)"),
        (1, torch.zeros(2, 3, 3), ValueError, r"K: expected shape \(V, 3, 3\) with V = 3, got \(2, 3, 3\)"),
        (2, torch.zeros(3, 4, 4), ValueError, r"cam_from_world: expected shape \(V, 3, 4\)"),
        (3, torch.zeros(8, 2), ValueError, r"points: expected shape \(N, 3\)"),
        (3, torch.zeros(8, 3, dtype=torch.float16), TypeError, "points: expected dtype torch.float32"),
    ],
)
def test_bad_arguments_are_named(index, value, error, message):
    inputs = list(sample_inputs(3, 6, 7, 2, 20))
    inputs[index] = value
    with pytest.raises(error, match=message):
        ops.sample_views(*inputs)


@settings(max_examples=30, deadline=None)
@given(
    n_views=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9), n_channels=st.integers(1, 40),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(n_views, height, width, n_channels, seed):
    inputs = sample_inputs(n_views, height, width, n_channels, 30, torch.float64, seed)
    values, valid, grads = gradients(ops.sample_views, inputs)
    expected, expected_valid, expected_grads = gradients(reference.sample_views, inputs)
    assert torch.equal(valid, expected_valid)
    for got, want in zip((values, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 7])
def test_nothing_is_read_beyond_the_maps(isa, n_channels):
    """The maps end where readable memory does; a point in the last pixel of the last view reads all of it."""
    shape = (2, 3, 5, n_channels)
    maps = at_the_end_of_memory(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    K, pose = torch.eye(3).expand(2, 3, 3), torch.eye(3, 4).expand(2, 3, 4)
    points = torch.tensor([[4.9, 2.9, 1.0], [4.4, 2.4, 1], [3.8, 2.7, 1], [0.2, 0.1, 1]]).repeat(9, 1)
    values, valid = ops.sample_views(maps, K, pose, points)
    assert valid.all()
    torch.testing.assert_close(values[0], maps[:, 2, 4])
    want, _ = reference.sample_views(maps.double(), K.double(), pose.double(), points.double())
    torch.testing.assert_close(values.double(), want, rtol=1e-5, atol=1e-5)


def at_the_end_of_memory(values: torch.Tensor) -> torch.Tensor:
    """A copy whose last byte is the last of a page, with a page behind it that may not be touched."""
    n_bytes, page = values.numel() * values.element_size(), mmap.PAGESIZE
    first = -(-n_bytes // page) * page
    memory = mmap.mmap(-1, first + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + first), ctypes.c_size_t(page), 0) == 0
    copy = torch.frombuffer(memory, dtype=values.dtype, count=values.numel(), offset=first - n_bytes)
    return copy.view(values.shape).copy_(values)


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_what_a_view_does_not_see_is_zero_whatever_its_maps_hold(isa, n_channels):
    maps = torch.full((2, 4, 5, n_channels), torch.nan)
    maps[:, 1:3, 1:4] = 1.0
    points = torch.tensor([[2.0, 2.0, 1.0], [2, 2, -1], [90, 2, 1], [torch.nan, 0, 1]]).repeat(11, 1)
    values, valid = ops.sample_views(maps, torch.eye(3).expand(2, 3, 3), torch.eye(3, 4).expand(2, 3, 4), points)
    assert torch.equal(valid, torch.tensor([True, False, False, False]).repeat(11)[:, None].expand(-1, 2))
    assert torch.equal(values, valid[..., None].float().expand_as(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (2, 2), (6, 9)])
@pytest.mark.parametrize("n_views", [1, 3, 4, 5, 8, 9])
def test_one_channel_in_any_number_of_views(isa, n_views, size, dtype):
    """Its points go in tiles and its views in fours, where both are full; maps of one row or column go another way."""
    inputs = sample_inputs(n_views, *size, 1, 150, dtype)
    values, valid = ops.sample_views(*inputs)
    want, want_valid = reference.sample_views(*(t.double() for t in inputs))
    assert len(inputs[3]) > 70 and want_valid.any() and not want_valid.all()
    assert torch.equal(valid, want_valid)
    torch.testing.assert_close(values.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_beyond_the_outermost_centres_the_edge_pixel_counts_alone(isa, n_channels):
    """Whatever its neighbour holds."""
    maps = torch.full((1, 4, 5, n_channels), torch.nan)
    maps[:, ::3, ::4] = torch.rand(1, 2, 2, n_channels, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[0.2, 0.4, 1.0], [4.7, 0.1, 1], [0.3, 3.9, 1], [4.6, 3.6, 1]]).repeat(9, 1)
    values, valid = ops.sample_views(maps, torch.eye(3)[None], torch.eye(3, 4)[None], points)
    assert valid.all()
    assert torch.equal(values[:, 0], maps[0, [0, 0, 3, 3], [0, 4, 0, 4]].repeat(9, 1))
    maps = torch.full((1, 4, 5, n_channels), torch.nan)
    maps[0, 0], maps[0, :, 4] = 2.0, 3.0
    points = torch.tensor([[1.75, 0.3, 1.0], [2.5, 0.1, 1], [4.8, 1.25, 1], [4.9, 2.75, 1]]).repeat(9, 1)
    values, _ = ops.sample_views(maps, torch.eye(3)[None], torch.eye(3, 4)[None], points)
    assert torch.equal(values[:, 0], torch.tensor([2.0, 2, 3, 3]).repeat(9)[:, None].expand(-1, n_channels))


@pytest.mark.parametrize("size", [(2, 2), (3, 5)])
@pytest.mark.parametrize("n_views", [1, 4])
def test_points_that_are_not_seen_read_nothing_beyond_the_maps(isa, n_views, size):
    maps = at_the_end_of_memory(torch.ones(n_views, *size, 1))
    far = [[1e30, 1e30, 1.0], [-1e30, 5, 1], [1, 1, 0.0], [1, 1, -1], [torch.nan, 1, 1], [torch.inf, torch.inf, 1]]
    K, pose = torch.eye(3).expand(n_views, 3, 3), torch.eye(3, 4).expand(n_views, 3, 4)
    values, valid = ops.sample_views(maps, K, pose, torch.tensor(far).repeat(11, 1))
    assert not valid.any() and (values == 0).all()
