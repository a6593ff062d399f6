"""Pictures inside a page: photos, depth maps and training curves as data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_JPEG_QUALITY = 85
_SMOOTH = 0.05  # share of a curve that its running mean spans


def as_uint8(picture: ArrayLike) -> NDArray[np.uint8]:
    """(h, w, 3) or (h, w) colours as uint8; floats are in [0, 1]. Raises ValueError for other shapes and types."""
    array = np.asarray(picture)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"picture: expected shape (h, w, 3) or (h, w), got {array.shape}")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise ValueError(f"picture: expected uint8 or floats in [0, 1], got {array.dtype}")
    return np.rint(np.nan_to_num(array).clip(0, 1) * 255).astype(np.uint8)


def data_address(picture: ArrayLike, max_width: int | None = None) -> str:
    """A picture as a JPEG in a ``data:`` address, reduced to ``max_width`` pixels where it is wider."""
    from PIL import Image

    image = Image.fromarray(as_uint8(picture))
    if max_width is not None and image.width > max_width:
        height = max(1, round(image.height * max_width / image.width))
        image = image.resize((max_width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return _address("jpeg", buffer.getvalue())


def depth_picture(depth: ArrayLike) -> NDArray[np.uint8]:
    """Depth (h, w) as colours (h, w, 3), near is bright; the range is the 1st to 99th percentile of what is positive.

    Where depth is 0, negative or not finite nothing was seen: white.
    """
    import matplotlib

    z = np.asarray(depth, np.float32)
    if z.ndim != 2:
        raise ValueError(f"depth: expected shape (h, w), got {z.shape}")
    seen = np.isfinite(z) & (z > 0)
    if not seen.any():
        return np.full((*z.shape, 3), 255, np.uint8)
    near, far = np.percentile(z[seen], (1, 99))
    nearness = 1 - (np.where(seen, z, far) - near) / max(float(far - near), 1e-12)
    colours = matplotlib.colormaps["viridis"](nearness.clip(0, 1))[..., :3]
    return as_uint8(np.where(seen[..., None], colours, 1.0))


def curves_picture(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Training curves as a PNG in a ``data:`` address: PSNR beside the losses, each with its running mean.

    curves: name -> (steps, values); what is called "PSNR" is in dB, all else is a loss.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: its global state may belong to the caller

    groups = [
        (label, part)
        for label, part in (
            ("PSNR on training rays (dB)", {k: v for k, v in curves.items() if k == "PSNR"}),
            ("Loss terms", {k: v for k, v in curves.items() if k != "PSNR"}),
        )
        if part
    ]
    figure = Figure(figsize=(10.6, 3.3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (label, part) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        _plot(axes, label, part)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return _address("png", buffer.getvalue())


def _plot(axes: Any, label: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    is_loss = "PSNR" not in curves
    for k, (name, (steps, values)) in enumerate(sorted(curves.items())):
        y = np.array([np.nan if value is None else value for value in values], np.float64)
        if is_loss:
            y[~(y > 0)] = np.nan  # the axis is logarithmic
        colour = "#1f6feb" if not is_loss else f"C{k}"
        axes.plot(steps, y, color=colour, alpha=0.22, linewidth=0.8)
        axes.plot(steps, _running_mean(y), color=colour, linewidth=1.8, label=name)
    if is_loss:
        axes.set_yscale("log")
        axes.legend(fontsize=8, frameon=False, ncols=2)
    axes.set_title(label, fontsize=10, loc="left", color="#17202b")
    axes.set_xlabel("step", fontsize=9, color="#5b6776")
    axes.tick_params(which="both", labelsize=8, colors="#5b6776")
    axes.grid(True, color="#e2e6eb", linewidth=0.7)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c3cad3")


def _running_mean(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a centred window, narrower at the ends; NaN entries do not count."""
    half = int(len(y) * _SMOOTH / 2)
    window = np.ones(2 * half + 1)
    known = np.isfinite(y)
    total = np.convolve(np.where(known, y, 0.0), window)[half : half + len(y)]
    count = np.convolve(known.astype(np.float64), window)[half : half + len(y)]
    return np.where(known, total / np.maximum(count, 1), np.nan)


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
