"""view_weights on CUDA: the same values as on the CPU and as the float64 twin, and the manners of a torch op."""

import math

import cuda_manners as manners
import pytest
import torch

from uner3d.ops import reference, view_weights

from test_view_weights import PARTS, double, gradients, leaves, sample_inputs  # isort: skip

pytestmark = pytest.mark.gpu


def wanted(inputs):
    return [i for i in (0, 5, 6, 7) if inputs[i] is not None]


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(("n_views", "n_points"), [(1, 100), (3, 60), (9, 700), (49, 2000), (300, 40)])
def test_agrees_with_the_cpu_and_the_twin(deterministic, parts, n_views, n_points):
    inputs = sample_inputs(parts, n_views, n_points=n_points)
    out, grads = gradients(view_weights, manners.to_cuda(inputs))
    for expected, expected_grads in (
        gradients(view_weights, inputs),
        gradients(reference.view_weights, double(inputs)),
    ):
        atol = 3e-4 if "depths" in parts else 1e-5
        torch.testing.assert_close(out.double().cpu(), expected.double(), rtol=1e-5, atol=atol)
        manners.check_close(grads, expected_grads, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.5, 7.0, 64.0, 65.0])
def test_any_angle_power(power):
    inputs = (*sample_inputs(("directions",))[:8], power)
    out, grads = gradients(view_weights, manners.to_cuda(inputs))
    expected, expected_grads = gradients(reference.view_weights, double(inputs))
    manners.check_close([out, *grads], [expected, *expected_grads], rtol=2e-4, atol=1e-4)


def test_runs_on_the_current_stream(deterministic):
    inputs = manners.to_cuda(sample_inputs(n_views=5, n_points=20_000))
    manners.check_stream(view_weights, inputs, wanted(inputs), rtol=1e-3, atol=1e-4)


def test_can_be_captured_in_a_graph(deterministic):
    inputs, others = (manners.to_cuda(sample_inputs(n_points=400, seed=s)) for s in (0, 1))
    n = min(len(inputs[0]), len(others[0]))
    inputs, others = ((t[0][:n], *t[1:7], t[7][:n], *t[8:]) for t in (inputs, others))
    manners.check_capture(view_weights, inputs, others, wanted(inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(offset):
    inputs = manners.to_cuda(sample_inputs())
    shifted = tuple(manners.unaligned(t, offset) for t in inputs)
    plain = manners.with_grads(view_weights, inputs, wanted(inputs))
    manners.check_close(manners.with_grads(view_weights, shifted, wanted(inputs)), plain)


def test_deterministic_algorithms_repeat():
    inputs = manners.to_cuda(sample_inputs(n_views=5, height=5, width=6, n_points=20_000))
    manners.check_repeats(view_weights, inputs, wanted(inputs))


@pytest.mark.parametrize("axis", ["N", "V", "H"])
def test_empty_inputs(deterministic, axis):
    points, K, pose, height, width, depths, masks, directions, *_ = manners.to_cuda(sample_inputs())
    if axis == "N":
        points, directions = points[:0], directions[:0]
    elif axis == "V":
        K, pose, depths, masks = K[:0], pose[:0], depths[:0], masks[:0]
    else:
        height, depths, masks = 0, depths[:, :0], masks[:, :0]
    out, grads = gradients(view_weights, (points, K, pose, height, width, depths, masks, directions))
    assert out.shape == (len(points), len(K)) and not out.any() and not any(g.any() for g in grads)


def test_points_and_depths_that_are_not_numbers(deterministic):
    inputs = list(manners.to_cuda(sample_inputs()))
    inputs[0] = inputs[0].clone()
    inputs[0][::3, 1] = math.nan
    inputs[5] = torch.full_like(inputs[5], math.nan)
    out, grads = gradients(view_weights, inputs)
    assert (out[::3] == 0).all() and (out > 0).any() and all(g.isfinite().all() for g in [out, *grads])


@pytest.mark.parametrize("parts", PARTS)
def test_opcheck(parts):
    inputs = leaves(manners.to_cuda(sample_inputs(parts, n_points=20)))
    torch.library.opcheck(torch.ops.uner3d.view_weights.default, inputs)


def test_float64_is_refused():
    with pytest.raises(TypeError, match=r"points: expected dtype torch\.float32, got torch\.float64"):
        view_weights(*manners.to_cuda(double(sample_inputs())))


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    inputs = sample_inputs()
    manners.check_second_device(view_weights, inputs, wanted(inputs), rtol=1e-3, atol=1e-3)
