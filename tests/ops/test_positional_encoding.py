"""positional_encoding against float64, its gradients, and its rules at the edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import positional_encoding
from uner3d.ops import reference as ref

BOUND = 5e-7  # promised for |x| <= 100 and up to 16 octaves


def points(*shape: int, scale: float = 100.0, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return ((torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1) * scale).to(dtype)


def sample_inputs(dtype=torch.float32, scale: float = 100.0):
    """Arguments of positional_encoding: every width that has code of its own, every option at least once."""
    for d in (1, 2, 3, 4, 7, 200):
        yield points(257, d, scale=scale, dtype=dtype), 10, True, None
    x = points(5, 13, 3, scale=scale, dtype=dtype)
    for n_octaves in (0, 1, 5, 16):
        yield x, n_octaves, True, None
        yield x, n_octaves, False, None
    for window in (0.0, 0.4, 2.5, 6.0):
        yield x, 6, True, window
    yield x[0, 0], 4, False, 3.3


def special_values(dtype=torch.float32) -> torch.Tensor:
    """Quarter turns, where sine and cosine swap, their neighbours in floating point, zeros and the range's ends."""
    quarters = torch.arange(-400, 401, dtype=dtype) / 4
    up, down = (torch.nextafter(quarters, torch.full_like(quarters, end)) for end in (math.inf, -math.inf))
    return torch.cat([quarters, up, down, torch.tensor([-0.0, 1e-30, -1e-40, 100.0, -100.0], dtype=dtype)])[:, None]


def error(x: torch.Tensor, *options) -> float:
    exact = ref.positional_encoding(x.double(), *options)
    return (positional_encoding(x, *options).double() - exact).abs().max().item()


def weighted_grad(op, x: torch.Tensor, *options) -> torch.Tensor:
    x = x.detach().requires_grad_()
    out = op(x, *options)
    weights = torch.cos(torch.arange(out.numel(), dtype=torch.float64)).to(out).view_as(out)
    (grad,) = torch.autograd.grad((out * weights).sum(), x, allow_unused=True)
    return grad


def test_is_accurate(isa):
    for x, *options in sample_inputs():
        if options[0] or options[1]:
            assert error(x, *options) <= BOUND
    assert error(special_values(), 16) <= BOUND
    assert error(points(20_000, 3), 16, False) <= BOUND


def test_is_accurate_in_float64(isa):
    for x, *options in sample_inputs(torch.float64):
        if options[0] or options[1]:
            # the twin itself rounds pi x, whose error grows with the angle
            torch.testing.assert_close(
                positional_encoding(x, *options), ref.positional_encoding(x, *options), rtol=0, atol=2e-9
            )
    quarters = torch.arange(-8, 9, dtype=torch.float64)[:, None] / 2
    out = positional_encoding(quarters, 1, False)
    assert torch.equal(out.abs(), out.abs().round())  # exactly 0 and 1, which no rounded pi gives


def test_order_of_the_output():
    out = positional_encoding(torch.tensor([[0.5, 0.25]]), 2)
    h = math.sqrt(0.5)
    expected = torch.tensor([[0.5, 0.25, 1, h, 0, h, 0, 1, -1, 0]])
    torch.testing.assert_close(out[:, :6], expected[:, :6], rtol=0, atol=1e-7)
    torch.testing.assert_close(out, expected, rtol=0, atol=2.1e-7)  # the second octave comes from the first


def test_window_opens_octave_by_octave():
    x = points(40, 3, scale=1)
    full, half = positional_encoding(x, 4), positional_encoding(x, 4, window=1.5)
    assert torch.equal(positional_encoding(x, 4, window=4.0), full)
    assert torch.equal(half[:, :9], full[:, :9])
    torch.testing.assert_close(half[:, 9:15], full[:, 9:15] / 2, rtol=0, atol=1e-7)
    assert not half[:, 15:].any() and not positional_encoding(x, 4, window=0.0)[:, 3:].any()


def test_non_finite_input_stays_in_its_columns(isa):
    out = positional_encoding(torch.tensor([[math.nan, 0.5, math.inf]]).repeat(70, 1), 3).view(70, 7, 3)
    assert torch.isfinite(out[..., 1]).all()
    assert not torch.isfinite(out[..., 0]).any() and not torch.isfinite(out[..., 2]).any()


def test_gradcheck(isa):
    for x, *options in sample_inputs(torch.float64, scale=2.0):
        few = x.reshape(-1, x.shape[-1])[:4, :7].clone()
        options[0] = min(options[0], 6)
        if options[2] is not None:
            options[2] = min(options[2], options[0])
        if not options[0] and not options[1]:
            continue
        assert torch.autograd.gradcheck(lambda y, o=options: positional_encoding(y, *o), few.requires_grad_())


def test_gradients_match_the_twin(isa):
    """In float32; the derivative of octave l is as large as 2^l pi, which is what the error is measured in."""
    for x, *options in sample_inputs():
        if options[0] == 0 and not options[1]:
            assert not weighted_grad(positional_encoding, x, *options).any()
            continue
        expected = weighted_grad(ref.positional_encoding, x.double(), *options)
        tolerance = 2e-6 * math.pi * 2.0 ** options[0]
        torch.testing.assert_close(
            weighted_grad(positional_encoding, x, *options).double(), expected, rtol=0, atol=tolerance
        )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40),
    st.integers(1, 6), st.integers(0, 16), st.floats(0, 1),
)  # fmt: skip
def test_any_input_is_accurate_and_on_the_circle(values, d, n_octaves, opened):
    x = torch.tensor(values, dtype=torch.float32)[:, None].repeat(1, d)
    assert error(x, n_octaves, True, opened * n_octaves) <= BOUND
    out = positional_encoding(x, n_octaves)
    assert torch.equal(out[:, :d], x)
    sine, cosine = out[:, d:].view(len(x), n_octaves, 2, d).unbind(2)
    torch.testing.assert_close(sine**2 + cosine**2, torch.ones_like(sine), rtol=0, atol=1e-6)
    assert torch.equal(positional_encoding(-x, n_octaves, False).view(len(x), n_octaves, 2, d)[:, :, 0], -sine)


def test_thread_count_changes_nothing(isa, threads):
    x = points(30_011, 3)
    results = []
    for n_threads in (1, 2, 3):
        threads(n_threads)
        results.append((positional_encoding(x, 6), weighted_grad(positional_encoding, x, 6)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_value_does_not_depend_on_its_place(isa):
    x = points(1001, 3)
    assert torch.equal(positional_encoding(x, 8)[517:519], positional_encoding(x[517:519], 8))


def test_nothing_is_written_beyond_the_output(isa):
    for d in (1, 2, 3, 5):
        for n in (1, 63, 64, 65):
            x = points(n, d)
            width = d * 9
            guarded = torch.full((n * width + 16,), 7.0)
            typed = ops._native.cpu.positional_encoding_forward_f32
            typed(x.data_ptr(), guarded.data_ptr(), n, d, 4, True, -1.0, 1)
            assert torch.equal(guarded[n * width :], torch.full((16,), 7.0))
            assert torch.equal(guarded[: n * width].view(n, width), positional_encoding(x, 4))


def test_opcheck():
    for x, *options in ((points(7, 3), 4, True, None), (points(2, 3, 2, dtype=torch.float64), 3, False, 1.5)):
        torch.library.opcheck(torch.ops.uner3d.positional_encoding.default, (x.requires_grad_(), *options))
        grad = torch.ones_like(positional_encoding(x.detach(), *options))
        torch.library.opcheck(torch.ops.uner3d.positional_encoding_backward.default, (grad, x.detach(), *options))


@pytest.mark.parametrize("shape", [(0, 3), (0,), (5, 0), (2, 0, 3)])
def test_empty_inputs(shape):
    x = torch.zeros(shape, requires_grad=True)
    out = positional_encoding(x, 4)
    assert out.shape == (*shape[:-1], shape[-1] * 9)
    out.sum().backward()
    assert x.grad is not None and x.grad.shape == shape
    assert positional_encoding(x, 0, include_input=False).shape == (*shape[:-1], 0)


def test_non_contiguous_inputs():
    x = points(3, 50).T
    assert not x.is_contiguous()
    assert torch.equal(positional_encoding(x, 5), positional_encoding(x.contiguous(), 5))
    expected = weighted_grad(positional_encoding, x.contiguous(), 5)
    assert torch.equal(weighted_grad(positional_encoding, x, 5), expected)
    y = points(4, 3, dtype=torch.float64).requires_grad_()
    positional_encoding(y, 2).sum().backward()  # the gradient of a sum is an expanded scalar
    torch.testing.assert_close(y.grad, torch.autograd.grad(ref.positional_encoding(y, 2).sum(), y)[0])


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        (([1.0], 2), TypeError, r"x: expected a float32 or float64 tensor \(..., D\), got <class 'list'>"),
        ((torch.zeros(2, 3, dtype=torch.int64), 2), TypeError, "x: expected .* got torch.int64"),
        ((torch.zeros(2, 3, dtype=torch.float16), 2), TypeError, "x: expected .* got torch.float16"),
        ((torch.tensor(1.0), 2), ValueError, "x: expected at least one dimension"),
        ((torch.zeros(2, 3), -1), ValueError, "n_octaves: expected a value from 0 to 32, got -1"),
        ((torch.zeros(2, 3), 33), ValueError, "n_octaves: expected a value from 0 to 32, got 33"),
        ((torch.zeros(2, 3), 4, True, -0.5), ValueError, "window: expected a value from 0 to 4, got -0.5"),
        ((torch.zeros(2, 3), 4, True, 4.5), ValueError, "window: expected a value from 0 to 4, got 4.5"),
        ((torch.zeros(2, 3), 4, True, math.nan), ValueError, "window: expected a value from 0 to 4, got nan"),
    ],
)
def test_bad_arguments_are_named(arguments, exception, message):
    with pytest.raises(exception, match=message):
        positional_encoding(*arguments)


@pytest.mark.skipif(not ops._native.cuda.cuda_problem(), reason="CUDA works here")
def test_unusable_cuda_is_a_sentence():
    problem = ops._native.cuda.cuda_problem()
    assert len(problem.split()) > 5
    with pytest.raises(RuntimeError) as caught:
        ops._register.cuda_stream(torch.zeros(1))
    assert str(caught.value) == problem
