"""Brown's lens distortion: forward, inverse, and the pinhole whose every pixel the photo covers.

With normalised coordinates (x, y) of the pinhole and r2 = x^2 + y^2, the photo shows the point at
    x_d = x (1 + k1 r2 + k2 r2^2 + k3 r2^3 + k4 r2^4) + 2 p1 x y + p2 (r2 + 2 x^2)
    y_d = y (1 + k1 r2 + k2 r2^2 + k3 r2^3 + k4 r2^4) + p1 (r2 + 2 y^2) + 2 p2 x y
(D. C. Brown, "Close-Range Camera Calibration", 1971, in the parameter order of OpenCV's model).
Coefficients are passed as (k1, k2, k3, k4, p1, p2).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .errors import SceneError


def distort(xy: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Where the photo shows normalised pinhole coordinates xy (N, 2); normalised as well, (N, 2)."""
    k1, k2, k3, k4, p1, p2 = coefficients
    x, y = xy[:, 0], xy[:, 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    x_d = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    y_d = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([x_d, y_d], axis=1)


def jacobian(xy: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Derivative of `distort` by xy, (N, 2, 2)."""
    k1, k2, k3, k4, p1, p2 = coefficients
    x, y = xy[:, 0], xy[:, 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    slope = k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k4))
    mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    dxx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    dyy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    return np.stack([np.stack([dxx, mixed], axis=1), np.stack([mixed, dyy], axis=1)], axis=1)


def undistort(xy_d: np.ndarray, coefficients: tuple[float, ...], n_steps: int = 30) -> np.ndarray:
    """Inverse of `distort` by Newton's method, started at the distorted point; NaN where it does not converge."""
    xy = xy_d.copy()
    with np.errstate(all="ignore"):
        for _ in range(n_steps):
            J = jacobian(xy, coefficients)
            residual = distort(xy, coefficients) - xy_d
            determinant = J[:, 0, 0] * J[:, 1, 1] - J[:, 0, 1] * J[:, 1, 0]
            step_x = (J[:, 1, 1] * residual[:, 0] - J[:, 0, 1] * residual[:, 1]) / determinant
            step_y = (J[:, 0, 0] * residual[:, 1] - J[:, 1, 0] * residual[:, 0]) / determinant
            xy = xy - np.stack([step_x, step_y], axis=1)
        good = np.abs(distort(xy, coefficients) - xy_d).max(axis=1) < 1e-9
        good &= np.linalg.det(jacobian(np.where(good[:, None], xy, 0.0), coefficients)) > 0
    return np.where(good[:, None], xy, np.nan)


def _border(width: int, height: int) -> tuple[np.ndarray, ...]:
    """Centres of the outermost pixels: left, right, upper and lower edge, (N, 2) each."""
    x = np.arange(width) + 0.5
    y = np.arange(height) + 0.5
    left = np.stack([np.full(height, 0.5), y], axis=1)
    upper = np.stack([x, np.full(width, 0.5)], axis=1)
    return left, left + [width - 1, 0], upper, upper + [0, height - 1]


@lru_cache(maxsize=64)
def _pinhole(K_flat: tuple[float, ...], coefficients: tuple[float, ...], width: int, height: int) -> np.ndarray:
    K = np.array(K_flat).reshape(3, 3)
    K_inv = np.linalg.inv(K)
    edges = []
    for pixels in _border(width, height):
        normalised = pixels @ K_inv[:2, :2].T + K_inv[:2, 2]
        edges.append(undistort(normalised, coefficients))
    if not all(np.isfinite(edge).all() for edge in edges):
        raise SceneError(
            f"lens distortion (k1, k2, k3, k4, p1, p2) = {coefficients} folds over inside a photo of {width}x{height} "
            f"with fx = {K[0, 0]:g}: expected coefficients that map each pixel to one ray"
        )
    left, right, upper, lower = edges
    x0, x1 = left[:, 0].max(), right[:, 0].min()
    y0, y1 = upper[:, 1].max(), lower[:, 1].min()
    # The outermost pixel centres of the pinhole lie exactly on the inner rectangle of the undistorted border.
    fx, fy = max(width - 1, 1) / (x1 - x0), max(height - 1, 1) / (y1 - y0)
    return np.array([[fx, 0, 0.5 - fx * x0], [0, fy, 0.5 - fy * y0], [0, 0, 1]])


def pinhole_inside(K: np.ndarray, coefficients: tuple[float, ...], width: int, height: int) -> np.ndarray:
    """K (3, 3) of the pinhole of the same size whose pixels all lie inside the photo (nothing to fill at borders)."""
    return _pinhole(tuple(np.asarray(K, dtype=np.float64).ravel()), coefficients, width, height)


@lru_cache(maxsize=2)
def source_pixels(
    K_flat: tuple[float, ...], coefficients: tuple[float, ...], width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the photo each pixel of the pinhole lies: x and y, float32 (height, width), centres at +0.5."""
    K = np.array(K_flat).reshape(3, 3)
    pinhole = _pinhole(K_flat, coefficients, width, height)
    x = np.empty((height, width), np.float32)
    y = np.empty((height, width), np.float32)
    u = (np.arange(width) + 0.5 - pinhole[0, 2]) / pinhole[0, 0]
    for row in range(height):
        v = np.full(width, (row + 0.5 - pinhole[1, 2]) / pinhole[1, 1])
        pixels = distort(np.stack([u, v], axis=1), coefficients) @ K[:2, :2].T + K[:2, 2]
        x[row], y[row] = pixels[:, 0], pixels[:, 1]
    return x, y
