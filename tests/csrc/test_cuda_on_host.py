"""The CUDA kernels over views and rays, compiled for the CPU and run lane by lane, against the float64 twins.

What a GPU alone can show, concurrency between blocks and its own arithmetic units, is left to the tests marked gpu.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from uner3d import ops
from uner3d.ops import _views, reference

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))
import test_composite as composite_tests
import test_fuse_views as fuse_views_tests
import test_sample_views as sample_views_tests
import test_view_weights as view_weights_tests

pytestmark = pytest.mark.slow

FUSE_CASES = [
    *fuse_views_tests.CASES[:6],
    (8, 20, 24, 32, 300, "per_point"),
    (49, 12, 14, 12, 60, "shared"),
    *((3, 8, 9, c, 40, "shared") for c in (40, 64, 72, 200)),  # two runs of channels; lanes without any
    (3, 8, 9, 264, 40, "shared"),  # two rounds of channels, the second short
    (3, 8, 9, 260, 40, "per_point"),
    (1, 8, 9, 4, 300, None),
    (300, 5, 6, 8, 20, "per_point"),  # more views than shared memory is given
]
SAMPLE_CASES = [*sample_views_tests.CASES[:6], (3, 20, 24, 70, 100), (300, 5, 6, 8, 20), (2, 6, 7, 132, 20)]


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def deterministic(request):
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


def close(got, want, rtol=2e-4, atol=2e-5):
    """Of gradients: relative to the largest."""
    scale = want.abs().max().item() if want.numel() else 1.0
    torch.testing.assert_close(got.double(), want.double(), rtol=rtol, atol=atol * scale + 1e-12)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_lanes_that_miss_an_operation_are_found(host_cuda, elsewhere):
    with pytest.raises(RuntimeError, match="lanes stand at" if elsewhere else "a lane has left its warp"):
        host_cuda.run_broken(elsewhere)


@pytest.mark.parametrize("case", FUSE_CASES)
def test_fuse_views(host_cuda, deterministic, case):
    inputs = fuse_views_tests.sample_inputs(*case)
    out, grads = fuse_views_tests.gradients(ops.fuse_views, inputs)
    expected, expected_grads = fuse_views_tests.gradients(reference.fuse_views, fuse_views_tests.double(inputs))
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=2e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        close(got, want)


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_sample_views(host_cuda, deterministic, case):
    inputs = sample_views_tests.sample_inputs(*case)
    values, valid, grads = sample_views_tests.gradients(ops.sample_views, inputs)
    twin = sample_views_tests.gradients(reference.sample_views, tuple(t.double() for t in inputs))
    assert torch.equal(valid, twin[1]) and (values[~valid] == 0).all()
    torch.testing.assert_close(values.double(), twin[0], rtol=1e-5, atol=2e-5)
    for got, want in zip(grads, twin[2], strict=True):
        close(got, want)


@pytest.mark.parametrize("parts", view_weights_tests.PARTS)
@pytest.mark.parametrize(("n_views", "n_points"), [(1, 100), (3, 60), (9, 200), (300, 15)])
def test_view_weights(host_cuda, deterministic, parts, n_views, n_points):
    inputs = view_weights_tests.sample_inputs(parts, n_views, n_points=n_points)
    out, grads = view_weights_tests.gradients(ops.view_weights, inputs)
    twin = view_weights_tests.gradients(reference.view_weights, view_weights_tests.double(inputs))
    torch.testing.assert_close(out.double(), twin[0], rtol=1e-5, atol=3e-4 if "depths" in parts else 1e-5)
    for got, want in zip(grads, twin[1], strict=True):
        close(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("power", [0.0, 1.0, 3.5, 64.0, 65.0])
def test_any_angle_power(host_cuda, power):
    inputs = (*view_weights_tests.sample_inputs(("directions",))[:8], power)
    out, grads = view_weights_tests.gradients(ops.view_weights, inputs)
    twin = view_weights_tests.gradients(reference.view_weights, view_weights_tests.double(inputs))
    for got, want in zip([out, *grads], [twin[0], *twin[1]], strict=True):
        close(got, want, rtol=2e-4, atol=1e-4)


def composite_inputs():
    yield from composite_tests.sample_inputs(torch.float32)
    yield composite_tests.dense(1, 96, 3, dtype=torch.float32)
    yield composite_tests.dense(70, 3, 40, dtype=torch.float32)
    yield composite_tests.packed(tuple(i % 70 for i in range(40)), 5, dtype=torch.float32)
    yield composite_tests.packed(tuple(i % 13 for i in range(300)), 3, dtype=torch.float32)


@pytest.mark.parametrize("index", range(len(list(composite_inputs()))))
@pytest.mark.parametrize("used", [(0, 1, 2, 3), (0,), (1,), (2,), (3,)])
def test_composite(host_cuda, index, used):
    args = list(composite_inputs())[index]
    exact = (*(a.double() for a in args[:3]), args[3])
    for got, want in zip(ops.composite(*args), reference.composite(*exact), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=3e-6, atol=3e-6)
    grads = composite_tests.gradients(ops.composite, args, used)
    twin = composite_tests.gradients(reference.composite, exact, used)
    for got, want in zip(grads, twin, strict=True):
        want = torch.zeros_like(got) if want is None else want
        scale = max(1.0, want.abs().max().item()) if want.numel() else 1.0
        torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("n_samples", composite_tests.BORDERS)
@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_dense_rays_of_any_length(host_cuda, n_samples, n_channels):
    args = composite_tests.dense(6, n_samples, n_channels, 20 / n_samples, torch.float32)
    out, grads = ops.composite(*args), composite_tests.gradients(ops.composite, args)
    exact = (*(a.double() for a in args[:3]), None)
    for got, want in zip(out, reference.composite(*exact), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=3e-6, atol=3e-6)
    for got, want in zip(grads, composite_tests.gradients(reference.composite, exact), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5 * max(1.0, want.abs().max().item()))
    shifted = tuple(map(unaligned, args))
    assert shifted[0].data_ptr() % 16 == 4
    results = [*ops.composite(*shifted), *unaligned_gradients(shifted)]
    for got, want in zip(results, [*out, *unaligned_gradients(args)], strict=True):
        assert torch.equal(got, want)


def unaligned_gradients(args):
    """Of the inputs where they lie: ``gradients`` copies them."""
    inputs = [a.requires_grad_() for a in args[:3]]
    out = ops.composite(*inputs, None)
    grads = torch.autograd.grad(out, inputs, [unaligned(s) for s in composite_tests.seeds(out)])
    for a in inputs:
        a.requires_grad_(False)
    return grads


@pytest.mark.parametrize("n_samples", [1, 3, 7, 33, 97, 130])
def test_rays_keep_to_themselves(host_cuda, n_samples):
    args = composite_tests.dense(8, n_samples, 3, 20 / n_samples, torch.float32)
    broken = composite_tests.beside_rays_that_are_not_numbers(args)
    results = [*ops.composite(*args), *composite_tests.gradients(ops.composite, args)]
    beside = [*ops.composite(*broken), *composite_tests.gradients(ops.composite, broken)]
    for got, want in zip(beside, results, strict=True):
        assert torch.equal(got[::2], want[::2])


@pytest.mark.parametrize("n_samples", [97, 128])
def test_what_is_not_wanted_changes_nothing(host_cuda, n_samples):
    sigma, colour, edges, _ = composite_tests.dense(5, n_samples, 3, 0.2, torch.float32)
    sigma.requires_grad_()
    (alone,) = torch.autograd.grad(ops.composite(sigma, colour, edges).colour.sum(), [sigma])
    edges.requires_grad_(), colour.requires_grad_()
    for some in ([sigma, edges], [sigma, colour]):
        assert torch.equal(torch.autograd.grad(ops.composite(sigma, colour, edges).colour.sum(), some)[0], alone)


def test_nothing_passes_opaque_samples(host_cuda):
    """Transmittance is flushed where the CPU flushes it; what lies behind is zero, gradients included."""
    args = (torch.ones(2, 100), torch.ones(2, 100, 3), torch.arange(101.0).expand(2, 101), None)
    weights = ops.composite(*args).weights
    assert ((weights != 0).sum(1) == 35).all()
    sigma, colour, _ = composite_tests.gradients(ops.composite, args)
    assert (sigma[:, 35:] == 0).all() and (colour[:, 35:] == 0).all() and (sigma[:, :30] != 0).all()


def test_offsets_out_of_range_are_clamped(host_cuda):
    sigma, colour, edges, _ = composite_tests.packed((3, 2), dtype=torch.float32)
    for offsets in ([0, 3, 500], [-7, 3, 5], [0, 4, 3], [9, 9, 9]):
        out = ops.composite(sigma, colour, edges, torch.tensor(offsets))
        assert out.colour.isfinite().all()


@pytest.mark.parametrize("args", composite_tests.EMPTY)
def test_empty_rays(host_cuda, args):
    args = (*(a.float() for a in args[:3]), args[3])
    assert not any(zero.any() for zero in ops.composite(*args)[:3])
    grads = composite_tests.gradients(ops.composite, args)
    assert [g.shape for g in grads] == [a.shape for a in args[:3]] and not any(g.any() for g in grads)


@pytest.mark.parametrize("axis", ["V", "N", "C", "H"])
def test_empty_views(host_cuda, deterministic, axis):
    fuse_views_tests.test_empty(axis, 0)
    sample_views_tests.test_empty(axis if axis != "H" else "W")
    if axis != "C":
        view_weights_tests.test_empty(axis)


def test_points_and_weights_that_are_not_numbers(host_cuda, deterministic):
    fuse_views_tests.test_no_view_gives_zeros()
    fuse_views_tests.test_negative_weight_counts_as_zero()
    fuse_views_tests.test_edge_pixels_are_repeated()
    sample_views_tests.test_points_that_are_not_numbers_are_not_valid()
    view_weights_tests.test_visibility_ramp()
    for unknown in (0.0, -2.0, float("nan"), float("inf")):
        view_weights_tests.test_unknown_depth_hides_nothing(unknown)


def test_weight_gradient_at_zero_is_that_from_above(host_cuda):
    inputs = fuse_views_tests.sample_inputs(4, 6, 6, 5, 60, "per_point")
    inputs[4][:, 1] = 0
    inputs[4][:, 2] = -1
    _, grads = fuse_views_tests.gradients(ops.fuse_views, inputs)
    _, expected = fuse_views_tests.gradients(reference.fuse_views, fuse_views_tests.double(inputs))
    assert grads[2][:, 1].abs().max() > 0 and (grads[2][:, 2] == 0).all()
    close(grads[2][:, :2], expected[2][:, :2])


def half_inputs(dtype, n_channels):
    maps, K, pose, points, w = fuse_views_tests.sample_inputs(5, 9, 8, n_channels, 80, "per_point")
    return maps.to(dtype), K, pose, points, w


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_channels", [3, 12, 32])
def test_half_maps(host_cuda, deterministic, dtype, n_channels):
    """Against the twin of the rounded maps: all arithmetic is float32."""
    inputs = half_inputs(dtype, n_channels)
    exact = fuse_views_tests.double(inputs)
    out, grads = fuse_views_tests.gradients(torch.ops.uner3d.fuse_views, inputs)
    expected, expected_grads = fuse_views_tests.gradients(reference.fuse_views, exact)
    assert all(o.dtype == torch.float32 for o in out)
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=2e-5)
    assert grads[0].dtype == dtype and grads[1].dtype == torch.float32
    close(grads[0], expected_grads[0], rtol=1e-2)
    for got, want in zip(grads[1:], expected_grads[1:], strict=True):
        close(got, want)
    values, valid, grads = sample_views_tests.gradients(torch.ops.uner3d.sample_views, inputs[:4])
    expected_values, expected_valid, expected_grads = sample_views_tests.gradients(reference.sample_views, exact[:4])
    assert torch.equal(valid, expected_valid) and values.dtype == torch.float32 and grads[0].dtype == dtype
    torch.testing.assert_close(values.double(), expected_values, rtol=1e-5, atol=2e-5)
    close(grads[0], expected_grads[0], rtol=1e-2)
    close(grads[1], expected_grads[1])


def all_results(n_channels=12):
    """Outputs and gradients of all four ops."""
    inputs = fuse_views_tests.sample_inputs(5, 9, 8, n_channels, 90, "shared")
    fused = fuse_views_tests.gradients(ops.fuse_views, inputs)
    sampled = sample_views_tests.gradients(ops.sample_views, sample_views_tests.sample_inputs(5, 9, 8, n_channels, 90))
    weights = view_weights_tests.gradients(ops.view_weights, view_weights_tests.sample_inputs())
    args = composite_tests.packed(tuple(i % 40 for i in range(60)), dtype=torch.float32)
    rendered = [*ops.composite(*args), *composite_tests.gradients(ops.composite, args)]
    args = composite_tests.dense(37, 97, 3, dtype=torch.float32)
    rendered += [*ops.composite(*args), *composite_tests.gradients(ops.composite, args)]
    return [*fused[0], *fused[1], *sampled[:2], *sampled[2], weights[0], *weights[1], *rendered]


def test_the_order_of_the_threads_does_not_matter(host_cuda):
    """Under torch.use_deterministic_algorithms all bits are the same: the kernels have no race within a block."""
    torch.use_deterministic_algorithms(True)
    try:
        forwards = all_results()
        host_cuda.run_backwards(True)
        backwards = all_results()
    finally:
        host_cuda.run_backwards(False)
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_sorted_pairs_in_chunks(host_cuda, monkeypatch):
    torch.use_deterministic_algorithms(True)
    try:
        whole = all_results()
        monkeypatch.setattr(_views, "_PAIRS_AT_ONCE", 64)
        for a, b in zip(whole, all_results(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    finally:
        torch.use_deterministic_algorithms(False)


def unaligned(t):
    """A copy whose storage starts one element off."""
    if not isinstance(t, torch.Tensor):
        return t
    out = t.new_empty(t.numel() + 1)[1:].view(t.shape)
    return out.copy_(t).requires_grad_(t.requires_grad)


@pytest.mark.parametrize("n_channels", [8, 32, 40, 72])
def test_unaligned_storage(host_cuda, deterministic, n_channels):
    inputs = fuse_views_tests.sample_inputs(4, 9, 8, n_channels, 70, "per_point")
    shifted = tuple(map(unaligned, inputs))
    assert shifted[0].data_ptr() % 16 == 4 and shifted[0].is_contiguous()
    for a, b in zip(ops.fuse_views(*shifted), ops.fuse_views(*inputs), strict=True):
        assert torch.equal(a, b)
    out = ops.fuse_views(*inputs)
    grads = [torch.rand_like(o) for o in out]
    backward = torch.ops.uner3d.fuse_views_backward
    plain = backward(*grads, *inputs, *out, [True] * 3)
    odd = backward(*map(unaligned, grads), *shifted, *map(unaligned, out), [True] * 3)
    for a, b in zip(odd, plain, strict=True):
        close(a, b, atol=1e-5)
    values, _ = ops.sample_views(*inputs[:4])
    assert torch.equal(ops.sample_views(*shifted[:4])[0], values)
    grad, backward = torch.rand_like(values), torch.ops.uner3d.sample_views_backward
    for a, b in zip(
        backward(unaligned(grad), *shifted[:4], [True] * 2), backward(grad, *inputs[:4], [True] * 2), strict=True
    ):
        close(a, b, atol=1e-5)


@pytest.mark.parametrize("weights", [None, "shared", "per_point"])
def test_opcheck(host_cuda, weights):
    """Fake and real agree in the CUDA implementations too: shapes, dtypes, what an unwanted gradient looks like."""
    inputs = fuse_views_tests.with_grad(fuse_views_tests.sample_inputs(2, 4, 5, 3, 9, weights))
    torch.library.opcheck(torch.ops.uner3d.fuse_views.default, inputs)
    half = (inputs[0].detach().half().requires_grad_(), *inputs[1:])
    torch.library.opcheck(torch.ops.uner3d.fuse_views.default, half)
    torch.library.opcheck(torch.ops.uner3d.sample_views.default, half[:4])
    args = composite_tests.packed((3, 0, 9), 4, dtype=torch.float32)
    torch.library.opcheck(torch.ops.uner3d.composite.default, (*composite_tests.leaves(args), args[3]))
    weighed = view_weights_tests.leaves(view_weights_tests.sample_inputs(n_points=20))
    torch.library.opcheck(torch.ops.uner3d.view_weights.default, weighed)
