"""The exact surface that the photos show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.parallel import parallel_map
from uner3d.data.synthetic.render import Stage, shade

_PIECE = 1 << 14  # points drawn at a time by one thread
_TOGETHER = 4  # views asked in one go
_GRAZING = 0.17  # the cosine to the normal, 80 degrees, beyond which a surface is not counted as seen


@dataclass
class TruePoints:
    """Points on the surface (N, 3), unit normals outward (N, 3), colours without gloss (N, 3) in 0 to 255.

    ``share``: of the whole surface, the part that at least two photos see, from which the points are drawn.
    """

    xyz: NDArray[np.float64]
    normals: NDArray[np.float64]
    colours: NDArray[np.uint8]
    share: float


def sample_seen_points(stage: Stage, views: Sequence[Viewpoint], n: int, rng: np.random.Generator) -> TruePoints:
    """n points uniform on the part of the surface that at least two of the views see."""
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    n_kept = n_drawn = 0
    while n_kept < n:
        share = max(n_kept, 1) / n_drawn if n_drawn else 0.9
        batch = min(int(1.05 * (n - n_kept) / share) + 1000, 1 << 19)
        new = list(parallel_map(partial(_draw_piece, stage, views), _split_batch(batch, rng)))
        kept += new
        n_kept, n_drawn = n_kept + sum(piece[0].shape[1] for piece in new), n_drawn + batch
        if n_kept < 0.01 * n_drawn:
            raise ValueError(
                f"less than 1 % of the surface is seen by two of the {len(views)} photos: take more (n_train)"
            )
    p, normal, colour = (torch.cat(columns, 1)[:, :n] for columns in zip(*kept, strict=True))
    return TruePoints(
        p.T.numpy(), normal.T.numpy(), (colour.T * 255 + 0.5).to(torch.uint8).numpy(), share=n_kept / n_drawn
    )


def _split_batch(n: int, rng: np.random.Generator) -> list[tuple[int, np.random.Generator]]:
    """Pieces of the batch, each with its own random numbers, so that their order of work does not matter."""
    sizes = [min(_PIECE, n - k) for k in range(0, n, _PIECE)]
    seeds = rng.integers(2**63, size=len(sizes))
    return [(size, np.random.default_rng(seed)) for size, seed in zip(sizes, seeds, strict=True)]


def _draw_piece(
    stage: Stage, views: Sequence[Viewpoint], piece: tuple[int, np.random.Generator]
) -> tuple[Tensor, Tensor, Tensor]:
    """Points, normals and colours, each (3, N), of those of a piece's points that two views see."""
    p, normal, albedo = stage.surface.sample(*piece)
    seen, normal = _seen_twice(stage, views, p, normal)
    p, normal, albedo = p[:, seen], normal[:, seen], albedo[:, seen]
    return p, normal, shade(stage, p.float(), normal.float(), albedo.float())


def _seen_twice(stage: Stage, views: Sequence[Viewpoint], p: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Which points two views see (N,), and the normals (3, N), turned to the first of them if two-sided."""
    count = torch.zeros(p.shape[1], dtype=torch.int64)
    points = p.float()
    if stage.surface.two_sided:
        normal = normal.clone()
        for view in views:
            _count_turning(stage, view, points, normal, count)
        return count >= 2, normal
    for first in range(0, len(views), _TOGETHER):
        (todo,) = torch.nonzero(count < 2, as_tuple=True)
        count[todo] += _count_seeing(stage, views[first : first + _TOGETHER], points[:, todo], normal[:, todo].float())
    return count >= 2, normal


def _count_seeing(stage: Stage, views: Sequence[Viewpoint], p: Tensor, normal: Tensor) -> Tensor:
    """How many of the views see points (3, N): (N,)."""
    pairs, ways, lengths = [], [], []
    for view in views:
        toward, distance, seen = _in_picture(view, p, normal)
        (maybe,) = torch.nonzero(seen, as_tuple=True)
        pairs.append(maybe)
        ways.append(toward[:, maybe])
        lengths.append(distance[maybe])
    which = torch.cat(pairs)
    blocked = stage.surface.blocked(p[:, which], normal[:, which], torch.cat(ways, 1), torch.cat(lengths))
    return torch.zeros(p.shape[1], dtype=torch.int64).index_add_(0, which, (~blocked).to(torch.int64))


def _count_turning(stage: Stage, view: Viewpoint, points: Tensor, normal: Tensor, count: Tensor) -> None:
    """Add one to the ``count`` (N,) below two of points the view sees, and turn the normals of those first seen."""
    (todo,) = torch.nonzero(count < 2, as_tuple=True)
    here, up = points[:, todo], normal[:, todo].float()
    toward = view.center[:, None] - here
    turn = torch.where((count[todo] == 0) & ((up * toward).sum(0) < 0), -1.0, 1.0)
    up = up * turn
    toward, distance, seen = _in_picture(view, here, up)
    (maybe,) = torch.nonzero(seen, as_tuple=True)
    seen[maybe] = ~stage.surface.blocked(here[:, maybe], up[:, maybe], toward[:, maybe], distance[maybe])
    count[todo] += seen
    normal[:, todo[seen]] *= turn[seen]


def _in_picture(view: Viewpoint, p: Tensor, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The unit vectors (3, N) and distances (N,) to the camera, and whether points face it within its picture (N,)."""
    toward = view.center[:, None] - p
    distance = torch.linalg.vector_norm(toward, dim=0)
    toward = toward / distance
    u, v, depth = view.project(p)
    within = (depth > 0) & (u > 0) & (u < view.width) & (v > 0) & (v < view.height)
    return toward, distance, within & ((normal * toward).sum(0) > _GRAZING)
