"""Pictures of a point cloud: z-buffered discs, drawn with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MAX_RADIUS = 6.0  # pixels; the cost of a disc grows with its area
_FILL_PASSES = 2
_SURROUNDED = 5  # of 8 neighbours; a pixel beside a straight silhouette has only 3, so that outlines do not grow


def draw_cloud(
    xyz: NDArray,
    rgb: NDArray[np.uint8],
    K: ArrayLike,
    cam_from_world: ArrayLike,
    width: int,
    height: int,
    background: tuple[int, int, int] = (255, 255, 255),
    footprint: float | None = None,
    near: float | None = None,
) -> NDArray[np.uint8]:
    """Draw a coloured cloud as a pinhole camera sees it.

    xyz: (n, 3) in the world, rgb: (n, 3) uint8, K: (3, 3) in pixels, cam_from_world: (3, 4) (OpenCV axes; pixel centres
    at +0.5). footprint: diameter of a point in scene units (about the spacing of the cloud); None draws one pixel per
    point. near: what is nearer to the camera's plane is not drawn; by default only what is behind it.

    Every point is a disc of at least one pixel facing the camera. A pixel takes the mean colour of the points that lie
    within 1.5 point diameters (or pixels, if wider) behind its nearest one, so that dense clouds average instead of
    flickering. Then a pixel that most neighbours lie well in front of (a gap that shows the background or a far side)
    is filled from these neighbours. Returns (height, width, 3) uint8; empty clouds give the background.
    """
    points, colours, K, cam_from_world = _checked(xyz, rgb, K, cam_from_world, width, height)
    u, v, z, rows = _project(points, K, cam_from_world, width, height, near)
    focal = float(np.sqrt(abs(K[0, 0] * K[1, 1])))
    diameter = np.maximum(0.0 if footprint is None else footprint, z / focal)
    radius = np.minimum(0.5 * diameter * focal / z, _MAX_RADIUS)
    pixel, point = _cover(u, v, radius, width, height)
    depth = np.full(width * height, np.inf, np.float32)
    np.minimum.at(depth, pixel, z[point])
    front = z[point] <= depth[pixel] + 1.5 * diameter[point]
    pixel, point = pixel[front], point[front]
    count = np.bincount(pixel, minlength=width * height)
    picture = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        total = np.bincount(pixel, colours[rows[point], channel], width * height)
        picture[..., channel] = (total / np.maximum(count, 1)).reshape(height, width)
    depth = depth.reshape(height, width)
    gap = 4.0 * float(np.median(diameter)) if len(diameter) else 0.0
    for _ in range(_FILL_PASSES):
        _fill_surrounded(picture, depth, gap)
    picture[np.isinf(depth)] = background
    return np.rint(picture).astype(np.uint8)


def _checked(
    xyz: NDArray, rgb: NDArray, K: ArrayLike, cam_from_world: ArrayLike, width: int, height: int
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    K, cam_from_world = np.asarray(K, np.float64), np.asarray(cam_from_world, np.float64)
    for name, array, shape in (("K", K, (3, 3)), ("cam_from_world", cam_from_world, (3, 4))):
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name}: expected {shape} finite numbers, got shape {array.shape}")
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(f"xyz: expected shape (n, 3), got {xyz.shape}")
    if rgb.shape != xyz.shape or rgb.dtype != np.uint8:
        raise ValueError(f"rgb: expected uint8 {xyz.shape} as for xyz, got {rgb.dtype} {rgb.shape}")
    if width < 1 or height < 1:
        raise ValueError(f"width, height: expected at least one pixel, got {width} x {height}")
    return xyz, rgb, K, cam_from_world


def _project(
    xyz: NDArray, K: NDArray, cam_from_world: NDArray, width: int, height: int, near: float | None
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Pixel coordinates u, v and depth z (m,) of the points in or just beside the picture, and their rows (m,)."""
    rotation = cam_from_world[:, :3]
    centre = -rotation.T @ cam_from_world[:, 3]
    offset = (xyz - centre.astype(xyz.dtype)).astype(np.float32)  # float32 is safe once the camera is the origin
    x, y, z = (offset @ rotation.T.astype(np.float32)).T
    rows = np.flatnonzero(z > (1e-6 * np.abs(offset).max(initial=0) if near is None else near))
    x, y, z = x[rows], y[rows], z[rows]
    u = (np.float32(K[0, 0]) * x + np.float32(K[0, 1]) * y) / z + np.float32(K[0, 2])
    v = np.float32(K[1, 1]) * y / z + np.float32(K[1, 2])
    beside = (u > -_MAX_RADIUS) & (u < width + _MAX_RADIUS) & (v > -_MAX_RADIUS) & (v < height + _MAX_RADIUS)
    return u[beside], v[beside], z[beside], rows[beside]


def _cover(u: NDArray, v: NDArray, radius: NDArray, width: int, height: int) -> tuple[NDArray, NDArray]:
    """The pixels that each disc covers: (k,) flat pixel and (k,) row of its disc; at least the pixel it falls into."""
    column, line = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    reach = int(np.ceil(radius.max(initial=0.0) - 0.5))  # radius 0.5 stays within its own pixel
    pixels, points = [], []
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            j, i = column + dx, line + dy
            inside = (j >= 0) & (j < width) & (i >= 0) & (i < height)
            if dx or dy:
                inside &= (j + 0.5 - u) ** 2 + (i + 0.5 - v) ** 2 <= radius**2
            point = np.flatnonzero(inside)
            pixels.append(i[point] * width + j[point])
            points.append(point)
    return np.concatenate(pixels), np.concatenate(points)


def _fill_surrounded(picture: NDArray[np.float32], depth: NDArray[np.float32], gap: float) -> None:
    """Fill, in place, pixels that lie more than ``gap`` behind most of their neighbours (empty ones lie at infinity)."""
    height, width = depth.shape
    padded = np.pad(depth, 1, constant_values=np.inf)
    shifts = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    nearer = np.stack([padded[dy : dy + height, dx : dx + width] < depth - gap for dy, dx in shifts])
    i, j = np.nonzero(nearer.sum(0) >= _SURROUNDED)
    weight = nearer[:, i, j].astype(np.float32)
    lines, columns = (np.stack([at + shift[k] - 1 for shift in shifts]) for k, at in enumerate((i, j)))
    lines, columns = lines.clip(0, height - 1), columns.clip(0, width - 1)  # those outside have no weight
    total = weight.sum(0)
    filled = (weight[..., None] * picture[lines, columns]).sum(0) / total[:, None]
    filled_depth = (weight * np.where(weight > 0, depth[lines, columns], 0)).sum(0) / total
    picture[i, j], depth[i, j] = filled, filled_depth
