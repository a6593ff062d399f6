"""fuse_views on CUDA: the same values as on the CPU and as the float64 twin, and the manners of a torch op."""

import cuda_manners as manners
import pytest
import torch

from uner3d.ops import fuse_views, reference

from test_fuse_views import CASES, double, gradients, sample_inputs, with_grad  # isort: skip

pytestmark = pytest.mark.gpu

ALL_CASES = [
    *CASES,
    (49, 24, 30, 32, 500, "shared"),
    (1, 40, 40, 32, 20_000, None),
    *((4, 9, 8, c, 300, "shared") for c in (32, 40, 64, 72)),
    (3, 8, 9, 512, 65, "shared"),  # several rounds of channels
    (3, 8, 9, 264, 65, "per_point"),  # the second short
    (300, 5, 6, 8, 40, "per_point"),  # more views than shared memory is given
    (4, 16, 16, 3, 5000, "per_point"),
]


def wanted(inputs):
    return [i for i in (0, 3, 4) if inputs[i] is not None]


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("case", ALL_CASES)
def test_agrees_with_the_cpu_and_the_twin(deterministic, case):
    """Positions round at 1e-5 of a pixel, and pixels beside each other differ by up to 6."""
    inputs = sample_inputs(*case)
    out, grads = gradients(fuse_views, manners.to_cuda(inputs))
    for expected, expected_grads in (gradients(fuse_views, inputs), gradients(reference.fuse_views, double(inputs))):
        for got, want in zip(out, expected, strict=True):
            torch.testing.assert_close(got.double().cpu(), want.double(), rtol=1e-5, atol=1e-4)
        for got, want in zip(grads, expected_grads, strict=True):
            atol = 2e-5 * want.abs().max().item()
            torch.testing.assert_close(got.double().cpu(), want.double(), rtol=2e-4, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_channels", [3, 12, 32])
def test_half_maps(deterministic, dtype, n_channels):
    """Against the twin of the rounded maps: all arithmetic is float32."""
    maps, *rest = sample_inputs(5, 9, 8, n_channels, 300, "per_point")
    inputs = (maps.to(dtype), *rest)
    out, grads = gradients(fuse_views, manners.to_cuda(inputs))
    expected, expected_grads = gradients(reference.fuse_views, double(inputs))
    assert all(o.dtype == torch.float32 for o in out) and grads[0].dtype == dtype
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got.double().cpu(), want, rtol=1e-5, atol=2e-5)
    manners.check_close(grads[:1], expected_grads[:1], rtol=1e-2)
    manners.check_close(grads[1:], expected_grads[1:])


def test_runs_on_the_current_stream(deterministic):
    inputs = manners.to_cuda(sample_inputs(5, 30, 40, 32, 20_000, "shared"))
    manners.check_stream(fuse_views, inputs, wanted(inputs))


@pytest.mark.parametrize("weights", ["shared", "per_point"])
def test_can_be_captured_in_a_graph(deterministic, weights):
    inputs, others = (manners.to_cuda(sample_inputs(5, 12, 14, 32, 300, weights, seed=s)) for s in (0, 1))
    n = min(len(inputs[3]), len(others[3]))
    inputs, others = ((*t[:3], t[3][:n], t[4] if weights == "shared" else t[4][:n]) for t in (inputs, others))
    manners.check_capture(fuse_views, inputs, others, wanted(inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(dtype, offset):
    inputs = manners.to_cuda(sample_inputs(4, 9, 8, 32, 200, "per_point"))
    inputs = (inputs[0].to(dtype), *inputs[1:])
    shifted = tuple(manners.unaligned(t, offset) for t in inputs)
    assert shifted[0].data_ptr() % 16 != 0
    plain = fuse_views(*inputs)
    for a, b in zip(fuse_views(*shifted), plain, strict=True):
        torch.testing.assert_close(a, b)
    grads, backward = [torch.rand_like(o) for o in plain], torch.ops.uner3d.fuse_views_backward
    odd = backward(*(manners.unaligned(t, offset) for t in (*grads, *shifted, *plain)), [True] * 3)
    manners.check_close(
        odd, backward(*grads, *inputs, *plain, [True] * 3), rtol=1e-3 if dtype == torch.float16 else 2e-4
    )


@pytest.mark.parametrize("weights", [None, "shared", "per_point"])
def test_deterministic_algorithms_repeat(weights):
    inputs = manners.to_cuda(sample_inputs(5, 6, 7, 32, 20_000, weights))
    manners.check_repeats(fuse_views, inputs, wanted(inputs))


def test_all_but_the_gradient_of_maps_repeats_by_default():
    inputs = manners.to_cuda(sample_inputs(5, 6, 7, 32, 20_000, "shared"))
    first, second = (manners.with_grads(fuse_views, inputs, [3, 4]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("axis", ["V", "N", "C", "H"])
def test_empty_inputs(deterministic, axis):
    maps, K, pose, points, _ = manners.to_cuda(sample_inputs(2, 4, 5, 3, 9, None))
    if axis == "V":
        maps, K, pose = maps[:0], K[:0], pose[:0]
    elif axis == "N":
        points = points[:0]
    else:
        maps = maps[:, :0] if axis == "H" else maps[..., :0]
    out, grads = gradients(fuse_views, (maps, K, pose, points, None))
    assert grads[0].shape == maps.shape and not grads[0].any() and not grads[1].any()
    assert axis == "C" or not any(o.any() for o in out)


def test_points_and_weights_that_are_not_numbers(deterministic):
    maps, K, pose, points, _ = manners.to_cuda(sample_inputs(3, 6, 6, 4, 20, None))
    bad = points.new_tensor([[0.0, 0, -50], [float("nan"), 0, 0], [float("inf"), 0, 0]])
    out, grads = gradients(fuse_views, (maps, K, pose, bad, None))
    assert all((t == 0).all() for t in out + grads)
    a, b = (fuse_views(maps, K, pose, points, points.new_tensor(w)) for w in ([1, -5, float("nan")], [1.0, 0, 0]))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("weights", [None, "shared", "per_point"])
def test_opcheck(weights):
    inputs = with_grad(manners.to_cuda(sample_inputs(2, 4, 5, 3, 9, weights)))
    torch.library.opcheck(torch.ops.uner3d.fuse_views.default, inputs)


def test_float64_is_refused():
    inputs = double(sample_inputs(2, 4, 5, 3, 9, None))
    with pytest.raises(TypeError, match=r"maps: expected dtype .*, got torch\.float64"):
        fuse_views(*manners.to_cuda(inputs))


def test_more_than_2_31_elements():
    """The last map lies beyond what 32 bits can count."""
    n_channels, free = 64, torch.cuda.mem_get_info()[0]
    if free < 20 * 2**30:
        pytest.skip("needs 20 GiB of device memory")
    maps = torch.zeros(9, 2000, 2000, n_channels, dtype=torch.float16, device="cuda")
    assert maps.numel() > 2**31
    maps[8, 1999, 1999] = 3
    K = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], device="cuda").expand(9, 3, 3)
    points = torch.tensor([[1999.6, 1999.7, 1.0]], device="cuda")
    mean, _, _ = fuse_views(maps, K, torch.eye(3, 4, device="cuda").expand(9, 3, 4), points)
    torch.testing.assert_close(mean, torch.full_like(mean, 3 / 9))


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    inputs = sample_inputs(4, 9, 8, 32, 200, "shared")
    manners.check_second_device(fuse_views, inputs, wanted(inputs))
