"""Pixels of one photo: reading, compositing on white, lens undistortion and area resampling.

Compositing on a constant colour, undistortion and area averaging are all linear, so compositing first gives exactly
what filtering in premultiplied colours would give, with no dark or bright fringes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import brown
from .errors import SceneError

_WHITE = 255.0


def _decode(path: Path) -> Any:
    """A fully decoded PIL image; pillow's own complaints (truncated, not an image) become a SceneError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image.copy() if getattr(image, "n_frames", 1) > 1 else image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SceneError(f"{path}: not a complete, readable photo: {error}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Width and height from the header, without decoding."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SceneError(f"{path}: not a readable photo: {error}") from error


@dataclass(frozen=True)
class PhotoInfo:
    """What one full decoding found: size in pixels, and whether there is any transparency (None: no alpha channel)."""

    width: int
    height: int
    transparent: bool | None


def inspect(path: Path) -> PhotoInfo:
    """Decodes the whole file once, so that a truncated one is found before hours of work, not after."""
    image = _decode(path)
    transparent = None
    if has_alpha(image):
        transparent = bool(_to_rgb(image)[..., 3].min() < 255)
    return PhotoInfo(image.width, image.height, transparent)


def has_alpha(image: Any) -> bool:
    """Whether a PIL image carries transparency, as a channel or as a transparent palette entry."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _to_rgb(image: Any) -> np.ndarray:
    """uint8 (H, W, 3), or (H, W, 4) with straight alpha; 16-bit grey is reduced to 8 bits, not clipped."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float32) / 257.0
        return np.repeat(to_uint8(grey)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGBA" if has_alpha(image) else "RGB"))


def mask_values(image: Any) -> np.ndarray:
    """Coverage of a mask file, uint8 (H, W); masks that store 0 and 1 are stretched to 0 and 255."""
    if has_alpha(image) and image.mode != "P":
        return np.asarray(image.convert("RGBA"))[..., 3]
    if image.mode.startswith("I"):
        values = np.asarray(image)
        scale = 1.0 if values.max(initial=0) <= 255 else 1.0 / 257.0
        grey = to_uint8(values.astype(np.float32) * scale)
    else:
        grey = np.asarray(image.convert("L"))
    return grey * np.uint8(255) if grey.max(initial=0) == 1 else grey


def read_colour(image_path: Path, mask_path: Path | None) -> np.ndarray:
    """The photo of a file at its own size, uint8 (H, W, 3), composited on white by its alpha and by `mask_path`."""
    pixels = _to_rgb(_decode(image_path))
    coverage = pixels[..., 3] if pixels.shape[2] == 4 else None
    if mask_path is not None:
        separate = mask_values(_decode(mask_path))
        coverage = separate if coverage is None else np.minimum(coverage, separate)
    if coverage is None:
        return pixels
    share = coverage[..., None].astype(np.float32) / 255.0
    return to_uint8(_WHITE + (pixels[..., :3].astype(np.float32) - _WHITE) * share)


def read_mask(image_path: Path, mask_path: Path | None) -> np.ndarray:
    """Coverage at the file's own size, uint8 (H, W): the mask file's, else the photo's alpha."""
    if mask_path is not None:
        return mask_values(_decode(mask_path))
    pixels = _to_rgb(_decode(image_path))
    return pixels[..., 3] if pixels.shape[2] == 4 else np.full(pixels.shape[:2], 255, np.uint8)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _area_matrix(n_out: int, n_in: int) -> Any:
    """Sparse (n_out, n_in): row i averages the input pixels that output pixel i covers, by the length covered."""
    from scipy.sparse import csr_matrix

    edges = np.arange(n_out + 1) * (n_in / n_out)
    first = np.floor(edges[:-1] + 1e-9).astype(int)
    last = np.minimum(np.ceil(edges[1:] - 1e-9).astype(int), n_in)
    counts = last - first
    rows = np.repeat(np.arange(n_out), counts)
    columns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[rows]
    covered = np.minimum(edges[rows + 1], columns + 1) - np.maximum(edges[rows], columns)
    return csr_matrix(((covered * (n_out / n_in)).astype(np.float32), (rows, columns)), shape=(n_out, n_in))


def area_resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, C) to (height, width[, C]): each new pixel is the mean of the area it covers."""
    if pixels.shape[:2] == (height, width):
        return pixels
    n_rows, n_columns = pixels.shape[:2]
    tall = _area_matrix(height, n_rows) @ pixels.reshape(n_rows, -1).astype(np.float32)
    tall = tall.reshape(height, n_columns, -1).transpose(1, 0, 2)
    small = _area_matrix(width, n_columns) @ np.ascontiguousarray(tall).reshape(n_columns, -1)
    small = small.reshape(width, height, -1).transpose(1, 0, 2)
    return to_uint8(small).reshape(height, width, *pixels.shape[2:])


def undistort(pixels: np.ndarray, K: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    """The photo as the pinhole `brown.pinhole_inside(...)` would have taken it, same size, bilinear.

    pixels uint8 (H, W) or (H, W, C); K (3, 3) and distortion belong to the photo as it is. Every pixel of the result
    lies inside the photo: there is no border to fill.
    """
    n_rows, n_columns = pixels.shape[:2]
    x, y = brown.source_pixels(tuple(np.asarray(K, dtype=np.float64).ravel()), distortion, n_columns, n_rows)
    result = np.empty_like(pixels)
    block = max(1, 262144 // n_columns)
    for start in range(0, n_rows, block):
        rows = slice(start, start + block)
        result[rows] = _bilinear(pixels, x[rows], y[rows])
    return result


def _bilinear(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values at continuous positions (pixel centres at +0.5), edge pixels repeated outside."""
    n_rows, n_columns = pixels.shape[:2]
    x = np.clip(x - 0.5, 0, n_columns - 1)
    y = np.clip(y - 0.5, 0, n_rows - 1)
    left = np.minimum(x.astype(np.int32), max(n_columns - 2, 0))
    top = np.minimum(y.astype(np.int32), max(n_rows - 2, 0))
    shape = (*x.shape, *(1,) * (pixels.ndim - 2))
    right_share = (x - left).astype(np.float32).reshape(shape)
    lower_share = (y - top).astype(np.float32).reshape(shape)
    flat = pixels.reshape(n_rows * n_columns, *pixels.shape[2:])
    index = top * n_columns + left
    step_x, step_y = min(1, n_columns - 1), n_columns * min(1, n_rows - 1)
    upper = flat[index] * (1 - right_share) + flat[index + step_x] * right_share
    lower = flat[index + step_y] * (1 - right_share) + flat[index + step_y + step_x] * right_share
    return to_uint8(upper * (1 - lower_share) + lower * lower_share)
