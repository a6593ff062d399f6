"""Small pictures of the benchmarks' figures, for benchmarks/README.md."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.tables import Row

DPI = 100
COLOURS = 128
OURS = "#d62728"


def draw(records: dict[str, dict[str, Any]], rows: list[Row], folder: Path) -> list[Path]:
    """Writes speedups.png and knn.png where there are figures for them."""
    pictures = {}
    if rows:
        pictures["speedups"] = speedups(rows)
    figures = [f for f in records.get("knn", {}).get("figures", []) if "libraries" in f]
    if figures:
        pictures["knn"] = knn(figures)
    paths = []
    for name, figure in pictures.items():
        paths.append(folder / f"{name}.png")
        _save(figure, paths[-1])
    return paths


def _save(figure: Figure, path: Path) -> None:
    """With few colours, which lines and bars need no more of: a third of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    picture = Image.open(buffer).convert("RGB").quantize(colors=COLOURS, method=Image.Quantize.FASTOCTREE)
    picture.save(path, optimize=True)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def speedups(rows: list[Row]) -> Figure:
    """A bar per pass and case on a logarithmic axis: times faster than the best eager peer, an op a colour."""
    import matplotlib

    ops = list(dict.fromkeys(row.op for row in rows))
    colours = matplotlib.colormaps["tab10"]
    figure = _figure(9, 0.8 + 0.19 * len(rows))
    axes = figure.add_subplot()
    ratios = [row.eager[0] for row in rows]
    axes.barh(range(len(rows)), ratios, color=[colours(ops.index(row.op) % 10) for row in rows])
    for at, ratio in enumerate(ratios):
        axes.text(ratio * 1.03, at, f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}", va="center", fontsize=7)
    labels = [" ".join(filter(None, (row.op, row.case, row.run))) for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than the best eager PyTorch")
    return figure


def knn(figures: list[dict[str, Any]]) -> Figure:
    """A panel per cloud: microseconds per query over the number of points, a line per library and order of queries."""
    import matplotlib

    clouds = list(dict.fromkeys(figure["cloud"] for figure in figures))
    names = list(dict.fromkeys(name for figure in figures for name in figure["us_per_query"]))
    libraries = list(dict.fromkeys(_library(name) for name in names))
    others = [name for name in libraries if name != "uner3d"]
    colours = {"uner3d": OURS, **{name: matplotlib.colormaps["Set2"](at % 8) for at, name in enumerate(others)}}
    picture = _figure(11, 4.6)
    panels = picture.subplots(1, len(clouds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, clouds, strict=True):
        here = sorted((f for f in figures if f["cloud"] == kind), key=lambda f: f["points"])
        for name in names:
            known = [(f["points"], f["us_per_query"][name]) for f in here if name in f["us_per_query"]]
            axes.plot(
                *zip(*known, strict=True), label=name, marker="o", markersize=4, color=colours[_library(name)],
                linestyle="--" if name.endswith(" sorted") else "-",
                linewidth=2.5 if _library(name) == "uner3d" else 1.4,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(kind)
        axes.set_xlabel("points and queries")
        axes.grid(True, which="major", alpha=0.3)
    panels[0].set_ylabel("µs per query")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right center", fontsize=8)
    return picture


def _library(name: str) -> str:
    return name.removesuffix(" as called").removesuffix(" sorted")
