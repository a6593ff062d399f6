"""Carving by silhouettes."""

import numpy as np
import pytest
import torch
from toy import RADIUS, UNIT_BOX, MemoryView, ball_photos, pinhole, ring

from uner3d.data.scene import Camera
from uner3d.train.hull import carve
from uner3d.train.photos import PhotoSet, UnitFrame

EXTENT = torch.ones(3)


def centres(n: int) -> torch.Tensor:
    axis = (torch.arange(n) + 0.5) / n * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


@pytest.mark.parametrize("n", [32, 30])
def test_ball(n):
    allowed = carve(ball_photos(16), EXTENT, n)
    assert allowed.shape == (n, n, n) and allowed.dtype == torch.bool
    r = centres(n).norm(dim=-1)
    assert allowed[r < RADIUS].all()
    assert allowed.float().mean() < 2.2 * float((r < RADIUS).float().mean())
    flat = centres(n)[..., [0, 2]].norm(dim=-1)  # the ring sees the outline across its axis
    assert not allowed[flat > 1.0].any()


def test_no_masks_no_carving():
    assert carve(ball_photos(3, masks=False), EXTENT, 16) is None


def rod_photos(rod: np.ndarray, poses, width: int = 160, height: int = 120, focal: float = 150.0) -> PhotoSet:
    """Masks of a line of points, a pixel wide."""
    views = []
    for number, pose in enumerate(poses):
        camera = Camera(pinhole(width, height, focal), pose, width, height)
        pixel, depth = camera.project(rod)
        assert (depth > 0).all()
        column, row = np.floor(pixel).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        mask = np.zeros((height, width), np.uint8)
        mask[row[inside], column[inside]] = 255
        views.append(MemoryView(str(number), camera, np.repeat(mask[..., None], 3, 2), mask))
    return PhotoSet(views, UnitFrame(UNIT_BOX))


@pytest.mark.parametrize("offset", [0.0, 0.97])
@pytest.mark.parametrize("distance", [2.2, 3.5])
def test_a_thin_rod_survives(offset, distance):
    """Near the middle, and in an edge of the box, where it is much nearer to some cameras than the box's centre."""
    rod = np.stack([np.full(400, offset), np.linspace(-0.5, 0.5, 400), np.full(400, offset)], 1)
    photos = rod_photos(rod, ring(12, distance, 0.3))
    n = 64
    allowed = carve(photos, EXTENT, n)
    cells = torch.tensor(((rod + 1) / 2 * n).astype(int))
    assert allowed[cells[:, 0], cells[:, 1], cells[:, 2]].all()
    assert allowed.float().mean() < 0.05
