"""`uner3d eval --protocol srn|nmr|nmr-unseen|dtu-images|dtu`: weights and clouds by the published rules."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from uner3d import api
from uner3d.data.scene import Scene, View
from uner3d.files import digest
from uner3d.held_out import render_camera
from uner3d.protocols import run_protocol, table
from uner3d.train.weights import weights_path

VIEW_SYNTHESIS = ("srn", "nmr", "nmr-unseen", "dtu-images")


class PredictedScene:
    """The field of one object's source views; renders any camera."""

    def __init__(self, fitted: api.Fitted) -> None:
        self.fitted = fitted

    def render(self, view: View) -> NDArray[Any]:
        """What the camera of a view sees, (h, w, 3) in [0, 1]."""
        camera = view.camera
        pose = torch.tensor(self.fitted.frame.to_unit(camera.cam_from_world), dtype=torch.float32)
        K = torch.tensor(camera.K, dtype=torch.float32)
        return render_camera(self.fitted, K, pose, camera.height, camera.width)[0].numpy()


def view_synthesis(root: Path, protocol: str, weights: str, views: int | None = None, out: Path | None = None,
                   device: str = "auto", encoder: str = "cnn",
                   progress: api.Progress | None = None) -> dict[str, Any]:  # fmt: skip
    """Score weights on a published data set at ``root``, without a fit; ``out`` takes the results and lets the same
    command go on after it was stopped. Returns what ``run_protocol`` does, and the ``table`` of it.

    Raises ValueError, FileNotFoundError and SceneError, which name what is missing or was not expected.
    """
    path = weights_path(weights)
    with tempfile.TemporaryDirectory() as folder:

        def predict(scene: Scene, source_views: Sequence[View]) -> PredictedScene:
            fitted = api.predict(scene, weights, run=Path(folder) / "run", device=device, encoder=encoder)
            return PredictedScene(fitted)

        options: dict[str, Any] = {} if views is None else {"views": views}
        about = {"weights": digest(path), "encoder": encoder}
        result = run_protocol(protocol, root, predict, progress, out=out, about=about, **options)
    return result | {"table": table(result)}


def dtu_geometry(cloud: Path, root: Path | None, scan: int | None) -> dict[str, Any]:
    """Chamfer distance of a cloud in mm by DTU's protocol; ``root`` holds Points/stl and ObsMask."""
    from uner3d.cloud.dtu import dtu_metrics, load_dtu_truth
    from uner3d.cloud.ply_read import read_ply

    if root is None or scan is None:
        missing = "--gt, the folder with DTU's Points and ObsMask" if root is None else "--scan, the scan's number"
        raise ValueError(f"--protocol dtu: expected {missing}, got none")
    return {"cloud": str(cloud)} | dtu_metrics(read_ply(cloud), load_dtu_truth(root, scan))
