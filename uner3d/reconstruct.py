"""The main job: a folder of posed photos becomes a cloud and a report."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uner3d import api
from uner3d.cloud.agree import disagreement_warning, few_photos_warning
from uner3d.cloud.generate import EmptyCloud
from uner3d.cloud.refine import WIDE
from uner3d.config import Config
from uner3d.device import describe
from uner3d.held_out import HeldOut, evaluate_images
from uner3d.info import git_commit
from uner3d.progress import Stages, training_bar
from uner3d.train.checkpoint import check_own_folder, load_run_config, write_json
from uner3d.train.fit import Interrupted, before_training
from uner3d.train.resume import resume_warnings
from uner3d.train.weights import start_model
from uner3d.train.world import World

LEAST_TRAINING = 0.5  # of the budget, whatever the rest takes
EVALUATION_SHARE = 0.12  # of the budget, at most and if that is left, for held-out views (at least one is rendered)
REPORT_SECONDS = 3.0


@dataclass
class Outcome:
    """What a reconstruction found, as it goes to metrics.json and the report."""

    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    held_out: list[HeldOut] = field(default_factory=list)


def reconstruct(scene_path: Path, out: Path, config: Config, *, points: int | None = None, spacing: float | None = None,
                resume: bool = False, overwrite: bool = False, command: str = "",
                quiet: bool = False) -> Outcome:  # fmt: skip
    """Reconstruct ``scene_path`` into ``out``: cloud.ply, report.html, metrics.json and run/.

    ``config.minutes`` is the budget of the whole call; training gets what loading leaves, less a share for the cloud,
    the held-out views and the report. Raises what loading, training and generation raise, after saving what exists.
    """
    begin = time.monotonic()
    run = out / "run"
    stages, outcome = Stages(quiet), Outcome()
    config, scene = begin_run(scene_path, run, out, config, stages, outcome, resume=resume, overwrite=overwrite)
    with stages.stage("train") as update:
        budget = config.minutes * 60
        n_test = sum(view.camera.width * view.camera.height for view in scene.test_views)

        def deadline(world: World) -> float:
            return begin + max(LEAST_TRAINING * budget, budget - seconds_after_training(world, n_test / 1e6, budget))

        fitted = api.fit(scene, run=run, config=config, resume=resume, deadline=deadline, progress=training_bar(update))
    with after_training(run):
        make_cloud(fitted, out / "cloud.ply", points, spacing, stages, outcome)
        if scene.test_views:
            with stages.stage("held-out") as update:
                left = begin + budget - time.monotonic() - REPORT_SECONDS
                seconds = budget * min(EVALUATION_SHARE, max(left / budget, EVALUATION_SHARE / 3))
                outcome.held_out = evaluate_images(fitted, scene.test_views, seconds,
                                                       lambda share: update(share, ""))  # fmt: skip
        outcome.metrics |= summary(scene, fitted, outcome, stages, command)
        write_json(out / "metrics.json", _finite(outcome.metrics))
        with stages.stage("report"):
            from uner3d.report.reconstruction import write_reconstruction_report

            write_reconstruction_report(out, scene, fitted, outcome, command, stages.seconds, read_curves(run))
        outcome.metrics["seconds"] = {name: round(value, 2) for name, value in stages.seconds.items()}
        outcome.metrics["seconds_total"] = round(time.monotonic() - begin, 2)
        write_json(out / "metrics.json", _finite(outcome.metrics))
    return outcome


def make_cloud(fitted: api.Fitted, path: Path, points: int | None, spacing: float | None, stages: Stages,
               outcome: Outcome) -> None:  # fmt: skip
    """Write the cloud and what there is to say of it; where no point is agreed on, that is a warning."""
    with stages.stage("surface") as update:
        doubt = disagreement_warning(*api.surfaces(fitted, lambda share: update(share, "")))
    for sentence in (doubt, few_photos_warning(len(fitted.photos))):
        if sentence:
            warn(stages, outcome, sentence)
    try:
        with stages.stage("cloud") as update:
            cloud = api.write_to(fitted, path, points=points, spacing=spacing,
                                 progress=lambda share: update(share, ""))  # fmt: skip
        outcome.metrics |= {"points": cloud.n_points, "spacing": cloud.spacing}
    except EmptyCloud as error:
        warn(stages, outcome, f"no cloud was written{forget_cloud(path)}: {error}")
        outcome.metrics["points"] = 0


@contextlib.contextmanager
def after_training(run: Path) -> Iterator[None]:
    """A Ctrl-C from here on costs what is made of the field, and not the field."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped after training; the field is saved in {run}") from None


def train_only(scene_path: Path, run: Path, config: Config, *, resume: bool = False, overwrite: bool = False,
               quiet: bool = False) -> api.Fitted:  # fmt: skip
    """Load a scene and fit it, writing the run folder; the whole budget goes to training."""
    begin = time.monotonic()
    stages, outcome = Stages(quiet), Outcome()
    config, scene = begin_run(scene_path, run, run, config, stages, outcome, resume=resume, overwrite=overwrite)
    with stages.stage("train") as update:
        return api.fit(scene, run=run, config=config, resume=resume, deadline=begin + 60 * config.minutes,
                       progress=training_bar(update))  # fmt: skip


def begin_run(scene_path: Path, run: Path, out: Path, config: Config, stages: Stages, outcome: Outcome, *,
              resume: bool, overwrite: bool) -> tuple[Config, Any]:  # fmt: skip
    """Check the folders of the run and of what is written besides and the encoder's weights, and read the scene:
    (settings, scene). A run that is resumed keeps its settings, but for the device."""
    if not resume:
        check_own_folder(run, scene_path)
    prepare_run(run, out, resume=resume, overwrite=overwrite)
    given = config
    if resume:
        config = load_run_config(run)
        config.device = given.device
    elif config.encoder_weights or config.weights:  # a file that cannot be used is found now, not after matching
        start_model(config)
    with before_training(), stages.stage("load"):
        scene = api.load_config_scene(scene_path, config)
    for warning in [*scene.warnings, *(resume_warnings(run, scene, given, config) if resume else ())]:
        warn(stages, outcome, warning)
    return config, scene


def seconds_after_training(world: World, test_megapixels: float, budget: float) -> float:
    """What surface, cloud, held-out views and report take, roughly: it goes with the pixels, those that show something
    above all, and not with the steps. Measured on two CPUs, more of which only end sooner, and on a GPU (H200) with one
    scene, where importing and drawing remain."""
    photos = world.photos[1]
    megapixels = len(photos) * photos.size[0] * photos.size[1] / 1e6
    shown = megapixels * world.shown
    passes = 1.5 if photos.size[1] >= WIDE else 1.0
    held_out = min(0.5 * EVALUATION_SHARE * budget, 50 * test_megapixels)
    if world.device.type == "cuda":
        return 10 + megapixels + 4 * shown + 0.3 * held_out
    return 8 + passes * (8 + 3.5 * megapixels + 14 * shown) + 6 * shown + held_out


def prepare_run(run: Path, out: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the run folder and check that it and ``out`` can be written, before hours are spent.

    Raises OSError where one cannot be written, FileExistsError where a run lies there already.
    """
    state = run / "state.safetensors"
    if resume and not state.is_file():
        raise FileNotFoundError(f"--resume: {state} does not exist; nothing to resume")
    if state.is_file() and not (resume or overwrite):
        raise FileExistsError(f"{run} already holds a run; go on with --resume, or replace it with --overwrite")
    for folder in (out, run):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".writable.{os.getpid()}"  # several processes may ask at once
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OSError(f"-o {folder}: cannot be written ({error.strerror or error})") from error


def forget_cloud(path: Path) -> str:
    """Remove an earlier cloud, which would stand beside a report that knows of none; how a warning says it. It was to
    be replaced anyway."""
    if not path.exists():
        return ""
    path.unlink()
    return f", and the earlier {path} was removed"


def warn(stages: Stages, outcome: Outcome, sentence: str) -> None:
    """Show a warning and keep it for the report and metrics.json."""
    outcome.warnings.append(sentence)
    stages.console.print(f"[bold yellow]warning:[/] {sentence}", highlight=False)


def summary(scene, fitted: api.Fitted, outcome: Outcome, stages: Stages, command: str) -> dict[str, Any]:
    """metrics.json, but for the cloud's own entries and the final times."""
    held = outcome.held_out
    masked = [h.psnr_mask for h in held if h.psnr_mask is not None]
    return {
        "psnr": float(np.mean([h.psnr for h in held])) if held else None,
        "ssim": float(np.mean([h.ssim for h in held])) if held else None,
        "psnr_mask": float(np.mean(masked)) if masked else None,
        "held_out_views": len(held), "held_out_views_available": len(scene.test_views),
        "views": len(scene.views), "photo_size": list(reversed(fitted.photos.size)), "format": scene.format,
        "box": scene.box.tolist(), "box_source": scene.box_source, "warnings": outcome.warnings,
        "seconds": {name: round(value, 2) for name, value in stages.seconds.items()},
        "peak_memory_mb": peak_memory_mb(), "device": describe(fitted.world.device),
        "seed": fitted.config.seed, "settings": fitted.config.to_json(),
        "commit": git_commit(), "command": command,
    }  # fmt: skip


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB (2^20 bytes)."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def read_curves(run: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Training curves from metrics.jsonl: loss terms, and PSNR from the mean squared error."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        step = record.pop("step")
        for name, value in record.items():
            if name == "mse":
                name, value = "PSNR", -10 * math.log10(max(value, 1e-10))
            curves.setdefault(name, ([], []))
            curves[name][0].append(step)
            curves[name][1].append(value)
    return curves


def _finite(values: Any) -> Any:
    """NaN and infinity are no JSON: they become null."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
