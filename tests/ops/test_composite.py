"""composite against its float64 twin, its gradients, and what it promises about threads, layouts and bad input."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference


def dense(n_rays=5, n_samples=7, n_channels=3, density=3.0, dtype=torch.float64, seed=0):
    gen = torch.Generator().manual_seed(seed)
    sigma = density * torch.rand(n_rays, n_samples, generator=gen, dtype=torch.float64)
    colour = torch.rand(n_rays, n_samples, n_channels, generator=gen, dtype=torch.float64)
    edges = 1 + 4 * torch.rand(n_rays, n_samples + 1, generator=gen, dtype=torch.float64).sort(1)[0]
    return sigma.to(dtype), colour.to(dtype), edges.to(dtype), None


def packed(counts=(3, 0, 1, 40, 0), n_channels=3, density=3.0, dtype=torch.float64, seed=0):
    gen = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    n = int(offsets[-1])
    sigma = density * torch.rand(n, generator=gen, dtype=torch.float64)
    colour = torch.rand(n, n_channels, generator=gen, dtype=torch.float64)
    t0 = 1 + torch.arange(n, dtype=torch.float64) / 10
    edges = torch.stack([t0, t0 + 0.1 * torch.rand(n, generator=gen, dtype=torch.float64)], 1)  # gaps between samples
    return sigma.to(dtype), colour.to(dtype), edges.to(dtype), offsets


def sample_inputs(dtype=torch.float64):
    """One list for correctness, gradients and opcheck."""
    yield dense(dtype=dtype)
    yield dense(3, 33, 1, dtype=dtype)
    yield dense(2, 300, 4, density=0.5, dtype=dtype)  # more than one block
    yield dense(2, 17, 6, density=1e6, dtype=dtype)  # opaque
    yield dense(3, 5, 0, dtype=dtype)
    yield packed(dtype=dtype)
    yield packed((17, 16, 15, 1), 2, dtype=dtype)
    yield packed((0, 600), 3, density=0.1, dtype=dtype)


# Around what the CUDA kernels take as fours of samples, as narrow groups, as blocks, and in registers.
BORDERS = [1, 2, 3, 4, 5, 13, 14, 16, 17, 30, 31, 32, 33, 95, 96, 97, 127, 128, 129, 253, 254, 255, 256, 257]


def beside_rays_that_are_not_numbers(args):
    """The same dense rays, every second one of them replaced: nothing of it may come to its neighbours."""
    broken = tuple(a.clone() for a in args[:3])
    for a in broken:
        a[1::2] = float("nan")
    return (*broken, None)


SMALL = [dense(2, 5, 3), dense(2, 18, 2), dense(2, 4, 0), packed((3, 0, 9), 4), packed((17,), 1)]
EMPTY = [dense(0, 4, 3), dense(3, 0, 2), dense(0, 0, 0), packed((), 3), packed((0, 0), 3)]


def leaves(args):
    return tuple(a.detach().clone().requires_grad_() for a in args[:3])


def seeds(outputs):
    gen = torch.Generator().manual_seed(9)
    return [torch.randn(o.shape, generator=gen, dtype=torch.float64).to(o) for o in outputs]


def gradients(f, args, outputs_used=(0, 1, 2, 3)):
    inputs = leaves(args)
    outputs = f(*inputs, args[3])
    used = [outputs[i] for i in outputs_used]
    chosen = [seeds(outputs)[i] for i in outputs_used]
    return torch.autograd.grad(used, inputs, chosen, allow_unused=True)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 3e-6), (torch.float64, 1e-12)])
def test_agrees_with_the_twin_on_every_instruction_set(isa, dtype, tolerance):
    for args in sample_inputs(dtype):
        exact = [a.double() for a in args[:3]]
        for got, want in zip(ops.composite(*args), reference.composite(*exact, args[3]), strict=True):
            assert got.dtype == dtype and got.shape == want.shape
            torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-11)])
def test_gradients_agree_with_the_twin_on_every_instruction_set(isa, dtype, tolerance):
    for args in sample_inputs(dtype):
        exact = (*(a.double() for a in args[:3]), args[3])
        for got, want in zip(gradients(ops.composite, args), gradients(reference.composite, exact), strict=True):
            scale = max(1.0, want.abs().max().item()) if want.numel() else 1.0
            assert got.shape == want.shape
            torch.testing.assert_close(got.double() / scale, want / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("args", SMALL)
def test_gradcheck(args):
    assert torch.autograd.gradcheck(lambda *x: tuple(ops.composite(*x, args[3])), leaves(args))


@pytest.mark.parametrize("args", [SMALL[0], SMALL[3], EMPTY[1]])
def test_opcheck(args):
    torch.library.opcheck(torch.ops.uner3d.composite.default, (*leaves(args), args[3]))


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (3,), (1, 3)])
@pytest.mark.parametrize("args", [dense(), packed()])
def test_losses_on_some_outputs_only(args, used):
    for got, want in zip(gradients(ops.composite, args, used), gradients(reference.composite, args, used), strict=True):
        torch.testing.assert_close(got, torch.zeros_like(got) if want is None else want)


def test_only_the_wanted_gradients_come():
    sigma, colour, edges, _ = dense()
    sigma.requires_grad_()
    ops.composite(sigma, colour, edges).colour.sum().backward()
    assert sigma.grad is not None and colour.grad is None and edges.grad is None
    sigma, colour, edges, _ = dense()
    edges.requires_grad_()
    ops.composite(sigma, colour, edges).depth.sum().backward()
    assert edges.grad is not None and sigma.grad is None


@pytest.mark.parametrize("args", EMPTY)
def test_empty_inputs(args):
    out = ops.composite(*args)
    n_rays = len(args[0]) if args[3] is None else len(args[3]) - 1
    assert out.colour.shape == (n_rays, args[1].shape[-1])
    assert out.weights.shape == args[0].shape
    for zero in out[:3]:
        assert not zero.any()
    assert [g.shape for g in gradients(ops.composite, args)] == [a.shape for a in args[:3]]


@pytest.mark.parametrize("make", [dense, packed])
def test_non_contiguous_inputs(make):
    sigma, colour, edges, offsets = make(dtype=torch.float32)
    strided = [torch.stack([a, -a], -1)[..., 0] for a in (sigma, colour, edges)]
    spread = None if offsets is None else torch.stack([offsets, -offsets], -1)[:, 0]
    assert not strided[0].is_contiguous()
    for got, want in zip(ops.composite(*strided, spread), ops.composite(sigma, colour, edges, offsets), strict=True):
        assert torch.equal(got, want)
    expanded = gradients(lambda *x: (ops.composite(*x).opacity.sum(),), (*strided, spread), (0,))
    plain = gradients(lambda *x: (ops.composite(*x).opacity.sum(),), (sigma, colour, edges, offsets), (0,))
    assert all(torch.equal(a, b) for a, b in zip(expanded, plain, strict=True))


@pytest.mark.parametrize("args", [dense(3000, 19, 3, dtype=torch.float32),
                                  packed(tuple(i % 23 for i in range(3000)), dtype=torch.float32)])  # fmt: skip
def test_same_bytes_for_any_thread_count(args):
    def results():
        return [*ops.composite(*args), *gradients(ops.composite, args)]

    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = results()
        torch.set_num_threads(2)
        two = results()
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("density", [1e3, 1e10, 1e30])
def test_opaque_samples_have_finite_values_and_gradients(density):
    args = dense(4, 40, 3, density, torch.float32)
    args[0][:, ::2] = 0
    out = ops.composite(*args)
    torch.testing.assert_close(out.opacity, torch.ones(4))
    for value in (*out, *gradients(ops.composite, args)):
        assert value.isfinite().all()


def test_thin_samples_keep_their_digits():
    sigma = torch.full((1, 4), 1e-9)
    out = ops.composite(sigma, torch.ones(1, 4, 1), torch.arange(5.0)[None])
    torch.testing.assert_close(out.weights, sigma, rtol=1e-6, atol=0)


def test_weight_of_each_sample_far_down_the_ray_is_relatively_exact_until_nothing_passes():
    sigma = torch.full((1, 60), 1.0)
    out = ops.composite(sigma, torch.ones(1, 60, 1), torch.arange(61.0)[None])
    want = torch.exp(-torch.arange(60.0, dtype=torch.float64)) * -torch.expm1(torch.tensor(-1.0, dtype=torch.float64))
    seen = torch.exp(-torch.arange(60.0)) > 1e-15
    torch.testing.assert_close(out.weights[0, seen].double(), want[seen], rtol=1e-5, atol=0)
    assert (out.weights[0, ~seen] == 0).all() and int(seen.sum()) == 35  # no denormal numbers behind an opaque wall


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 70), max_size=6),
    n_channels=st.integers(0, 5),
    density=st.sampled_from([0.0, 0.01, 1.0, 100.0, 1e8]),
    seed=st.integers(0, 1000),
)
def test_rays_are_convex_combinations_and_packing_changes_nothing(counts, n_channels, density, seed):
    sigma, colour, edges, offsets = packed(tuple(counts), n_channels, density, torch.float32, seed)
    out = ops.composite(sigma, colour, edges, offsets)
    assert (out.weights >= 0).all() and (out.opacity >= 0).all() and (out.opacity <= 1 + 1e-5).all()
    assert (out.colour >= 0).all() and (out.colour <= out.opacity[:, None] + 1e-5).all()
    for r, (a, b) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        alone = ops.composite(sigma[a:b], colour[a:b], edges[a:b], torch.tensor([0, b - a]))
        assert torch.equal(alone.colour[0], out.colour[r]) and torch.equal(alone.weights, out.weights[a:b])
        assert torch.equal(alone.depth[0], out.depth[r]) and torch.equal(alone.opacity[0], out.opacity[r])


def test_compiles_as_one_graph():
    args = dense(dtype=torch.float32)
    compiled = torch.compile(lambda *x: ops.composite(*x).colour * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*args), ops.composite(*args).colour * 2)


def wrong(**changes):
    sigma, colour, edges, _ = dense(2, 3, 3, dtype=torch.float32)
    return {"sigma": sigma, "colour": colour, "edges": edges, **changes}


def wrong_packed(offsets):
    sigma, colour, edges, _ = packed((3, 2), dtype=torch.float32)
    return {"sigma": sigma, "colour": colour, "edges": edges, "ray_offsets": offsets}


@pytest.mark.parametrize("arguments, error, says", [
    (wrong(sigma=[1.0]), TypeError, "sigma: expected a tensor (R, S), got list"),
    (wrong(sigma=torch.ones(6)), ValueError, "sigma: expected shape (R, S), got (6,)"),
    (wrong(colour=torch.ones(2, 4, 3)), ValueError, "colour: expected shape (R, S, any) with R = 2, S = 3, got (2, 4"),
    (wrong(colour=torch.ones(2, 3, 3, dtype=torch.float64)), TypeError, "colour: expected dtype torch.float32"),
    (wrong(edges=torch.ones(2, 3)), ValueError, "edges: expected shape (R, 4) with R = 2, got (2, 3)"),
    (wrong(sigma=torch.ones(2, 3, dtype=torch.int64)), TypeError, "sigma: expected dtype torch.float32 or"),
    (wrong(edges=torch.ones(2, 4, device="meta")), ValueError, "edges: expected device cpu, got meta"),
    (wrong_packed(torch.tensor([0, 3, 5], dtype=torch.int32)), TypeError, "ray_offsets: expected dtype torch.int64"),
    (wrong_packed(torch.tensor([], dtype=torch.int64)), ValueError, "ray_offsets: expected shape (R + 1,), got (0,)"),
    (wrong_packed(torch.tensor([0, 3])), ValueError, "to run from 0 to the 5 samples, got 0 to 3"),
    (wrong_packed(torch.tensor([1, 5])), ValueError, "to run from 0 to the 5 samples, got 1 to 5"),
    (wrong_packed(torch.tensor([0, 4, 3, 5])), ValueError, "ray_offsets: expected non-decreasing values, got 4 at 1"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments, error, says):
    with pytest.raises(error, match=re.escape(says)):
        ops.composite(**arguments)


@pytest.mark.skipif(not ops._native.cuda.cuda_problem(), reason="CUDA works here")
def test_cuda_that_cannot_be_used_is_refused_in_a_sentence():
    assert torch._C._dispatch_has_kernel_for_dispatch_key("uner3d::composite", "CUDA")
    with pytest.raises(RuntimeError, match="CUDA"):
        sys.modules["uner3d.ops.composite"]._cuda(*dense(dtype=torch.float32))
