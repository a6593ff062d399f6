"""PSNR and SSIM as pixelNeRF's tables have them: of renderings in 8 bits, by the definitions of scikit-image.

They differ from `uner3d.report.images`, whose SSIM has a Gaussian window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 7  # pixels on a side of the uniform window of SSIM


def to_8_bits(rendering: NDArray) -> NDArray[np.uint8]:
    """A rendering (h, w, 3) in [0, 1], clipped, as in the PNG that tables are computed from: truncated, not rounded."""
    return (np.clip(rendering.astype(np.float32), 0, 1) * np.float32(255)).astype(np.uint8)


def psnr(rendering: NDArray[np.uint8], photo: NDArray[np.uint8]) -> float:
    """-10 log10 of the mean squared error over all pixels and channels, for a range of 1; infinite for equal images."""
    error = rendering.astype(np.float64) / 255 - photo.astype(np.float64) / 255
    mean = float((error**2).mean())
    return float("inf") if mean == 0 else float(-10 * np.log10(mean))


def ssim(rendering: NDArray[np.uint8], photo: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004) with a uniform window of 7 x 7 pixels and unbiased (co)variances.

    C1 = 0.01^2 and C2 = 0.03^2 for a range of 1; the mean over all whole windows and channels. Both (h, w, 3) uint8.
    Raises ValueError for images under 7 pixels on a side.
    """
    from scipy.ndimage import uniform_filter

    if min(photo.shape[:2]) < WINDOW:
        height, width = photo.shape[:2]
        raise ValueError(f"ssim: expected images of at least {WINDOW} x {WINDOW} pixels, got {width} x {height}")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        border = WINDOW // 2
        return uniform_filter(values, (WINDOW, WINDOW, 1))[border:-border, border:-border]

    x, y = rendering.astype(np.float64) / 255, photo.astype(np.float64) / 255
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy, cov = (unbiased * (mean(a * b) - ma * mb) for a, b, ma, mb in
                   ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my)))  # fmt: skip
    c1, c2 = 0.01**2, 0.03**2
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
