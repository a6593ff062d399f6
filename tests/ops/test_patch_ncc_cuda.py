"""patch_ncc on CUDA: the same values as on the CPU and as the float64 twin, and the manners of a torch op."""

import cuda_manners as manners
import pytest
import torch

from uner3d.ops import patch_ncc, reference

from test_patch_ncc import double, gradients, sample_inputs  # isort: skip

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("side", "step"), [(1, 1), (3, 1), (5, 2), (7, 3)])
@pytest.mark.parametrize(("n_pixels", "n_views"), [(1, 2), (200, 5), (3000, 23)])
def test_agrees_with_the_cpu_and_the_twin(side, step, n_pixels, n_views):
    inputs = sample_inputs(n_pixels, n_views)
    ours = gradients(patch_ncc, manners.to_cuda(inputs), side=side, step=step)
    for function, given in ((patch_ncc, inputs), (reference.patch_ncc, double(inputs))):
        want = gradients(function, given, side=side, step=step)
        torch.testing.assert_close(ours[0].double().cpu(), want[0].double(), rtol=0, atol=2e-3)
        if side > 1:  # one sample correlates with nothing, and its gradient is noise
            manners.check_close(ours[1:], want[1:], rtol=0, atol=0.02)


def test_repeats():
    inputs = manners.to_cuda(sample_inputs(2000))
    first = gradients(patch_ncc, inputs)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(patch_ncc, inputs), strict=True))


def test_runs_on_the_current_stream():
    manners.check_stream(patch_ncc, manners.to_cuda(sample_inputs(2000)), [5, 6])


def test_can_be_captured_in_a_graph():
    inputs, others = (manners.to_cuda(sample_inputs(300, seed=s)) for s in (0, 1))
    manners.check_capture(patch_ncc, inputs, others, [5, 6])


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(offset):
    inputs = manners.to_cuda(sample_inputs(200))
    shifted = tuple(manners.unaligned(t, offset) for t in inputs)
    assert all(torch.equal(a, b) for a, b in zip(gradients(patch_ncc, shifted), gradients(patch_ncc, inputs),
                                                 strict=True))  # fmt: skip


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_device():
    manners.check_second_device(patch_ncc, manners.to_cuda(sample_inputs(200)), [5, 6])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_refused(dtype):
    inputs = manners.to_cuda(sample_inputs(4))
    with pytest.raises(TypeError, match=r"images: expected dtype torch.float32, got torch.float(16|64)"):
        patch_ncc(*(t.to(dtype) if t.is_floating_point() else t for t in inputs))


def test_opcheck():
    inputs = list(manners.to_cuda(sample_inputs(6, border=15)))
    inputs[5], inputs[6] = inputs[5].requires_grad_(), inputs[6].requires_grad_()
    torch.library.opcheck(torch.ops.uner3d.patch_ncc.default, (*inputs, 3, 2))
