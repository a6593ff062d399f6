"""The CUDA kernels of patch_ncc, compiled for the CPU and run thread by thread, against the twin."""

import sys
from pathlib import Path

import pytest
import torch

from uner3d import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))
import test_patch_ncc as tests

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("host_cuda")]


@pytest.mark.parametrize(("side", "step"), [(1, 1), (3, 1), (5, 2), (7, 3)])
def test_values_and_gradients_are_those_of_the_twin(side, step):
    tests.test_values_and_gradients_are_those_of_the_twin(ops.get_isa(), side, step, torch.float32)


def test_what_the_cpu_promises():
    tests.test_what_is_not_valid_scores_least_and_moves_nothing()
    tests.test_the_own_view_is_no_source()
    tests.test_following_the_gradient_makes_windows_agree()
    tests.test_any_strides()
    for axis in ("N", "S", "V", "H"):
        tests.test_empty(axis)


def test_more_sources_than_lanes_share_them():
    inputs = tests.sample_inputs(20, n_views=23)
    inputs = (*inputs[:7], torch.arange(23))
    got, want = (tests.gradients(f, x) for f, x in ((ops.patch_ncc, inputs), (tests.reference.patch_ncc,
                                                                            tests.double(inputs))))  # fmt: skip
    torch.testing.assert_close(got[0].double(), want[0], rtol=0, atol=2e-3)
    for a, b in zip(got[1:], want[1:], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=0.02 * b.abs().max().item())


def test_the_order_of_the_threads_does_not_matter(host_cuda):
    inputs = tests.sample_inputs(100)
    try:
        forwards = tests.gradients(ops.patch_ncc, inputs)
        host_cuda.run_backwards(True)
        backwards = tests.gradients(ops.patch_ncc, inputs)
    finally:
        host_cuda.run_backwards(False)
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_double_precision_is_refused():
    with pytest.raises(TypeError, match="images: expected float32 on CUDA"):
        ops.patch_ncc(*tests.sample_inputs(3, dtype=torch.float64))


def test_opcheck():
    inputs = list(tests.sample_inputs(6, border=15))
    inputs[5], inputs[6] = inputs[5].requires_grad_(), inputs[6].requires_grad_()
    torch.library.opcheck(torch.ops.uner3d.patch_ncc.default, (*inputs, 3, 2),
                          test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))  # fmt: skip
