"""The tree over points in which neighbours are found."""

from __future__ import annotations

import torch
from torch import Tensor

from ._check import check_single_precision, check_tensor
from ._register import cuda_kernel, cuda_scratch, cuda_stream, define, typed

MAX_POINTS = 2**31 - 1
_WIDTH = 16  # points in a leaf, children of a group


class KnnIndex:
    """Search structure over points that do not move: an implicit 16-ary tree of boxes over kd-ordered points.

    It takes 18 bytes a point in float32 (32 in float64) beside ``points``, which it refers to. It holds plain tensors,
    so that ops take them, and gradients flow to ``points``. Points that moved need a new index; where torch can tell
    that ``points`` was changed in place, using the old one raises RuntimeError.

    Args:
        points: (N, 3) float32 or float64 (CPU), float32 (CUDA), finite, N < 2^31, may be empty. On CUDA, points that
            are not finite are never found.
        check: look for them on CUDA too and raise, which waits for the device; the CPU always does.

    Attributes:
        points: (N, 3) as given (contiguous), in the caller's order.
        leaves: (L, 3, 16) coordinates in kd order, L = ceil(N / 16); infinity in unused slots.
        order: (L, 16) int32, index of each into ``points``; 2^31 - 1 in unused slots.
        boxes: (G, 6, 16) low x, y, z and high x, y, z of the children of each group.
        lowest: (G, 16) int32, lowest index into ``points`` below each child.

    Raises:
        TypeError, ValueError: naming the argument, or the row that is not finite.

    >>> index = KnnIndex(torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]))
    >>> from uner3d.ops import knn
    >>> knn(index, torch.tensor([[0.9, 0, 0]]), 2)[1]
    tensor([[1, 0]])
    """

    def __init__(self, points: Tensor, check: bool = False):
        check_tensor("points", points, ("N", 3))
        if check:
            refuse_not_finite("points", points)
        if points.shape[0] > MAX_POINTS:
            raise ValueError(f"points: expected at most {MAX_POINTS} rows, got {points.shape[0]}")
        self.points = points.contiguous()
        self.leaves, self.order, self.boxes, self.lowest = _BUILD(self.points.detach())
        self._version = _version(self.points)

    def __len__(self) -> int:
        return self.points.shape[0]

    def __repr__(self) -> str:
        return f"KnnIndex({len(self)} points, {self.points.dtype}, {self.points.device})"

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the ops take: points, leaves, order, boxes, lowest."""
        if _version(self.points) != self._version:
            raise RuntimeError("index: its points were changed in place after it was built; build a new KnnIndex")
        return self.points, self.leaves, self.order, self.boxes, self.lowest


def as_index(index: KnnIndex | Tensor, check: bool = False) -> KnnIndex:
    """``index`` itself, or a new one over points."""
    return index if isinstance(index, KnnIndex) else KnnIndex(index, check)


def check_finite(name: str, bad_row: int, value: Tensor) -> None:
    """Raise where a kernel reported a row that is not finite (-1: none)."""
    if bad_row >= 0:
        raise ValueError(f"{name}: expected finite coordinates, got {value[bad_row].tolist()} in row {bad_row}")


def refuse_not_finite(name: str, value: Tensor) -> None:
    """Raise where a row is not finite."""
    bad = ~torch.isfinite(value.detach()).all(1)
    if bad.any():
        check_finite(name, int(bad.nonzero()[0]), value)


def tree_addresses(points: Tensor, leaves: Tensor, order: Tensor, boxes: Tensor, lowest: Tensor) -> tuple[int, ...]:
    """The tree as the bindings take it; the tensors must be contiguous, which KnnIndex makes them."""
    tree = (points, leaves, order, boxes, lowest)
    if not all(tensor.is_contiguous() for tensor in tree):
        raise ValueError("index: expected contiguous tensors, as KnnIndex makes them")
    return *(tensor.data_ptr() for tensor in tree), points.shape[0]


def _version(points: Tensor) -> int:
    if torch.compiler.is_compiling() or points.is_inference():
        return 0  # no counter to read
    return points._version


def _tree_sizes(n_points: int) -> tuple[int, int]:
    """Leaves and groups of the tree."""
    n_leaves = (n_points + _WIDTH - 1) // _WIDTH
    n_nodes, n_groups = n_leaves, 0
    while n_nodes > 0:
        n_nodes = (n_nodes + _WIDTH - 1) // _WIDTH
        n_groups += n_nodes
        if n_nodes == 1:
            break
    return n_leaves, n_groups


def _build_fake(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n_leaves, n_groups = _tree_sizes(points.shape[0])
    return (
        points.new_empty(n_leaves, 3, _WIDTH),
        points.new_empty(n_leaves, _WIDTH, dtype=torch.int32),
        points.new_empty(n_groups, 6, _WIDTH),
        points.new_empty(n_groups, _WIDTH, dtype=torch.int32),
    )


def _build_cpu(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    points = points.contiguous()
    tree = _build_fake(points)
    bad = typed("knn_build", points)(*tree_addresses(points, *tree), torch.get_num_threads())
    check_finite("points", bad, points)
    return tree


def aligned(*tree: Tensor) -> tuple[Tensor, ...]:
    """The tree as CUDA kernels read it, 16 bytes at a time; copied where someone moved it to an odd address."""
    return tree[0], *(t if t.data_ptr() % 16 == 0 else t.clone() for t in tree[1:])


def _build_cuda(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_single_precision("points", points)
    points = points.contiguous()
    tree = _build_fake(points)
    device, stream = cuda_stream(points)
    if points.shape[0] > 0:
        scratch = cuda_scratch(points, cuda_kernel("knn_build_scratch")(points.shape[0], device))
        cuda_kernel("knn_build")(*tree_addresses(points, *tree), scratch.data_ptr(), device, stream)
    return tree


TREE_SCHEMA = "Tensor points, Tensor leaves, Tensor order, Tensor boxes, Tensor lowest"
_BUILD = define(
    "knn_build", "(Tensor points) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_build_cpu, cuda=_build_cuda, fake=_build_fake,
)  # fmt: skip
