"""composite on CUDA: the same values as on the CPU and as the float64 twin, and the manners of a torch op."""

import cuda_manners as manners
import pytest
import torch

from uner3d.ops import composite, reference

from test_composite import (  # isort: skip
    BORDERS,
    EMPTY,
    beside_rays_that_are_not_numbers,
    dense,
    gradients,
    leaves,
    packed,
    sample_inputs,
)

pytestmark = pytest.mark.gpu


def inputs_of_all_kinds():
    yield from sample_inputs(torch.float32)
    yield dense(1, 96, 3, dtype=torch.float32)
    yield dense(3000, 96, 3, dtype=torch.float32)
    yield dense(70, 3, 40, dtype=torch.float32)
    for i, n_samples in enumerate(BORDERS):
        yield dense(300, n_samples, (3, 1, 4)[i % 3], 20 / n_samples, torch.float32)
    yield dense(300, 97, 3, 0.2, torch.float32)
    yield packed(tuple(i % 70 for i in range(2000)), 5, dtype=torch.float32)
    yield packed(tuple(i % 13 for i in range(5000)), 3, dtype=torch.float32)


def check_values(got, want, atol):
    """Relative to the largest, or to one."""
    scale = max(1.0, want.abs().max().item()) if want.numel() else 1.0
    torch.testing.assert_close(got.double().cpu(), want.double(), rtol=0, atol=atol * scale)


@pytest.mark.parametrize("index", range(len(list(inputs_of_all_kinds()))))
def test_agrees_with_the_cpu_and_the_twin(index):
    args = list(inputs_of_all_kinds())[index]
    ours, grads = composite(*manners.to_cuda(args)), gradients(composite, manners.to_cuda(args))
    exact = (*(a.double() for a in args[:3]), args[3])
    for function, inputs in ((composite, args), (reference.composite, exact)):
        for got, want in zip(ours, function(*inputs), strict=True):
            check_values(got, want, 3e-6)
        for got, want in zip(grads, gradients(function, inputs), strict=True):
            check_values(got, want, 1e-5)


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (3,), (1, 3)])
@pytest.mark.parametrize("args", [dense(dtype=torch.float32), packed(dtype=torch.float32)])
def test_losses_on_some_outputs_only(args, used):
    got, want = gradients(composite, manners.to_cuda(args), used), gradients(composite, args, used)
    for a, b in zip(got, want, strict=True):
        check_values(a, b, 1e-5)


@pytest.mark.parametrize("density", [1e3, 1e10, 1e30])
def test_opaque_samples_have_finite_values_and_gradients(density):
    args = manners.to_cuda(dense(4, 40, 3, density, torch.float32))
    args[0][:, ::2] = 0
    torch.testing.assert_close(composite(*args).opacity, torch.ones(4, device="cuda"))
    assert all(value.isfinite().all() for value in (*composite(*args), *gradients(composite, args)))


def test_nothing_passes_opaque_samples():
    """Transmittance is flushed where the CPU flushes it; what lies behind is zero, gradients included."""
    args = (torch.ones(2, 100), torch.ones(2, 100, 3), torch.arange(101.0).repeat(2, 1), None)
    ours, cpu = composite(*manners.to_cuda(args)).weights.cpu(), composite(*args).weights
    assert torch.equal(ours == 0, cpu == 0)
    torch.testing.assert_close(ours, cpu, rtol=1e-5, atol=0)
    sigma, colour, _ = gradients(composite, manners.to_cuda(args))
    assert (sigma[:, 35:] == 0).all() and (colour[:, 35:] == 0).all()


@pytest.mark.parametrize("make", [dense, packed])
def test_runs_on_the_current_stream(make):
    args = dense(20_000, 64, 3, dtype=torch.float32) if make is dense else packed((40,) * 20_000, dtype=torch.float32)
    manners.check_stream(composite, manners.to_cuda(args), [0, 1, 2])


@pytest.mark.parametrize("make", [dense, packed])
def test_can_be_captured_in_a_graph(make):
    inputs, others = (manners.to_cuda(make(dtype=torch.float32, seed=s)) for s in (0, 1))
    manners.check_capture(composite, inputs, others, [0, 1, 2])


@pytest.mark.parametrize("n_samples", [1, 3, 6, 33, 97, 130])
def test_rays_keep_to_themselves(n_samples):
    args = dense(1001, n_samples, 3, 20 / n_samples, torch.float32)
    broken = manners.to_cuda(beside_rays_that_are_not_numbers(args))
    args = manners.to_cuda(args)
    results = [*composite(*args), *gradients(composite, args)]
    for got, want in zip([*composite(*broken), *gradients(composite, broken)], results, strict=True):
        assert torch.equal(got[::2], want[::2])


def dense_96(**kwargs):
    return dense(90, 96, **kwargs)


def dense_97(**kwargs):
    return dense(90, 97, **kwargs)


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("make", [dense, dense_96, dense_97, packed])
def test_unaligned_storage(make, n_channels, offset):
    args = manners.to_cuda(make(n_channels=n_channels, dtype=torch.float32))
    shifted = (*(manners.unaligned(a, offset) for a in args[:3]), args[3])
    for a, b in zip(
        manners.with_grads(composite, shifted, [0, 1, 2]), manners.with_grads(composite, args, [0, 1, 2]), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("n_samples", [96, 97])
def test_the_same_bits_each_time(n_samples):
    manners.check_repeats(composite, manners.to_cuda(dense(2000, n_samples, 3, dtype=torch.float32)), [0, 1, 2])


@pytest.mark.parametrize("args", EMPTY)
def test_empty_inputs(args):
    args = manners.to_cuda((*(a.float() for a in args[:3]), args[3]))
    assert not any(zero.any() for zero in composite(*args)[:3])
    grads = gradients(composite, args)
    assert [g.shape for g in grads] == [a.shape for a in args[:3]] and not any(g.any() for g in grads)


@pytest.mark.parametrize("offsets", [[0, 3, 500], [-7, 3, 5], [0, 4, 3], [9, 9, 9]])
def test_offsets_out_of_range_are_clamped(offsets):
    sigma, colour, edges, _ = manners.to_cuda(packed((3, 2), dtype=torch.float32))
    assert composite(sigma, colour, edges, torch.tensor(offsets, device="cuda")).colour.isfinite().all()


@pytest.mark.parametrize("args", [dense(2, 5, 3, dtype=torch.float32), packed((3, 0, 9), 4, dtype=torch.float32)])
def test_opcheck(args):
    args = manners.to_cuda(args)
    torch.library.opcheck(torch.ops.uner3d.composite.default, (*leaves(args), args[3]))


def test_float64_is_refused():
    with pytest.raises(TypeError, match=r"sigma: expected dtype torch\.float32, got torch\.float64"):
        composite(*manners.to_cuda(dense()))


def test_more_than_2_31_elements():
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("needs 30 GiB of device memory")
    n = 2**26 + 5
    sigma, edges = torch.ones(n, 1, device="cuda"), torch.tensor([0.0, 1.0], device="cuda").expand(n, 2)
    colour = torch.arange(32.0, device="cuda").expand(n, 1, 32).contiguous()
    assert colour.numel() > 2**31
    out = composite(sigma, colour, edges)
    torch.testing.assert_close(out.colour[-1], (1 - torch.exp(-sigma[0])) * colour[-1, 0])


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    manners.check_second_device(composite, dense(dtype=torch.float32), [0, 1, 2])
