"""Triangles on the zero set of a distance field: surface nets, whose vertices are then moved onto the surface."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from uner3d.data.synthetic.parallel import parallel_map
from uner3d.data.synthetic.sdf import Distance, project

_CHUNK = 1 << 15
_BLOCK = 6  # grid points along an edge of a block
Volume = NDArray[np.float32]


def extract_mesh(distance: Distance, extent: float, spacing: float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Vertices (V, 3) on the zero set, triangles (F, 3), counter-clockwise seen from outside.

    One vertex per cell of the grid, of edge at most ``spacing`` over the cube of half edge ``extent``, that the
    surface crosses; one quad per crossed grid edge. The surface must not reach the cube's faces.
    """
    n_cells = math.ceil(2 * extent / spacing)
    axis = torch.linspace(-extent, extent, n_cells + 1, dtype=torch.float64)
    volume = _sample_grid(distance, axis)
    edge = np.concatenate([volume[[0, -1]].ravel(), volume[:, [0, -1]].ravel(), volume[:, :, [0, -1]].ravel()])
    if edge.min() <= 0:
        raise ValueError(f"the surface reaches the faces of the cube of half edge {extent:g}")
    index, place = _cell_vertices(volume)
    low = -extent + place * (2 * extent / n_cells)
    pieces = torch.from_numpy(low.T.copy()).split(_CHUNK, dim=1)
    vertices = torch.cat(list(parallel_map(lambda piece: project(distance, piece), pieces)), 1)
    points = vertices.T.contiguous().numpy()
    return points, _split(points, _quads(volume, index))


def _sample_grid(distance: Distance, axis: torch.Tensor) -> Volume:
    """The distance at all points of the grid; in blocks of the grid that are far from the surface, one of its sign.

    The distance at a block's middle says that none of its points is within two spacings of the surface: no cell that
    the surface crosses has a corner there, so that only the sign counts.
    """
    n = len(axis)
    axis = axis.float()
    n_blocks = -(-n // _BLOCK)
    spacing = float(axis[1] - axis[0])
    middle = float(axis[0]) + spacing * (torch.arange(n_blocks) * _BLOCK + (_BLOCK - 1) / 2)
    coarse = torch.cartesian_prod(middle, middle, middle).T.contiguous()
    far = torch.cat(list(parallel_map(distance, coarse.split(_CHUNK, dim=1)))).view(n_blocks, n_blocks, n_blocks)
    volume = far
    for k in range(3):
        volume = volume.repeat_interleave(_BLOCK, k)
    volume = volume[:n, :n, :n].contiguous().view(-1)
    (todo,) = torch.nonzero(volume.abs() <= spacing * (2 + math.sqrt(3) * (_BLOCK - 1) / 2), as_tuple=True)

    def sample(k: torch.Tensor) -> torch.Tensor:
        return distance(torch.stack([axis[k // (n * n)], axis[(k // n) % n], axis[k % n]]))

    if len(todo):
        volume[todo] = torch.cat(list(parallel_map(sample, todo.split(_CHUNK))))
    return volume.view(n, n, n).numpy()


def _cell_vertices(volume: Volume) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The vertex number of every cell (-1: none), and the mean of its edges' crossings (V, 3) in cell units."""
    inside = volume < 0
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    m = volume.shape[0] - 1
    count = sum(inside[i : m + i, j : m + j, k : m + k].astype(np.int8) for i, j, k in corners)
    cells = np.argwhere((count > 0) & (count < 8))
    index = np.full((m, m, m), -1, np.int64)
    index[tuple(cells.T)] = np.arange(len(cells))
    values = {c: volume[tuple((cells + c).T)].astype(np.float64) for c in corners}
    total, n_crossings = np.zeros((len(cells), 3)), np.zeros(len(cells))
    for a in corners:
        for axis in range(3):
            if a[axis]:
                continue
            b = (a[0] | (axis == 0), a[1] | (axis == 1), a[2] | (axis == 2))
            crossed = (values[a] < 0) != (values[b] < 0)
            share = values[a][crossed] / (values[a][crossed] - values[b][crossed])
            total[crossed] += np.array(a)
            total[crossed, axis] += share
            n_crossings += crossed
    return index, cells + total / n_crossings[:, None]


def _quads(volume: Volume, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Four vertices (Q, 4) around every crossed grid edge, in order, counter-clockwise seen from outside."""
    inside = volume < 0
    quads = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        low = inside.take(range(volume.shape[axis] - 1), axis)
        high = inside.take(range(1, volume.shape[axis]), axis)
        at = np.argwhere(low != high)
        rising = low[tuple(at.T)]  # the surface's normal points along +axis
        around = []
        for db, dc in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = at.copy()
            cell[:, b] -= db
            cell[:, c] -= dc
            around.append(index[tuple(cell.T)])
        quad = np.stack(around, 1)
        quad[~rising] = quad[~rising][:, ::-1]
        quads.append(quad)
    return np.concatenate(quads)


def _split(points: NDArray[np.float64], quads: NDArray[np.int64]) -> NDArray[np.int32]:
    """Two triangles per quad, cut along the shorter diagonal."""
    corner = points[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1) <= np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    quads = np.where(first[:, None], quads, np.roll(quads, -1, axis=1))
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
