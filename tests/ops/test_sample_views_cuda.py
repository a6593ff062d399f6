"""sample_views on CUDA: the same values as on the CPU and as the float64 twin, and the manners of a torch op."""

import cuda_manners as manners
import pytest
import torch

from uner3d.ops import reference, sample_views

from test_sample_views import CASES, gradients, leaves, sample_inputs  # isort: skip

pytestmark = pytest.mark.gpu

ALL_CASES = [*CASES, (300, 5, 6, 8, 40), (2, 6, 7, 512, 30), (1, 30, 30, 32, 5000)]


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("case", ALL_CASES)
def test_agrees_with_the_cpu_and_the_twin(deterministic, case):
    inputs = sample_inputs(*case)
    values, valid, grads = gradients(sample_views, manners.to_cuda(inputs))
    twin = gradients(reference.sample_views, tuple(t.double() for t in inputs))
    for expected, expected_valid, expected_grads in (gradients(sample_views, inputs), twin):
        assert torch.equal(valid.cpu(), expected_valid)
        torch.testing.assert_close(values.double().cpu(), expected.double(), rtol=1e-5, atol=2e-5)
        manners.check_close(grads, expected_grads)
    assert (values[~valid] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_channels", [1, 3, 12, 32])
def test_half_maps(deterministic, dtype, n_channels):
    maps, *rest = sample_inputs(5, 9, 8, n_channels, 300)
    inputs = (maps.to(dtype), *rest)
    values, valid, grads = gradients(sample_views, manners.to_cuda(inputs))
    expected, expected_valid, expected_grads = gradients(reference.sample_views, tuple(t.double() for t in inputs))
    assert values.dtype == torch.float32 and grads[0].dtype == dtype and torch.equal(valid.cpu(), expected_valid)
    torch.testing.assert_close(values.double().cpu(), expected, rtol=1e-5, atol=2e-5)
    manners.check_close(grads[:1], expected_grads[:1], rtol=1e-2)
    manners.check_close(grads[1:], expected_grads[1:])


def test_runs_on_the_current_stream(deterministic):
    manners.check_stream(sample_views, manners.to_cuda(sample_inputs(5, 30, 40, 32, 20_000)), [0, 3])


def test_can_be_captured_in_a_graph(deterministic):
    inputs, others = (manners.to_cuda(sample_inputs(5, 12, 14, 32, 300, seed=s)) for s in (0, 1))
    n = min(len(inputs[3]), len(others[3]))
    inputs, others = ((*t[:3], t[3][:n]) for t in (inputs, others))
    manners.check_capture(sample_views, inputs, others, [0, 3])


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(offset):
    inputs = manners.to_cuda(sample_inputs(4, 9, 8, 32, 200))
    shifted = tuple(manners.unaligned(t, offset) for t in inputs)
    assert shifted[0].data_ptr() % 16 != 0
    values, valid = sample_views(*inputs)
    odd, odd_valid = sample_views(*shifted)
    torch.testing.assert_close(odd, values)
    assert torch.equal(odd_valid, valid)
    grad, backward = torch.rand_like(values), torch.ops.uner3d.sample_views_backward
    odd = backward(manners.unaligned(grad, offset), *shifted, [True, True])
    manners.check_close(odd, backward(grad, *inputs, [True, True]))


def test_deterministic_algorithms_repeat():
    manners.check_repeats(sample_views, manners.to_cuda(sample_inputs(5, 6, 7, 32, 20_000)), [0, 3])


@pytest.mark.parametrize("axis", ["V", "N", "C", "W"])
def test_empty_inputs(deterministic, axis):
    maps, K, pose, points = manners.to_cuda(sample_inputs(2, 4, 5, 3, 9))
    maps = {"V": maps[:0], "N": maps, "C": maps[..., :0], "W": maps[:, :, :0]}[axis]
    if axis == "V":
        K, pose = K[:0], pose[:0]
    points = points[:0] if axis == "N" else points
    values, valid, grads = gradients(sample_views, (maps, K, pose, points))
    assert values.shape == (len(points), len(maps), maps.shape[-1]) and valid.shape == values.shape[:2]
    assert not values.any() and not grads[0].any() and not grads[1].any()


def test_points_that_are_not_numbers_are_not_valid(deterministic):
    maps, K, pose, _ = manners.to_cuda(sample_inputs(2, 5, 6, 3, 9))
    bad = torch.tensor([[float("nan"), 0, 0], [0, float("inf"), 0], [0, 0, -9.0]], device="cuda")
    values, valid, grads = gradients(sample_views, (maps, K, pose, bad))
    assert not valid.any() and not values.any() and not any(g.any() for g in grads)


def test_opcheck():
    inputs = leaves(manners.to_cuda(sample_inputs(2, 4, 5, 3, 9)))
    torch.library.opcheck(torch.ops.uner3d.sample_views.default, inputs)


def test_more_than_2_31_elements():
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("needs 20 GiB of device memory")
    points = torch.tensor([[0.5, 0.5, 1.0]], device="cuda").repeat(2**21 + 3, 1)
    K, pose = torch.eye(3, device="cuda").expand(8, 3, 3), torch.eye(3, 4, device="cuda").expand(8, 3, 4)
    maps = torch.arange(128.0, device="cuda").expand(8, 1, 1, 128)
    values, valid = sample_views(maps, K, pose, points)
    assert values.numel() > 2**31 and valid[-1].all()
    assert torch.equal(values[-1, -1], maps[0, 0, 0]) and torch.equal(values[2**20, 3], maps[0, 0, 0])


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    manners.check_second_device(sample_views, sample_inputs(4, 9, 8, 32, 200), [0, 3])
