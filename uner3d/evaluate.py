"""Measuring a run or a cloud, and rendering a run's views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uner3d import api
from uner3d.files import atomic_file
from uner3d.held_out import evaluate_images
from uner3d.train.checkpoint import load_run_config


def evaluate(target: Path, gt: Path | None, protocol: str, device: str = "auto",
             progress: api.Progress | None = None) -> dict[str, Any]:  # fmt: skip
    """Scores of a run folder or a PLY file; see the command `uner3d eval`. ``progress`` is called with the share done
    where photos are rendered.

    Raises FileNotFoundError or ValueError naming what is missing.
    """
    if not target.exists():
        raise FileNotFoundError(f"{target}: not found; expected a run folder or a .ply file")
    if protocol == "auto":
        protocol = "chamfer" if gt is not None or target.is_file() else "images"
    if protocol == "cloud-images":
        return cloud_images(target, gt)
    return images(target, device, progress) if protocol == "images" else chamfer(target, gt)


def images(run: Path, device: str = "auto", progress: api.Progress | None = None) -> dict[str, Any]:
    """PSNR and SSIM of a run on its held-out views, whole images and, where there are masks, over the mask."""
    if run.is_file():
        raise ValueError(f"{run}: protocol images needs a run folder, not a file")
    fitted = api.load_fitted(run, device=device)
    scene = api.load_run_scene(run, fitted.config)
    if not scene.test_views:
        raise ValueError(f"{run}: the scene has no test split and the run held none out; train with --holdout K")
    held = evaluate_images(fitted, scene.test_views, progress=progress)
    masked = [h.psnr_mask for h in held if h.psnr_mask is not None]
    return {
        "psnr": float(np.mean([h.psnr for h in held])), "ssim": float(np.mean([h.ssim for h in held])),
        "psnr_mask": float(np.mean(masked)) if masked else None, "views": len(held),
        "per_view": {h.name: round(h.psnr, 3) for h in held},
    }  # fmt: skip


def chamfer(target: Path, gt: Path | None) -> dict[str, Any]:
    """Geometry of a cloud (or of a run's cloud.ply) against a scene with exact truth, or against another cloud."""
    from uner3d.cloud.metrics import chamfer_between, chamfer_metrics
    from uner3d.cloud.ply import read_ply

    ply = _cloud_file(target)
    if gt is None:
        gt = _truth_of_run(target)
    if (gt / "scene.json").is_file():
        return {"cloud": str(ply)} | chamfer_metrics(read_ply(ply), gt)
    if gt.is_file():
        return {"cloud": str(ply)} | chamfer_between(read_ply(ply), read_ply(gt))
    raise FileNotFoundError(f"--gt {gt}: expected a folder with scene.json and gt_points.ply, or a .ply file")


def cloud_images(target: Path, gt: Path | None) -> dict[str, Any]:
    """A cloud (or a run's cloud.ply) drawn into held-out photos: those of the scene folder ``gt``, else the run's."""
    from uner3d.cloud.image_metrics import cloud_image_metrics
    from uner3d.cloud.ply import read_ply
    from uner3d.data import load_scene

    ply = _cloud_file(target)
    run = next((f for f in (target, target / "run", target.parent / "run") if (f / "config.json").is_file()), None)
    if gt is not None:
        scene = load_scene(gt)
    elif run is not None:
        scene = api.load_run_scene(run, load_run_config(run))
    else:
        raise ValueError(f"--gt: expected a scene folder with held-out photos, since {target} belongs to no run")
    return {"cloud": str(ply)} | cloud_image_metrics(read_ply(ply), scene, _true_footprint(Path(scene.path)))


def render_views(run: Path, out: Path, which: str, device: str = "auto",
                 progress: api.Progress | None = None) -> int:  # fmt: skip
    """Write photo beside rendering for every view as PNG; returns how many."""
    from PIL import Image

    fitted = api.load_fitted(run, device=device)
    scene = api.load_run_scene(run, fitted.config)
    views = scene.test_views if which == "test" else scene.views
    if not views:
        raise ValueError(f"{run}: no {which} views; use --views train, or train with --holdout K")
    out.mkdir(parents=True, exist_ok=True)
    for number, held in enumerate(evaluate_images(fitted, views, progress=progress)):
        picture = (held.rendering * 255 + 0.5).astype(np.uint8)
        with atomic_file(out / f"{number:04d}.png") as file:
            Image.fromarray(np.concatenate([held.photo, picture], 1)).save(file, "PNG")
    return len(views)


def _cloud_file(target: Path) -> Path:
    """The PLY file itself, or the cloud.ply of a run folder or beside it."""
    if target.is_file():
        return target
    places = (target / "cloud.ply", target.parent / "cloud.ply")
    ply = next((p for p in places if p.is_file()), places[0])
    if not ply.is_file():
        raise FileNotFoundError(f"{ply}: not found; write one with `uner3d cloud {target}`")
    return ply


def _true_footprint(scene: Path) -> float | None:
    """The width of a pixel on the object, where a synthetic scene says it."""
    from uner3d.cloud.metrics import load_truth

    return load_truth(scene).footprint if (scene / "gt_points.ply").is_file() else None


def _truth_of_run(target: Path) -> Path:
    """The scene a run was trained on, where that holds truth."""
    import json

    for folder in (target, target / "run", target.parent, target.parent / "run"):
        if (folder / "scene.json").is_file():
            path = json.loads((folder / "scene.json").read_text()).get("path")
            if path and (Path(path) / "gt_points.ply").is_file():
                return Path(path)
    raise ValueError("--gt: expected a scene folder with exact truth or a .ply file; the run's own scene has none")
