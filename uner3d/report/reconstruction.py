"""The report of `uner3d reconstruct`, from what the run holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uner3d.cloud.ply_read import read_ply
from uner3d.cloud.turntable import turntable
from uner3d.info import git_commit

from .page import ReportData, write_report

if TYPE_CHECKING:
    from uner3d.api import Fitted
    from uner3d.data.scene import Scene
    from uner3d.reconstruct import Outcome

MAX_HELD_OUT = 8
MAX_PHOTOS = 12
N_FRAMES = 36
_FRAME_SIZE = (640, 480)
_TURNTABLE_POINTS = 400_000
_ELSEWHERE = {"warnings", "seconds", "settings", "commit", "command"}  # shown in parts of their own

T = TypeVar("T")


def write_reconstruction_report(
    out: Path,
    scene: Scene,
    fitted: Fitted,
    outcome: Outcome,
    command: str,
    stage_seconds: Mapping[str, float],
    curves: Mapping[str, tuple[list[int], list[float]]] | None = None,
) -> Path:
    """Write ``out``/report.html and return its path.

    outcome: metrics, warnings and held-out views; the turntable shows ``out``/cloud.ply where its ``points`` say that
    this run wrote one. stage_seconds: what took how long, in order. curves: name -> (steps, values) of the training.
    """
    photos = fitted.photos.images
    held = _spread(outcome.held_out, MAX_HELD_OUT)
    metrics = {name: value for name, value in outcome.metrics.items() if name not in _ELSEWHERE}
    if "photo_size" in metrics:
        metrics["photo_size"] = " x ".join(map(str, metrics["photo_size"]))
    data = ReportData(
        title=_title(scene.path),
        command=command,
        settings=fitted.config.to_json(),
        metrics=metrics,
        warnings=list(outcome.warnings),
        input_images=[photos[view].cpu().numpy() for view in _spread(range(len(photos)), MAX_PHOTOS)],
        heldout=[(h.name, h.photo, h.rendering, h.depth, h.psnr, h.ssim) for h in held],
        curves=dict(curves or {}),
        turntable=_frames(out / "cloud.ply", scene) if outcome.metrics.get("points") else [],
        stages=dict(stage_seconds),
        commit=outcome.metrics.get("commit") or git_commit(),
    )
    path = out / "report.html"
    write_report(path, data)
    return path


def _title(path: Path | str) -> str:
    path = Path(path).resolve()
    return path.parent.name if path.is_file() else path.name


def _frames(path: Path, scene: Scene) -> list[NDArray[np.uint8]]:
    cloud = read_ply(path, max_points=_TURNTABLE_POINTS)
    poses = np.stack([view.camera.cam_from_world for view in scene.views])
    return turntable(cloud, N_FRAMES, _FRAME_SIZE, cam_from_world=poses, supersample=1)


def _spread(items: Sequence[T], n: int) -> list[Any]:
    """At most ``n`` of the items, evenly spread, the first one included."""
    if len(items) <= n:
        return list(items)
    return [items[k * len(items) // n] for k in range(n)]
