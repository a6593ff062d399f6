"""Exact k-nearest neighbours in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._check import check_range, check_single_precision, check_tensor
from ._output import Empty, empty, empty_cpu
from ._register import cuda_kernel, cuda_scratch, cuda_stream, define, differentiable, typed
from .knn_index import TREE_SCHEMA, KnnIndex, aligned, as_index, check_finite, refuse_not_finite, tree_addresses

MAX_NEIGHBOURS = 64


def knn(
    index: KnnIndex | Tensor, queries: Tensor, k: int, max_radius: float | None = None, check: bool = False
) -> tuple[Tensor, Tensor]:
    """The ``k`` nearest points of every query, exactly.

    dist2 = ((px - qx)^2 + (py - qy)^2) + (pz - qz)^2, in the dtype of the points, every operation rounded by itself:
    the same bits on every CPU, at any thread count, and on CUDA. Neighbours come in ascending order, ties by lower
    index. Queries are sorted inside; their order does not matter.

    Args:
        index: a KnnIndex, or the points (N, 3) for an index used once.
        queries: (M, 3), dtype and device of the points, finite. On CUDA, a query that is not finite finds nothing.
        k: 1 to 64; may exceed N.
        max_radius: neighbours farther than this do not count (those at this distance do); None means no limit.
        check: look for points and queries that are not finite on CUDA too and raise, which waits for the device; the
            CPU always does.

    Returns:
        dist2 (M, k), infinity where there are fewer than k neighbours; differentiable (once) in points and queries.
        idx (M, k) int64 into the points, -1 where there are fewer. A square that overflows is no neighbour.
        On CUDA the gradients of points are added up in any order, or in a fixed one under
        ``torch.use_deterministic_algorithms(True)``.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came, or the row that is not finite.
        RuntimeError: the points were changed after the index was built.
    """
    index = as_index(index, check)
    check_tensor("queries", queries, ("M", 3), like=index.points)
    check_range("k", k, 1, MAX_NEIGHBOURS)
    check_radius(max_radius)
    if check:
        refuse_not_finite("queries", queries)
    return _KNN(*index.tensors(), queries, k, max_radius)


def check_radius(max_radius: float | None) -> None:
    """Check that a radius is None or not negative."""
    if max_radius is not None:
        check_range("max_radius", max_radius, 0, math.inf)


def radius_or_infinity(max_radius: float | None) -> float:
    """``max_radius`` as the kernels take it."""
    return math.inf if max_radius is None else max_radius


def _knn_fake(
    points, leaves, order, boxes, lowest, queries, k, max_radius, empty: Empty = empty
) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], k)
    return empty(queries, shape), empty(queries, shape, torch.int64)


def _knn_cpu(points, leaves, order, boxes, lowest, queries, k, max_radius) -> tuple[Tensor, Tensor]:
    queries = queries.contiguous()
    dist2, idx = _knn_fake(points, leaves, order, boxes, lowest, queries, k, max_radius, empty_cpu)
    bad = typed("knn_forward", points)(
        *tree_addresses(points, leaves, order, boxes, lowest), queries.data_ptr(), dist2.data_ptr(), idx.data_ptr(),
        queries.shape[0], k, radius_or_infinity(max_radius), torch.get_num_threads(),
    )  # fmt: skip
    check_finite("queries", bad, queries)
    return dist2, idx


def _knn_cuda(points, leaves, order, boxes, lowest, queries, k, max_radius) -> tuple[Tensor, Tensor]:
    check_single_precision("points", points)
    queries, tree = queries.contiguous(), aligned(points, leaves, order, boxes, lowest)
    dist2, idx = _knn_fake(points, leaves, order, boxes, lowest, queries, k, max_radius)
    device, stream = cuda_stream(points)
    if queries.shape[0] > 0:
        scratch = cuda_scratch(queries, cuda_kernel("knn_forward_scratch")(queries.shape[0], device))
        cuda_kernel("knn_forward")(
            *tree_addresses(*tree), queries.data_ptr(), dist2.data_ptr(), idx.data_ptr(), queries.shape[0], k,
            radius_or_infinity(max_radius), scratch.data_ptr(), device, stream,
        )  # fmt: skip
    return dist2, idx


def _backward_fake(grad: Tensor, points: Tensor, queries: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    return points.new_empty(points.shape), queries.new_empty(queries.shape)


def _backward_cpu(grad: Tensor, points: Tensor, queries: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    grad, points, queries, idx = grad.contiguous(), points.contiguous(), queries.contiguous(), idx.contiguous()
    grad_points, grad_queries = points.new_zeros(points.shape), queries.new_zeros(queries.shape)
    typed("knn_backward", points)(
        points.data_ptr(), queries.data_ptr(), idx.data_ptr(), grad.data_ptr(), grad_points.data_ptr(),
        grad_queries.data_ptr(), points.shape[0], *idx.shape, torch.get_num_threads(),
    )  # fmt: skip
    return grad_points, grad_queries


def _backward_cuda(grad: Tensor, points: Tensor, queries: Tensor, idx: Tensor) -> tuple[Tensor, Tensor]:
    check_single_precision("points", points)
    grad, points, queries, idx = grad.contiguous(), points.contiguous(), queries.contiguous(), idx.contiguous()
    grad_points, grad_queries = points.new_zeros(points.shape), queries.new_zeros(queries.shape)
    device, stream = cuda_stream(points)
    if queries.shape[0] > 0:
        scratch = None
        if torch.are_deterministic_algorithms_enabled():
            scratch = cuda_scratch(points, cuda_kernel("knn_backward_scratch")(*idx.shape, device))
        cuda_kernel("knn_backward")(
            points.data_ptr(), queries.data_ptr(), idx.data_ptr(), grad.data_ptr(), grad_points.data_ptr(),
            grad_queries.data_ptr(), points.shape[0], *idx.shape, 0 if scratch is None else scratch.data_ptr(), device,
            stream,
        )  # fmt: skip
    return grad_points, grad_queries


_KNN = define(
    "knn", f"({TREE_SCHEMA}, Tensor queries, int k, float? max_radius) -> (Tensor, Tensor)",
    cpu=_knn_cpu, cuda=_knn_cuda, fake=_knn_fake,
)  # fmt: skip
_BACKWARD = define(
    "knn_backward", "(Tensor grad, Tensor points, Tensor queries, Tensor idx) -> (Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0], inputs[5], output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_dist2: Tensor, _grad_idx: Tensor | None):
    grad_points, grad_queries = _BACKWARD(grad_dist2, *ctx.saved_tensors)
    return grad_points, None, None, None, None, grad_queries, None, None


differentiable("knn", setup_context=_setup_context, backward=_backward)
