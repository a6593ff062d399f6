"""A minute of benchmarks: the kernels against what one writes without them, checked before anything is timed."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from typing import Any

import torch

from uner3d import ops

from .cases import all_cases, check
from .timing import time_interleaved


def run(scale: float = 1.0, progress: Callable[[float, str], None] | None = None) -> dict[str, Any]:
    """Check and time every case; ``scale`` multiplies the sizes (1: about a minute on two cores).

    Returns the environment, and under ``figures`` per case: op, pass, size, peer, ``ms`` and ``peer_ms`` (medians of
    five rounds), ``spread`` (of ours: largest less smallest over median) and ``speedup``.

    Raises:
        RuntimeError: naming the op, where the two results differ.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale: expected a positive number, got {scale}")
    figures, todo = [], list(all_cases(scale))
    for done, case in enumerate(todo):
        if progress:
            progress(done / len(todo), case.op)
        check(case)
        times = time_interleaved({"ours": case.ours, "theirs": case.theirs})
        ours, theirs = times["ours"], times["theirs"]
        figures.append({
            "op": case.op, "pass": case.run, "size": case.size, "peer": case.peer, "ms": ours["median"] * 1e3,
            "peer_ms": theirs["median"] * 1e3, "spread": ours["spread"] / ours["median"],
            "speedup": theirs["median"] / ours["median"],
        })  # fmt: skip
    return {**_environment(), "figures": figures}


def table(result: dict[str, Any]) -> Any:
    """What :func:`run` returns as a table of rich."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{result['threads']} threads, {result['isa']}, torch {result['torch']}"
    caption = "sizes: points (octaves, neighbours, views x channels) or rays x samples; milliseconds of a call"
    shown = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("op", "pass", "size"):
        shown.add_column(name, no_wrap=True)
    for name in ("uner3d", "peer", "faster"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("than", min_width=len("scipy +"))
    for f in result["figures"]:
        run = f["pass"].removeprefix("forward ") if "+" in f["pass"] else f["pass"]
        times = f"{f['ms']:.2f}", f"{f['peer_ms']:.1f}", f"[bold]{f['speedup']:.1f}x[/]"
        shown.add_row(f["op"], run, f["size"], *times, f["peer"])
    return shown


def _environment() -> dict[str, Any]:
    return {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine(),
            "threads": torch.get_num_threads(), "isa": ops.get_isa()}  # fmt: skip
