"""A density grid that follows the field: where samples are worth taking, at the price of a table lookup."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d import ops
from uner3d.ops.reference.density_grid import contract

__all__ = ["DensityGrid", "contract"]


class DensityGrid:
    """Densities (n, n, n) of the box [-extent, extent], kept current from the samples that training evaluates anyway.

    A cell rises to a larger density at once and decays towards a smaller one, so that surfaces are not lost between
    updates. Cells outside ``allowed`` (carved by silhouettes, say) hold zero for ever. Where the scene does not end at
    the box, ``outer`` is a second grid for what lies beyond, in contracted coordinates.
    """

    def __init__(self, n: int, extent: Tensor, allowed: Tensor | None = None, outside: bool = False) -> None:
        self.outer = DensityGrid(n // 2, torch.full_like(extent, 2.0)) if outside else None
        self.n, self.extent = n, extent
        device = extent.device
        self.values = torch.ones(n**3, device=device)
        self.allowed = allowed
        if allowed is not None:
            self.values *= allowed.reshape(-1)
        self._seen = torch.full_like(self.cube, -1.0)
        self.bounds = torch.stack([-extent, extent])  # changed in place: steps that are replayed read it
        self.tighten()

    def tighten(self, least: float = 0.01, margin: int = 2) -> None:
        """Shrink ``bounds`` (2, 3) to the cells whose optical depth reaches ``least``, and ``margin`` cells more: no
        sample outside them can matter. An empty grid keeps the whole box."""
        size = 2 * self.extent / self.n
        occupied = self.cube * size.max() > least
        # The first and the last occupied layer of each axis. No shape depends on values: a GPU would be waited for.
        rows = occupied.any(2)
        layers = torch.stack([rows.any(1), rows.any(0), occupied.any(1).any(0)]).to(torch.uint8)
        low = (layers.argmax(1) - margin).clamp_min(0)
        high = (self.n - layers.flip(1).argmax(1) + margin).clamp_max(self.n)
        whole = torch.stack([-self.extent, self.extent])
        tight = torch.stack([low * size - self.extent, high * size - self.extent])
        self.bounds.copy_(torch.where(rows.any(), tight, whole))

    @property
    def cube(self) -> Tensor:
        """``values`` by their three axes."""
        return self.values.view(self.n, self.n, self.n)

    def cells(self, x: Tensor) -> Tensor:
        """Index of the cell of each point (..., 3); points outside take the nearest cell."""
        return ops.grid_cells(x, self.extent, self.n)

    def lookup(self, x: Tensor) -> Tensor:
        """Density at the cell of each point (..., 3) of the box."""
        return self.values[self.cells(x)]

    @torch.no_grad()
    def update(self, x: Tensor, sigma: Tensor, rate: float = 0.3, contracted: bool = False) -> None:
        """Take in densities ``sigma`` (N,) evaluated at points ``x`` (N, 3), of which those outside the box are passed
        over: a ray that misses it has samples, too. ``contracted``: the box holds all of space (``contract``)."""
        allowed = None if self.allowed is None else self.allowed.reshape(self.n, self.n, self.n)
        ops.grid_update(self.cube, x, sigma.float(), self.extent, allowed, rate, contracted, self._seen)

    def update_outside(self, x: Tensor, sigma: Tensor) -> None:
        """Take in densities at points anywhere."""
        if self.outer is not None:
            self.outer.update(x, sigma, contracted=True)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        state = {"grid": self.values, "grid_bounds": self.bounds}
        if self.allowed is not None:
            state["grid_allowed"] = self.allowed.to(torch.uint8)
        if self.outer is not None:
            state["grid_outer"] = self.outer.values
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what ``state`` gave; the tensors it used are removed from the dictionary."""
        device = self.extent.device
        self.values, self.bounds = state.pop("grid").to(device), state.pop("grid_bounds").to(device)
        allowed = state.pop("grid_allowed", None)
        self.allowed = None if allowed is None else allowed.to(device).bool()
        if self.outer is not None:
            self.outer.values = state.pop("grid_outer").to(device)
