"""Pictures of a cloud from all around, or from the side that the photos were taken from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .draw import draw_cloud
from .types import Cloud

_FOV = np.deg2rad(32.0)  # vertical
_MAX_POINTS = 400_000
_CORE = (2.0, 98.0)  # percentiles that bound the cloud: a few floaters do not move the camera
_ONE_SIDED = np.deg2rad(150.0)  # where the photos leave a gap this wide, the camera swings instead of circling


def turntable(
    cloud: Cloud,
    n_frames: int = 24,
    size: tuple[int, int] = (360, 270),
    up: ArrayLike | None = None,
    cam_from_world: NDArray | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    supersample: int = 2,
) -> list[NDArray[np.uint8]]:
    """Frames of a camera that circles the cloud's robust centre.

    size: (width, height) in pixels. up: a direction in the world; by default the common up direction of the photos'
    cameras (``cam_from_world`` (V, 3, 4)), or +z where they are not given. With cameras the first frame is seen from
    the first of them and from their mean elevation; if they leave more than 150 degrees of the circle empty, the camera
    swings over their arc and back, since nothing has seen the far side.
    Clouds of more than 400,000 points are thinned at random. Raises ValueError for an empty cloud or one without
    colours.
    """
    if len(cloud) == 0 or cloud.rgb is None:
        raise ValueError(
            f"turntable: expected points with colours, got {len(cloud)} points, rgb {cloud.rgb is not None}"
        )
    if n_frames < 1 or supersample < 1:
        raise ValueError(f"turntable: n_frames and supersample: expected at least 1, got {n_frames} and {supersample}")
    rows = _subset(len(cloud))
    low, high = np.percentile(cloud.xyz[rows], _CORE, axis=0)
    centre, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, np.finfo(np.float32).tiny)
    xyz, rgb = (cloud.xyz[rows] - centre).astype(np.float32), cloud.rgb[rows]
    axes, azimuths, elevation = _path(n_frames, up, cam_from_world, centre)
    width, height = (supersample * pixels for pixels in size)
    focal = 0.5 * height / np.tan(_FOV / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    distance = radius / np.sin(_FOV / 2) * max(1.0, height / width)
    spacing = cloud_spacing(xyz)
    frames = []
    for azimuth in azimuths:
        pose = _look_at_centre(axes, azimuth, elevation, distance)
        image = draw_cloud(xyz, rgb, K, pose, width, height, background, 2 * spacing, 0.2 * distance)
        frames.append(_shrink(image, supersample))
    return frames


def cloud_spacing(xyz: NDArray, n_samples: int = 4096) -> float:
    """The spacing s of a cloud's points, as if 1 / s^2 of them lay on a unit of surface; 0 for one point.

    From the median distance r to the 4th neighbour, over a sample of points: 4 points on a disc of radius r, so
    s = r sqrt(pi / 4).
    """
    from scipy.spatial import cKDTree

    if len(xyz) < 2:
        return 0.0
    sample = xyz[np.random.default_rng(0).integers(0, len(xyz), n_samples)]
    k = min(4, len(xyz) - 1)
    distance = cKDTree(xyz).query(sample, k=[k + 1], workers=-1)[0]
    return float(np.median(distance) * np.sqrt(np.pi / k))


def _subset(n: int) -> NDArray[np.int64]:
    if n <= _MAX_POINTS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, _MAX_POINTS, replace=False))


def _path(
    n_frames: int, up: ArrayLike | None, cam_from_world: NDArray | None, centre: NDArray
) -> tuple[NDArray, NDArray, float]:
    """Axes (3, 3) as rows right, forward, up; the azimuth of each frame and the elevation, in radians."""
    cameras = None if cam_from_world is None else np.asarray(cam_from_world, np.float64).reshape(-1, 3, 4)
    if cameras is not None and len(cameras) == 0:
        cameras = None
    if up is not None:
        direction = np.asarray(up, np.float64)
    else:
        direction = np.array([0.0, 0, 1]) if cameras is None else _common_up(cameras[..., :3])
    if direction.shape != (3,) or not np.isfinite(direction).all() or np.linalg.norm(direction) < 1e-3:
        if up is not None:
            raise ValueError(f"up: expected a direction of 3 numbers, got {up}")
        direction = np.array([0.0, 0, 1])  # cameras rolled in every direction share no up
    direction = direction / np.linalg.norm(direction)
    right = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    axes = np.stack([right / np.linalg.norm(right), np.zeros(3), direction])
    axes[1] = np.cross(axes[2], axes[0])
    circle = np.arange(n_frames) * (2 * np.pi / n_frames)
    if cameras is None:
        return axes, circle, np.deg2rad(20.0)
    seen_from = (np.einsum("vji,vj->vi", cameras[..., :3], -cameras[..., 3]) - centre) @ axes.T
    azimuth = np.arctan2(seen_from[:, 1], seen_from[:, 0])
    elevation = np.arctan2(seen_from[:, 2], np.hypot(seen_from[:, 0], seen_from[:, 1])).mean()
    elevation = float(np.clip(elevation, np.deg2rad(-10), np.deg2rad(60)))
    ordered = np.sort(azimuth % (2 * np.pi))
    gaps = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    if gaps[widest] < _ONE_SIDED:
        return axes, azimuth[0] + circle, elevation
    middle = ordered[widest] + gaps[widest] / 2 + np.pi
    swing = max((2 * np.pi - gaps[widest]) / 2, np.deg2rad(20.0))
    return axes, middle - swing * np.cos(circle), elevation


def _common_up(cam_from_world: NDArray) -> NDArray[np.float64]:
    """Up in the world of cameras with these rotations (V, 3, 3).

    Photos are level, however far they look down, so up is the direction most nearly orthogonal to all right axes. The
    mean of the cameras' own up axes leans towards the object where photos show one side; it decides the sign, and
    stands in where the right axes share a line or nothing is orthogonal to them.
    """
    mean = -cam_from_world[:, 1].mean(0)
    right = cam_from_world[:, 0]
    spread, axes = np.linalg.eigh(right.T @ right / len(right))
    level = axes[:, 0] * (1.0 if axes[:, 0] @ mean >= 0 else -1.0)
    clear = spread[1] > 0.02 and spread[0] < 0.25 * spread[1]
    return level if clear and level @ mean > 0.3 * np.linalg.norm(mean) else mean


def _look_at_centre(axes: NDArray, azimuth: float, elevation: float, distance: float) -> NDArray[np.float64]:
    """cam_from_world (3, 4) of a camera at the given angles around the origin, upright, looking at it."""
    across, along, up = axes
    outward = np.cos(elevation) * (np.cos(azimuth) * across + np.sin(azimuth) * along) + np.sin(elevation) * up
    right = np.cross(-outward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-outward, right), -outward])
    return np.concatenate([rotation, [[0.0], [0.0], [distance]]], axis=1)


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image.reshape(height, factor, width, factor, 3).astype(np.float32)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)
