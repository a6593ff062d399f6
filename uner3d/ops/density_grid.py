"""A grid of densities that follows a field: the cells of points, and taking in densities at points."""

from __future__ import annotations

import torch
from torch import Tensor

from ._check import check_range, check_tensor
from ._output import empty_cpu
from ._register import define, typed
from ._views import address, contiguous
from .reference import density_grid as twin

MAX_SIDE = 1290  # the largest cube with fewer than 2^31 cells


def grid_cells(points: Tensor, extent: Tensor, n: int, contracted: bool = False) -> Tensor:
    """Index of the cell of each point in a grid of n^3 cells over the box [-extent, extent].

    Cell (i, j, k) spans n-ths of the box along x, y and z and has the index (i n + j) n + k. Points outside the box
    take the nearest cell. On other devices than the CPU this runs as torch's operations.

    Args:
        points: (..., 3) float32 or float64.
        extent: (3,) half sizes of the box, positive.
        n: cells along each axis, from 1 to 1290.
        contracted: the grid holds all of space: points are contracted to (-2, 2)^3 before (mip-NeRF 360, Barron et al.
            2022, eq. 10, with the maximum norm), of which ``extent`` is usually the half size.

    Returns:
        (...) int64. Not differentiable.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> grid_cells(torch.tensor([[-0.9, -0.9, -0.9], [0.1, -0.9, 0.1], [5.0, 5.0, 5.0]]), torch.ones(3), 2)
    tensor([0, 5, 7])
    """
    if not isinstance(points, Tensor) or points.dim() == 0:
        check_tensor("points", points, ("N", 3))
    check_tensor("points", points, (*points.shape[:-1], 3))
    check_tensor("extent", extent, (3,), like=points)
    _check_side("n", n)
    if points.device.type != "cpu":
        return twin.grid_cells(points, extent, n, contracted)
    return _CELLS(points, extent, n, contracted)


def grid_update(
    values: Tensor,
    points: Tensor,
    sigma: Tensor,
    extent: Tensor,
    allowed: Tensor | None = None,
    rate: float = 0.3,
    contracted: bool = False,
    seen: Tensor | None = None,
) -> None:
    """Take densities that a field has at points into a grid, in place.

    With s the largest density among a cell's points and v what the cell holds, v becomes max(s, v + rate (s - v)): it
    rises at once and decays slowly, so that surfaces are not lost between updates. Points outside the box and negative
    densities are passed over; a density that is not a number makes its cell one, too. The result depends neither on the
    order of the points nor on threads. On other devices than the CPU this runs as torch's operations, which wait for
    nothing.

    Args:
        values: (n, n, n) float32 or float64, contiguous, n up to 1290; changed in place. Cells are those of
            :func:`grid_cells`.
        points: (N, 3).
        sigma: (N,) densities.
        extent: (3,) half sizes of the box, positive.
        allowed: (n, n, n) bool; the other cells hold zero and keep it.
        rate: share of the way to a smaller density that one call goes, from 0 to 1.
        contracted: as for :func:`grid_cells`.
        seen: (n, n, n) contiguous memory that holds -1 throughout, and does so again afterwards. Without it every call
            makes one of its own, which takes longer than the rest.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> grid = torch.ones(1, 1, 1)
    >>> grid_update(grid, torch.zeros(2, 3), torch.tensor([0.0, 5.0]), torch.ones(3)), float(grid)
    (None, 5.0)
    >>> grid_update(grid, torch.zeros(1, 3), torch.tensor([3.0]), torch.ones(3), rate=0.5), float(grid)
    (None, 4.0)
    """
    sizes: dict[str, int] = {}
    check_values(values, sizes)
    check_tensor("points", points, ("N", 3), like=values, sizes=sizes)
    check_tensor("sigma", sigma, ("N",), like=values, sizes=sizes)
    check_tensor("extent", extent, (3,), like=values)
    if allowed is not None:
        check_tensor("allowed", allowed, ("n", "n", "n"), dtype=torch.bool, like=values, sizes=sizes)
    if seen is not None:
        check_tensor("seen", seen, ("n", "n", "n"), like=values, sizes=sizes)
    for name, tensor in (("values", values), ("seen", seen)):
        if tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"{name}: expected a contiguous tensor, which is changed in place, got one that is not")
    check_range("rate", rate, 0.0, 1.0)
    if values.device.type != "cpu":
        twin.grid_update(values, points, sigma, extent, allowed, rate, contracted, seen)
    else:
        seen = torch.full_like(values, -1.0) if seen is None else seen
        _UPDATE(values, seen, points, sigma, extent, allowed, rate, contracted)


def check_values(values: object, sizes: dict[str, int], like: Tensor | None = None) -> None:
    """Check the cells of a grid, of a side that the kernels can count."""
    check_tensor("values", values, ("n", "n", "n"), like=like, sizes=sizes)
    _check_side("values", sizes["n"])


def _check_side(name: str, n: int) -> None:
    if not isinstance(n, int) or not 1 <= n <= MAX_SIDE:
        raise ValueError(f"{name}: expected 1 to {MAX_SIDE} cells along an axis, got {n}")


def _cells_cpu(points: Tensor, extent: Tensor, n: int, contracted: bool) -> Tensor:
    cells = empty_cpu(points, points.shape[:-1], torch.int64)
    points, extent = points.contiguous(), extent.contiguous()
    typed("grid_cells", points)(
        extent.data_ptr(), n, contracted, points.data_ptr(), cells.data_ptr(), cells.numel(), torch.get_num_threads()
    )
    return cells


def _cells_fake(points: Tensor, extent: Tensor, n: int, contracted: bool) -> Tensor:
    return points.new_empty(points.shape[:-1], dtype=torch.int64)


def _update_cpu(
    values: Tensor, seen: Tensor, points: Tensor, sigma: Tensor, extent: Tensor, allowed: Tensor | None, rate: float,
    contracted: bool,
) -> None:  # fmt: skip
    inputs = contiguous(extent, points, sigma, allowed)
    typed("grid_update", values)(
        address(inputs[0]), values.shape[0], contracted, *map(address, inputs[1:]), values.data_ptr(),
        seen.data_ptr(), points.shape[0], rate, torch.get_num_threads(),
    )  # fmt: skip


def _update_cuda(
    values: Tensor, seen: Tensor, points: Tensor, sigma: Tensor, extent: Tensor, allowed: Tensor | None, rate: float,
    contracted: bool,
) -> None:  # fmt: skip
    twin.grid_update(values, points, sigma, extent, allowed, rate, contracted, seen)


def _update_fake(
    values: Tensor, seen: Tensor, points: Tensor, sigma: Tensor, extent: Tensor, allowed: Tensor | None, rate: float,
    contracted: bool,
) -> None:  # fmt: skip
    return None


_CELLS = define(
    "grid_cells", "(Tensor points, Tensor extent, int n, bool contracted) -> Tensor",
    cpu=_cells_cpu, cuda=twin.grid_cells, fake=_cells_fake,
)  # fmt: skip
_UPDATE = define(
    "grid_update",
    "(Tensor(a!) values, Tensor(b!) seen, Tensor points, Tensor sigma, Tensor extent, Tensor? allowed, float rate, "
    "bool contracted) -> ()",
    cpu=_update_cpu, cuda=_update_cuda, fake=_update_fake,
)  # fmt: skip
