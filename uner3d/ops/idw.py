"""Inverse-distance weighting over the k nearest points."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import _native
from ._check import FLOATS, check_range, check_single_precision, check_tensor
from ._output import empty_cpu
from ._register import cuda_kernel, cuda_scratch, cuda_stream, define, differentiable, typed
from .knn import MAX_NEIGHBOURS, check_radius, radius_or_infinity
from .knn_index import TREE_SCHEMA, KnnIndex, aligned, as_index, check_finite, refuse_not_finite, tree_addresses

_HALF = (torch.float16, torch.bfloat16)


def idw(
    index: KnnIndex | Tensor,
    values: Tensor,
    queries: Tensor,
    k: int = 8,
    power: float = 2.0,
    eps: float | None = None,
    weights: Tensor | None = None,
    normals: Tensor | None = None,
    query_normals: Tensor | None = None,
    max_radius: float | None = None,
    check: bool = False,
) -> Tensor:
    """Interpolate values of scattered points by the inverse of their distance.

    out = sum_k w_k v_k / sum_k w_k over the k nearest points, w_k = weight_k / (d_k^power + eps)
    (Shepard, A two-dimensional interpolation function for irregularly-spaced data, 1968; eps softens it).

    - ``eps`` None means (s / 2)^power with the local spacing s = (distance of the farthest of the n neighbours found)
      / sqrt(n), per query: the result is the same in metres and in millimetres. It is a constant in the backward.
    - At eps = 0 a query on a point returns that point's value (on several: their mean, by weight) with a zero
      gradient by position.
    - With normals only neighbours whose normal has a positive dot product with the query's count; all, if none has.
    - Where no neighbour lies within ``max_radius``, or none that counts has a weight, the result is 0; on CUDA also
      where the query is not finite.

    Args:
        index: a KnnIndex, or the points (N, 3) for an index used once.
        values: (N, C), dtype and device of the points; on CUDA also float16 or bfloat16, added up in float32.
        queries: (M, 3), finite.
        k: 1 to 64; may exceed N.
        power: positive.
        eps: >= 0 in units of distance^power, or None.
        weights: (N,) finite and not negative, or None for ones.
        normals, query_normals: (N, 3) and (M, 3), both or neither; any length; not differentiable.
        max_radius: neighbours farther than this do not count.
        check: look for points and queries that are not finite and for wrong weights on CUDA too and raise, which waits
            for the device; the CPU always does.

    Returns:
        (M, C) in the dtype of the values, differentiable (once) in values, weights, queries and the points of the
        index; which points are neighbours is a constant in the backward. No (M, k) tensor is kept; the backward
        searches again. It adds up in a fixed order, so that results do not depend on the thread count; on CUDA in any
        order, or in a fixed one under ``torch.use_deterministic_algorithms(True)``.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came, or the row that is not finite.
        RuntimeError: the points were changed after the index was built.

    >>> points = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    >>> idw(points, torch.tensor([[0.0], [10.0]]), torch.tensor([[0.25, 0, 0]]), k=2, eps=0.0)
    tensor([[1.0000]])
    """
    index = as_index(index, check)
    sizes = {"N": len(index)}
    half = index.points.is_cuda and isinstance(values, Tensor) and values.dtype in _HALF
    check_tensor("values", values, ("N", "C"), dtype=values.dtype if half else FLOATS, like=index.points, sizes=sizes)
    check_tensor("queries", queries, ("M", 3), like=index.points, sizes=sizes)
    if weights is not None:
        check_tensor("weights", weights, ("N",), like=index.points, sizes=sizes)
    if (normals is None) != (query_normals is None):
        raise ValueError("normals, query_normals: expected both or neither, got one")
    if normals is not None:
        check_tensor("normals", normals, ("N", 3), like=index.points, sizes=sizes)
        check_tensor("query_normals", query_normals, ("M", 3), like=index.points, sizes=sizes)
    check_range("k", k, 1, MAX_NEIGHBOURS)
    check_radius(max_radius)
    if not 0 < power < math.inf:
        raise ValueError(f"power: expected a positive number, got {power}")
    if eps is not None and not 0 <= eps < math.inf:
        raise ValueError(f"eps: expected a number >= 0 or None, got {eps}")
    if check:
        refuse_not_finite("queries", queries)
        _check_weights(weights)
    return _IDW(*index.tensors(), values, queries, weights, normals, query_normals, k, power, eps, max_radius)


def _arguments(make, tree, values, queries, weights, normals, query_normals, k, power, eps, max_radius) -> Any:
    """The kernels' struct, built by ``make``; the caller keeps the tensors alive."""
    softening2 = -1.0 if eps is None else eps ** (2 / power)  # the binding's convention: negative means ours
    optional = [0 if t is None else t.data_ptr() for t in (weights, normals, query_normals)]
    return make(
        *tree_addresses(*tree), values.data_ptr(), queries.data_ptr(), *optional, queries.shape[0], values.shape[1],
        k, power, softening2, radius_or_infinity(max_radius),
    )  # fmt: skip


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if t is None else t.contiguous() for t in tensors]


def _cpu(points, leaves, order, boxes, lowest, values, queries, weights, normals, query_normals, k, power, eps,
         max_radius) -> Tensor:  # fmt: skip
    _check_weights(weights)
    values, queries, weights, normals, query_normals = _contiguous(values, queries, weights, normals, query_normals)
    args = _arguments(typed("IdwArgs", values), (points, leaves, order, boxes, lowest), values, queries, weights,
                      normals, query_normals, k, power, eps, max_radius)  # fmt: skip
    out = empty_cpu(values, (queries.shape[0], values.shape[1]))
    bad = typed("idw_forward", values)(args, out.data_ptr(), torch.get_num_threads())
    check_finite("queries", bad, queries)
    return out


def _cuda(points, leaves, order, boxes, lowest, values, queries, weights, normals, query_normals, k, power, eps,
          max_radius) -> Tensor:  # fmt: skip
    check_single_precision("points", points)
    values, queries, weights, normals, query_normals = _contiguous(values, queries, weights, normals, query_normals)
    tree = aligned(points, leaves, order, boxes, lowest)
    args = _arguments(_native.cuda.IdwArgs_f32, tree, values, queries, weights, normals, query_normals, k, power, eps,
                      max_radius)  # fmt: skip
    out = values.new_empty(queries.shape[0], values.shape[1])
    device, stream = cuda_stream(points)
    if out.numel() > 0:
        scratch = cuda_scratch(queries, cuda_kernel("idw_forward_scratch")(queries.shape[0], device))
        cuda_kernel("idw_forward")(
            args, values.data_ptr(), out.data_ptr(), _value_type(values), scratch.data_ptr(), device, stream
        )
    return out


def _value_type(values: Tensor) -> int:
    return _native.cuda.value_types.index(str(values.dtype).removeprefix("torch."))


def _check_weights(weights: Tensor | None) -> None:
    if weights is None or weights.numel() == 0:
        return
    good = (weights >= 0) & torch.isfinite(weights)
    if not good.all():
        row = int((~good).nonzero()[0])
        raise ValueError(f"weights: expected finite values >= 0, got {weights[row].item()} in row {row}")


def _fake(points, leaves, order, boxes, lowest, values, queries, *_rest) -> Tensor:
    return values.new_empty(queries.shape[0], values.shape[1])


def _backward_cpu(grad, points, leaves, order, boxes, lowest, values, queries, weights, normals, query_normals, k,
                  power, eps, max_radius, wanted) -> tuple[Tensor, ...]:  # fmt: skip
    grad, values, queries, weights, normals, query_normals = _contiguous(
        grad, values, queries, weights, normals, query_normals
    )
    args = _arguments(typed("IdwArgs", values), (points, leaves, order, boxes, lowest), values, queries, weights,
                      normals, query_normals, k, power, eps, max_radius)  # fmt: skip
    grads = tuple(t.zero_() for t in _grads(points, values, queries, weights, wanted))
    addresses = [t.data_ptr() if want else 0 for t, want in zip(grads, wanted, strict=True)]
    typed("idw_backward", values)(args, grad.data_ptr(), *addresses, torch.get_num_threads())
    return grads


def _backward_cuda(grad, points, leaves, order, boxes, lowest, values, queries, weights, normals, query_normals, k,
                   power, eps, max_radius, wanted) -> tuple[Tensor, ...]:  # fmt: skip
    check_single_precision("points", points)
    grad, values, queries, weights, normals, query_normals = _contiguous(
        grad, values, queries, weights, normals, query_normals
    )
    tree = aligned(points, leaves, order, boxes, lowest)
    args = _arguments(_native.cuda.IdwArgs_f32, tree, values, queries, weights, normals, query_normals, k, power, eps,
                      max_radius)  # fmt: skip
    grads = [t.float().zero_() for t in _grads(points, values, queries, weights, wanted)]
    device, stream = cuda_stream(points)
    if queries.shape[0] > 0:
        fixed_order = torch.are_deterministic_algorithms_enabled()
        n_bytes = cuda_kernel("idw_backward_scratch")(queries.shape[0], k, fixed_order, device)
        scratch = cuda_scratch(queries, n_bytes)
        addresses = [t.data_ptr() if want else 0 for t, want in zip(grads, wanted, strict=True)]
        cuda_kernel("idw_backward")(
            args, values.data_ptr(), grad.data_ptr(), _value_type(values), *addresses, fixed_order, scratch.data_ptr(),
            device, stream,
        )  # fmt: skip
    return grads[0].to(values.dtype), *grads[1:]


def _grads(points, values, queries, weights, wanted) -> tuple[Tensor, ...]:
    """Gradients of values, weights, queries, points; empty where not wanted."""
    shapes = ((values, values.shape), (points, points.shape[:1]), (queries, queries.shape), (points, points.shape))
    return tuple(t.new_empty(s if want else (0,)) for (t, s), want in zip(shapes, wanted, strict=True))


def _backward_fake(grad, points, leaves, order, boxes, lowest, values, queries, weights, *rest) -> tuple[Tensor, ...]:
    return _grads(points, values, queries, weights, rest[-1])


_ARGS = (
    f"{TREE_SCHEMA}, Tensor values, Tensor queries, Tensor? weights, Tensor? normals, Tensor? query_normals, int k, "
    "float power, float? eps, float? max_radius"
)
_IDW = define("idw", f"({_ARGS}) -> Tensor", cpu=_cpu, cuda=_cuda, fake=_fake)
_BACKWARD = define(
    "idw_backward", f"(Tensor grad, {_ARGS}, bool[4] wanted) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:10])
    ctx.options = inputs[10:]


def _backward(ctx, grad: Tensor):
    needs = ctx.needs_input_grad
    wanted = [needs[5], needs[7], needs[6], needs[0]]
    grads = _BACKWARD(grad, *ctx.saved_tensors, *ctx.options, wanted)
    by_values, by_weights, by_queries, by_points = (g if want else None for g, want in zip(grads, wanted, strict=True))
    return by_points, *[None] * 4, by_values, by_queries, by_weights, *[None] * 6


differentiable("idw", setup_context=_setup_context, backward=_backward)
