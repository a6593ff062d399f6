"""One self-contained HTML page about a reconstruction: no file beside it, nothing fetched from anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from uner3d import __version__
from uner3d.files import atomic_file

from .pictures import curves_picture, data_address, depth_picture

MAX_WIDTH = 480  # pixels of the widest picture
MAX_TURNTABLE_WIDTH = 640
_STAGE_COLOURS = ("#9db4cf", "#1f6feb", "#12a594", "#f2a33c", "#8e6bd8", "#e5627a", "#66788a")
_METRIC_NAMES = {
    "psnr": "held-out PSNR (dB)", "ssim": "held-out SSIM", "psnr_mask": "held-out PSNR inside the mask (dB)",
    "held_out_views": "held-out views rendered", "held_out_views_available": "held-out views available",
    "views": "training photos", "photo_size": "photo size (pixels)", "format": "scene format",
    "box": "box (scene units)", "box_source": "box found from", "peak_memory_mb": "peak memory (MiB)",
    "spacing": "spacing (scene units)",
}  # fmt: skip


@dataclass
class ReportData:
    """What the page shows; an empty part is left out.

    settings, metrics: name -> plain value. ``points``, ``psnr``, ``ssim``, ``peak_memory_mb`` and ``seconds_total``
    (else the sum of ``stages``) of the metrics become the tiles on top. Pictures are (h, w, 3) uint8 or floats in
    [0, 1]. heldout: (name, photo, rendering, depth (h, w) or None, PSNR in dB, SSIM). curves: name -> (steps, values).
    turntable: frames of one turn. stages: name -> seconds.
    """

    title: str
    command: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    input_images: list[NDArray] = field(default_factory=list)
    heldout: list[tuple[str, NDArray, NDArray, NDArray | None, float, float]] = field(default_factory=list)
    curves: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    turntable: list[NDArray] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    commit: str | None = None


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page; pictures wider than 480 pixels (640 for the turntable) are reduced.

    Raises OSError where ``path`` cannot be written, ValueError for pictures of another shape.
    """
    page = report_html(data)
    with atomic_file(path) as file:
        file.write(page.encode())


def report_html(data: ReportData) -> str:
    """The page as text."""
    assets = resources.files(__package__) / "assets"
    body = "\n".join(filter(None, _parts(data)))
    script = f"<script>{(assets / 'page.js').read_text()}</script>" if data.turntable else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(data.title)} - uner3d</title>\n<style>{(assets / 'page.css').read_text()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n{script}\n</body>\n</html>\n"
    )


def show_value(value: Any) -> str:
    """A setting or a measure for people: numbers to 4 digits, nothing for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–" if math.isnan(value) else ("∞" if value > 0 else "-∞")
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 1e4 else str(value)
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(item, (list, tuple)) for item in value)
        return (" … " if nested else ", ").join(show_value(item) for item in value)
    return str(value)


def _parts(data: ReportData) -> Iterable[str]:
    yield f'<header>\n<div class="made-by">uner3d reconstruction</div>\n<h1>{escape(data.title)}</h1>\n</header>'
    yield _warnings(data.warnings)
    yield _tiles(data)
    yield _turntable(data.turntable)
    yield _heldout(data.heldout)
    yield _section("Photos", _strip(data.input_images)) if data.input_images else ""
    curves = f'<img alt="Training curves" src="{curves_picture(data.curves)}">' if data.curves else ""
    yield _section("Training", curves) if curves else ""
    yield _stages(data.stages)
    metrics = {_METRIC_NAMES.get(name, name): value for name, value in data.metrics.items()}
    yield _section("Measures", _table(metrics)) if metrics else ""
    yield _section("Settings", _table(data.settings)) if data.settings else ""
    yield _section("Command", f"<pre>{escape(data.command)}</pre>") if data.command else ""
    commit = f", commit {escape(data.commit)}" if data.commit else ""
    yield f"<footer>uner3d {escape(__version__)}{commit}</footer>"


def _section(title: str, body: str, kind: str = "") -> str:
    opening = f'<section class="{kind}">' if kind else "<section>"
    return f"{opening}\n<h2>{escape(title)}</h2>\n{body}\n</section>\n"


def _warnings(warnings: list[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in warnings)
    return _section("1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings", f"<ul>{items}</ul>", "warnings")


def _tiles(data: ReportData) -> str:
    m = data.metrics
    seconds = m.get("seconds_total") or sum(data.stages.values()) or None
    memory = m.get("peak_memory_mb")
    tiles = [
        ("points", f"{m['points']:,}" if m.get("points") is not None else None, ""),
        ("held-out PSNR", _fixed(m.get("psnr"), 2), "dB"),
        ("held-out SSIM", _fixed(m.get("ssim"), 3), ""),
        ("in all", _fixed(seconds / 60, 1) if seconds else None, "min"),
        ("peak memory", _fixed(memory / 1024, 2) if memory else None, "GiB"),
    ]
    shown = [
        f'<div class="tile"><b>{value}{f" <small>{unit}</small>" if unit else ""}</b><span>{name}</span></div>'
        for name, value, unit in tiles
        if value is not None
    ]
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def _turntable(frames: list[NDArray]) -> str:
    if not frames:
        return ""
    addresses = [data_address(frame, max_width=MAX_TURNTABLE_WIDTH) for frame in frames]
    controls = (
        f'<div class="controls" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{len(frames) - 1}" value="0" aria-label="Turn"></div>'
    )
    body = (
        f'<div class="turntable" tabindex="0"><img alt="The cloud from all around" draggable="false" '
        f'src="{addresses[0]}">{controls}<script type="application/json">{json.dumps(addresses)}</script></div>'
    )
    return _section("Point cloud", body)


def _heldout(views: list[tuple[str, NDArray, NDArray, NDArray | None, float, float]]) -> str:
    if not views:
        return ""
    with_depth = any(view[3] is not None for view in views)
    cells = [f'<div class="head">{name}</div>' for name in ("Photo", "Rendering", "Depth")[: 3 if with_depth else 2]]
    for name, photo, rendering, depth, psnr, ssim in views:
        cells += [_image(photo, f"{name}: photo"), _image(rendering, f"{name}: rendering")]
        if depth is not None:
            cells.append(_image(depth_picture(depth), f"{name}: depth"))
        elif with_depth:
            cells.append("<div></div>")
        numbers = f"PSNR {_fixed(psnr, 2)} dB &nbsp; SSIM {_fixed(ssim, 3)}"
        cells.append(f'<div class="caption"><span>{escape(name)}</span>{numbers}</div>')
    body = f'<div class="compare{"" if with_depth else " two"}">{"".join(cells)}</div>'
    return _section("Held-out photos, never trained on", body)


def _strip(pictures: list[NDArray]) -> str:
    return f'<div class="strip">{"".join(_image(picture, "Input photo") for picture in pictures)}</div>'


def _stages(stages: Mapping[str, float]) -> str:
    total = sum(stages.values())
    if not total > 0:
        return ""
    bar, legend = [], []
    for k, (name, seconds) in enumerate(stages.items()):
        colour = _STAGE_COLOURS[k % len(_STAGE_COLOURS)]
        bar.append(f'<i style="flex:{seconds / total:.5f};background:{colour}" title="{escape(name)}"></i>')
        legend.append(f'<span><i style="background:{colour}"></i><b>{escape(name)}</b> {seconds:.1f} s</span>')
    body = f'<div class="bar">{"".join(bar)}</div><div class="legend">{"".join(legend)}</div>'
    return _section("Time", body)


def _table(rows: Mapping[str, Any]) -> str:
    """Two columns of rows, or one where there are few."""
    lines = [f"<tr><td>{escape(name)}</td><td>{escape(show_value(value))}</td></tr>" for name, value in rows.items()]
    half = (len(lines) + 1) // 2 if len(lines) > 6 else len(lines)
    tables = "".join(f"<table>{''.join(part)}</table>" for part in (lines[:half], lines[half:]) if part)
    return f'<div class="tables">{tables}</div>'


def _image(picture: NDArray, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="{data_address(picture, max_width=MAX_WIDTH)}">'


def _fixed(value: float | None, digits: int) -> str | None:
    if value is None or math.isnan(value):
        return None
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"
