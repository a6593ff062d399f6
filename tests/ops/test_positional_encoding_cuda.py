"""positional_encoding on CUDA: the same values as on the CPU, and the manners of a torch op."""

import pytest
import torch

from uner3d.ops import positional_encoding
from uner3d.ops import reference as ref

from test_positional_encoding import BOUND, points, sample_inputs, special_values, weighted_grad  # isort: skip

pytestmark = pytest.mark.gpu


def test_is_accurate_and_agrees_with_the_cpu():
    inputs = [*sample_inputs(), (special_values(), 16, True, None), (points(100_003, 3), 16, False, None)]
    for x, *options in inputs:
        ours, cpu = positional_encoding(x.cuda(), *options).cpu(), positional_encoding(x, *options)
        assert ours.shape == cpu.shape
        torch.testing.assert_close(ours.double(), ref.positional_encoding(x.double(), *options), rtol=0, atol=BOUND)
        torch.testing.assert_close(ours, cpu, rtol=0, atol=5e-7)


def test_gradients_agree_with_the_cpu():
    for x, *options in sample_inputs():
        ours = weighted_grad(positional_encoding, x.cuda(), *options)
        cpu = weighted_grad(positional_encoding, x, *options)
        torch.testing.assert_close(ours.cpu(), cpu, rtol=0, atol=2e-6 * 4 * 2.0 ** options[0])


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(offset):
    x = points(1001 * 3 + offset).cuda()[offset:].view(1001, 3)
    assert x.data_ptr() % 16 != 0
    assert torch.equal(positional_encoding(x, 7), positional_encoding(x.clone(), 7))
    grad = points(1001 * 45 + offset, scale=1).cuda()[offset:].view(1001, 45)
    assert grad.data_ptr() % 16 != 0
    backward = torch.ops.uner3d.positional_encoding_backward
    assert torch.equal(backward(grad, x, 7, True, None), backward(grad.clone(), x.clone(), 7, True, None))


@pytest.mark.parametrize(
    ("n", "d", "n_octaves"),
    [(400_000, 3, 10), (400_003, 3, 10), (20_001, 32, 10), (200_002, 1, 32), (8_001, 31, 21), (4_001, 32, 32)],
)
def test_gradients_of_many_tiles(n, d, n_octaves):
    """Every block has several, so that its buffers are filled again; the last tile is whole, or not, or of any size."""
    x, backward = points(n, d, scale=1), torch.ops.uner3d.positional_encoding_backward
    for include_input in (True, False):
        grad = points(n, d * (include_input + 2 * n_octaves), scale=1, seed=1)
        cpu = backward(grad, x, n_octaves, include_input, None)
        ours = backward(grad.cuda(), x.cuda(), n_octaves, include_input, None)
        torch.testing.assert_close(ours.cpu(), cpu, rtol=0, atol=2e-6 * 4 * 2.0**n_octaves)
        shifted = torch.empty(grad.numel() + 1, device="cuda")[1:].view(grad.shape).copy_(grad)  # no bulk copies
        assert torch.equal(backward(shifted, x.cuda(), n_octaves, include_input, None), ours)


def test_runs_on_the_current_stream():
    """The input is written late on a side stream: a kernel on any other stream would read what was there before."""
    x = points(200_000, 3).cuda()
    expected = positional_encoding(x, 6)
    late = torch.full_like(x, 0.3)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        out = positional_encoding(late, 6)
    torch.cuda.synchronize()
    assert torch.equal(out, expected)


def test_can_be_captured_in_a_graph():
    """Forward and backward; capture fails where an op synchronises or allocates by itself."""
    x = points(5000, 3).cuda().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.autograd.grad(positional_encoding(x, 5).sum(), x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = positional_encoding(x, 5)
        (grad,) = torch.autograd.grad(out.sum(), x)
    with torch.no_grad():
        x.copy_(points(5000, 3, seed=1))
    graph.replay()
    torch.cuda.synchronize()
    y = x.detach().requires_grad_()
    expected = positional_encoding(y, 5)
    assert torch.equal(out, expected)
    assert torch.equal(grad, torch.autograd.grad(expected.sum(), y)[0])


@pytest.mark.parametrize("shape", [(0, 3), (5, 0)])
def test_empty_inputs(shape):
    x = torch.zeros(shape, device="cuda", requires_grad=True)
    positional_encoding(x, 4).sum().backward()
    assert x.grad is not None and x.grad.shape == shape


def test_opcheck():
    arguments = (points(7, 3).cuda().requires_grad_(), 4, True, 2.5)
    torch.library.opcheck(torch.ops.uner3d.positional_encoding.default, arguments)


def test_float64_is_refused():
    with pytest.raises(TypeError, match=r"x: expected float32 on CUDA, got torch\.float64"):
        positional_encoding(torch.zeros(2, 3, dtype=torch.float64, device="cuda"), 2)


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    x = points(100, 3)
    with torch.cuda.device(0):
        out = positional_encoding(x.to("cuda:1"), 4)
        assert torch.cuda.current_device() == 0 and out.device.index == 1
    torch.testing.assert_close(out.cpu(), positional_encoding(x, 4), rtol=0, atol=5e-7)
