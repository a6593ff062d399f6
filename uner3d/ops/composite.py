"""Volume rendering along rays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _native
from ._check import FLOATS, check_tensor
from ._output import Empty, empty, empty_cpu
from ._register import cuda_stream, define, differentiable, typed


class CompositeResult(NamedTuple):
    """What :func:`composite` returns; R rays, N samples in all, C channels."""

    colour: Tensor
    """(R, C), without any background."""
    depth: Tensor
    """(R,) in the unit of ``edges``; not divided by ``opacity``."""
    opacity: Tensor
    """(R,) in [0, 1]."""
    weights: Tensor
    """Shaped as ``sigma``."""


def composite(sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None = None) -> CompositeResult:
    """Accumulate the samples of each ray, front to back (Max 1995; NeRF, Mildenhall et al. 2020, eq. 3).

    Sample i of a ray spans t from t0_i to t1_i:
    alpha_i = 1 - exp(-sigma_i (t1_i - t0_i)), T_i = prod_{j<i} (1 - alpha_j), w_i = T_i alpha_i;
    colour = sum_i w_i c_i, depth = sum_i w_i (t0_i + t1_i) / 2, opacity = sum_i w_i.
    A background b is added by the caller, colour + (1 - opacity) b; the mean depth of what was hit is depth / opacity.

    ``sigma`` >= 0 and t1 >= t0 are expected and not checked (clamp or activate before), nor are non-finite values.
    However large ``sigma`` is, values and gradients stay finite: nothing is divided by a transmittance.

    Args:
        sigma: (R, S) densities per unit of t, float32 or float64 (CPU), float32 (CUDA); packed: (N,), the samples of
            all rays in turn.
        colour: (R, S, C), or (N, C) packed; any C, 0 included.
        edges: (R, S + 1): sample i lies between edges i and i + 1; packed: (N, 2) with t0 and t1, gaps allowed.
        ray_offsets: (R + 1,) int64 for packed input: ray r owns samples ``ray_offsets[r]`` to ``ray_offsets[r + 1]``.
            Starts at 0, never decreases, ends at N; rays may be empty. None for dense input. On CUDA its values are not
            checked, since that would wait for the device; what lies outside [0, N] is clamped.

    Returns:
        colour (R, C), depth (R,), opacity (R,) and weights (as ``sigma``), all differentiable (once) in ``sigma``,
        ``colour`` and ``edges``. The same bytes come out for any number of threads, and each time on CUDA, gradients
        included.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> out = composite(torch.tensor([[0.0, 1e9]]), torch.tensor([[[0.2], [0.7]]]), torch.tensor([[1.0, 2.0, 3.0]]))
    >>> out.colour, out.depth, out.opacity
    (tensor([[0.7000]]), tensor([2.5000]), tensor([1.]))
    """
    sizes: dict[str, int] = {}
    dtype = torch.float32 if isinstance(sigma, Tensor) and sigma.is_cuda else FLOATS
    if ray_offsets is None:
        check_tensor("sigma", sigma, ("R", "S"), dtype=dtype, sizes=sizes)
        check_tensor("colour", colour, ("R", "S", None), like=sigma, sizes=sizes)
        check_tensor("edges", edges, ("R", sizes["S"] + 1), like=sigma, sizes=sizes)
    else:
        check_tensor("sigma", sigma, ("N",), dtype=dtype, sizes=sizes)
        check_tensor("colour", colour, ("N", None), like=sigma, sizes=sizes)
        check_tensor("edges", edges, ("N", 2), like=sigma, sizes=sizes)
        check_tensor("ray_offsets", ray_offsets, (None,), dtype=torch.int64, like=sigma)
        if ray_offsets.shape[0] == 0:
            raise ValueError("ray_offsets: expected shape (R + 1,), got (0,)")
    return CompositeResult(*_OP(sigma, colour, edges, ray_offsets))


def _n_rays(sigma: Tensor, ray_offsets: Tensor | None) -> int:
    return sigma.shape[0] if ray_offsets is None else ray_offsets.shape[0] - 1


def _check_offsets(ray_offsets: Tensor, n_samples: int) -> None:
    first, last = int(ray_offsets[0]), int(ray_offsets[-1])
    if first != 0 or last != n_samples:
        raise ValueError(f"ray_offsets: expected to run from 0 to the {n_samples} samples, got {first} to {last}")
    falls = ray_offsets[1:] < ray_offsets[:-1]
    if falls.any():
        r = int(falls.nonzero()[0])
        a, b = ray_offsets[r : r + 2].tolist()
        raise ValueError(f"ray_offsets: expected non-decreasing values, got {a} at {r} and {b} at {r + 1}")


def _samples(sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None) -> tuple[int, ...]:
    """The first arguments of all kernels; the tensors must be contiguous."""
    return (
        sigma.data_ptr(), colour.data_ptr(), edges.data_ptr(), _pointer(ray_offsets), _n_rays(sigma, ray_offsets),
        sigma.shape[-1], colour.shape[-1],
    )  # fmt: skip


def _pointer(value: Tensor | None) -> int:
    return 0 if value is None else value.data_ptr()


def _cpu(
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if ray_offsets is not None:
        ray_offsets = ray_offsets.contiguous()
        _check_offsets(ray_offsets, sigma.shape[0])
    sigma, colour, edges = sigma.contiguous(), colour.contiguous(), edges.contiguous()
    out = _fake(sigma, colour, edges, ray_offsets, empty_cpu)
    typed("composite_forward", sigma)(
        *_samples(sigma, colour, edges, ray_offsets), *(t.data_ptr() for t in out), torch.get_num_threads()
    )
    return out


def _cuda(
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sigma, colour, edges, ray_offsets = _cuda_inputs(sigma, colour, edges, ray_offsets)
    out = _fake(sigma, colour, edges, ray_offsets)
    _native.cuda.composite_forward_cuda(
        *_samples(sigma, colour, edges, ray_offsets), *(t.data_ptr() for t in out), *cuda_stream(sigma)
    )
    return out


def _cuda_inputs(
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    for name, tensor in (("sigma", sigma), ("colour", colour), ("edges", edges)):
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected float32 on CUDA, got {tensor.dtype}")
    ray_offsets = None if ray_offsets is None else ray_offsets.contiguous()
    return sigma.contiguous(), colour.contiguous(), edges.contiguous(), ray_offsets


def _fake(
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None, empty: Empty = empty
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n_rays = _n_rays(sigma, ray_offsets)
    return (
        empty(sigma, (n_rays, colour.shape[-1])),
        empty(sigma, (n_rays,)),
        empty(sigma, (n_rays,)),
        empty(sigma, sigma.shape),
    )


def _backward_cpu(
    grad_colour: Tensor | None, grad_depth: Tensor | None, grad_opacity: Tensor | None, grad_weights: Tensor | None,
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None, weights: Tensor | None,
    want_colour: bool, want_edges: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    sigma, colour, edges = sigma.contiguous(), colour.contiguous(), edges.contiguous()
    ray_offsets = None if ray_offsets is None else ray_offsets.contiguous()
    grads = [None if g is None else g.contiguous() for g in (grad_colour, grad_depth, grad_opacity, grad_weights)]
    out = _backward_outputs(sigma, colour, edges, want_colour, want_edges, empty_cpu)
    typed("composite_backward", sigma)(
        *_samples(sigma, colour, edges, ray_offsets), *map(_pointer, (*grads, weights)), out[0].data_ptr(),
        out[1].data_ptr() if want_colour else 0, out[2].data_ptr() if want_edges else 0, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _backward_cuda(
    grad_colour: Tensor | None, grad_depth: Tensor | None, grad_opacity: Tensor | None, grad_weights: Tensor | None,
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None, weights: Tensor | None,
    want_colour: bool, want_edges: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    sigma, colour, edges, ray_offsets = _cuda_inputs(sigma, colour, edges, ray_offsets)
    grads = [None if g is None else g.contiguous() for g in (grad_colour, grad_depth, grad_opacity, grad_weights)]
    out = _backward_outputs(sigma, colour, edges, want_colour, want_edges)
    _native.cuda.composite_backward_cuda(
        *_samples(sigma, colour, edges, ray_offsets), *map(_pointer, grads), out[0].data_ptr(),
        out[1].data_ptr() if want_colour else 0, out[2].data_ptr() if want_edges else 0, *cuda_stream(sigma),
    )  # fmt: skip
    return out


def _backward_fake(
    grad_colour: Tensor | None, grad_depth: Tensor | None, grad_opacity: Tensor | None, grad_weights: Tensor | None,
    sigma: Tensor, colour: Tensor, edges: Tensor, ray_offsets: Tensor | None, weights: Tensor | None,
    want_colour: bool, want_edges: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _backward_outputs(sigma, colour, edges, want_colour, want_edges)


def _backward_outputs(
    sigma: Tensor, colour: Tensor, edges: Tensor, want_colour: bool, want_edges: bool, empty: Empty = empty
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        empty(sigma, sigma.shape),
        empty(sigma, colour.shape if want_colour else (0,)),
        empty(sigma, edges.shape if want_edges else (0,)),
    )


_SAMPLES = "Tensor sigma, Tensor colour, Tensor edges, Tensor? ray_offsets"
_OP = define("composite", f"({_SAMPLES}) -> (Tensor, Tensor, Tensor, Tensor)", cpu=_cpu, cuda=_cuda, fake=_fake)
_BACKWARD = define(
    "composite_backward",
    f"(Tensor? grad_colour, Tensor? grad_depth, Tensor? grad_opacity, Tensor? grad_weights, {_SAMPLES}, "
    "Tensor? weights, bool want_colour, bool want_edges) -> (Tensor, Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)  # outputs that no loss uses cost nothing
    weights = None if inputs[0].is_cuda else output[3]  # on CUDA they are computed anew
    ctx.save_for_backward(*inputs, weights)


def _backward(ctx, *grads: Tensor | None):
    *inputs, weights = ctx.saved_tensors
    want_sigma, want_colour, want_edges, _ = ctx.needs_input_grad
    grad_sigma, grad_samples, grad_edges = _BACKWARD(*grads, *inputs, weights, want_colour, want_edges)
    return (
        grad_sigma if want_sigma else None, grad_samples if want_colour else None,
        grad_edges if want_edges else None, None,
    )  # fmt: skip


differentiable("composite", setup_context=_setup_context, backward=_backward)
