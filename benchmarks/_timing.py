"""What the benchmarks share: interleaved timing, checks before timing, the record of the environment, JSON output."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uner3d.bench.timing import time_interleaved  # noqa: F401  what the benchmarks time with

ROOT = Path(__file__).resolve().parent.parent


def check_close(a: Any, b: Any, tol: float, name: str = "result") -> float:
    """Compare two results (tensors, arrays, or equally long tuples of them) and return the largest difference.

    Call it before timing: a fast wrong answer is worth nothing. The difference is absolute and taken in float64;
    values that are equal, infinities and NaN included, differ by 0.

    Raises:
        AssertionError: naming ``name``, where the shapes or a value differ by more than ``tol``.
    """
    if isinstance(a, (tuple, list)):
        if not isinstance(b, (tuple, list)) or len(a) != len(b):
            raise AssertionError(f"{name}: expected {len(a)} results, got {len(b) if hasattr(b, '__len__') else b!r}")
        return max(
            (check_close(x, y, tol, f"{name}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True))), default=0
        )
    x, y = _array(a), _array(b)
    if x.shape != y.shape:
        raise AssertionError(f"{name}: shapes differ, {x.shape} against {y.shape}")
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(x - y))
    if not np.all(difference <= tol):
        at = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), difference.shape)
        where = tuple(int(i) for i in at)
        raise AssertionError(f"{name}: differs by {difference[at]:.3g} > {tol:.3g} at {where}: {x[at]} against {y[at]}")
    return float(difference.max(initial=0.0))


def _array(value: Any) -> np.ndarray:
    return (value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)).astype(np.float64)


def environment() -> dict[str, Any]:
    """The record that every figure carries: device, versions, threads, instruction set, commit, date."""
    from uner3d.ops import get_isa

    record: dict[str, Any] = {
        "device": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "isa": get_isa(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if torch.cuda.is_available():
        record["gpu"] = torch.cuda.get_device_name()
        record["cuda"] = torch.version.cuda
    return record


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """What COMMIT says, or the checkout's short hash, "+dirty" where tracked files have changed; else "unknown"."""
    if os.environ.get("COMMIT"):
        return os.environ["COMMIT"]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_json(path: str | Path, record: dict[str, Any]) -> None:
    """Write ``record`` as JSON, by way of a temporary file, so that a kill leaves the old one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(path)


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have: --threads, --repeats, --isa, --json. Parse with :func:`parse`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of the kernels (default 2)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, at least 5 (default 5)")
    parser.add_argument("--isa", help="instruction set of the kernels (default: the widest here)")
    parser.add_argument("--json", metavar="FILE", help="write the figures and the environment here")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line and apply --threads and --isa."""
    from uner3d.ops import set_isa

    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.isa:
        set_isa(arguments.isa)
    return arguments


def show(title: str, times: dict[str, dict[str, float]], against: str = "torch") -> None:
    """Print one line per name: median, spread, and how many times faster than ``against``."""
    print(title)
    for name, t in times.items():
        ratio = times[against]["median"] / t["median"]
        print(f"  {name:<16} {t['median'] * 1e3:10.2f} ms  ± {t['spread'] * 5e2:8.2f}   {ratio:7.2f}x of {against}")
