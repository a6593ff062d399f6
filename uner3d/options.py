"""Settings of the commands that fit, and checks of what the command line was given."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any, Literal

from uner3d.config import Config, preset_config, setting_from_text

Preset = Literal["quick", "base", "high", "paper"]


@dataclasses.dataclass
class FitOptions:
    """Settings of the fit."""

    preset: Preset = "base"
    """quick: a first look; base: what we recommend; high: hours; paper: the plainest reading of UNeR3D."""
    minutes: float | None = None
    """Time budget of the whole command (default: 5; preset quick: 2, high: 30; --scenes: 60). Step counts are
    calibrated from it once and written to config.json."""
    steps: int | None = None
    """Training steps, instead of a time budget. 0: none, where there are weights to predict with."""
    weights: str | None = None
    """Where the model starts: a file of `uner3d train --scenes`, `default` for the one that the package brings, or
    `none` (default: the package's where it fits preset and encoder; --scenes: none). With --steps 0 it predicts the
    scene as it is."""
    views: str | None = None
    """Numbers of the photos to use, as in 0,5,7 (default: all). With --steps 0, one is enough."""
    downscale: float = 1.0
    """Reduce the photos by this factor (2: half the width and height)."""
    holdout: int = 0
    """Keep every K-th photo out of training, to measure on. 0: only the scene's own test split."""
    masks: Literal["auto", "off"] = "auto"
    """auto: use alpha channels or mask files where the scene has them; off: ignore them (alpha becomes white)."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Region to reconstruct, in scene units: x y z of the lower corner, then of the upper. Found by default."""
    seed: int = 0
    """Random seed. The same config.json gives the same bytes on the CPU with the same number of threads."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. auto: CUDA where PyTorch and the kernels can use it, else the CPU."""
    encoder_weights: Path | None = None
    """ResNet34 ImageNet weights (.pth or .safetensors) for the `paper` preset and encoder `resnet34`."""
    encoder: Literal["cnn", "resnet34"] | None = None
    """Image encoder of `base`."""
    settings: tuple[str, ...] = ()
    """Other settings of the fit as name=value, as config.json has them, for experiments: prior_loss=0 refine=0 is the
    field without any matching."""
    threads: int | None = None
    """CPU threads (default: torch's own choice)."""
    resume: bool = False
    """Go on with an interrupted run, with its settings."""
    overwrite: bool = False
    """Replace a run that the output folder already holds."""
    quiet: bool = False
    """No progress bars."""


def set_threads(threads: int | None) -> None:
    """Let torch, and with it the kernels, use so many CPU threads."""
    if threads is not None:
        if threads < 1:
            raise ValueError(f"--threads: expected at least 1, got {threads}")
        import torch

        torch.set_num_threads(threads)


def fit_config(options: FitOptions) -> Config:
    """The settings of a run, from those of the command; refuses what cannot be meant."""
    from uner3d.device import resolve_device
    from uner3d.train.schedule import split_steps
    from uner3d.train.untrained import untrained_config

    set_threads(options.threads)
    resolve_device(options.device)  # refused before a scene is read
    check_minutes(options.minutes)
    weights = weights_file(options.weights)
    if options.steps is not None and options.steps < 2 and options.steps != 0:
        raise ValueError(f"--steps: expected at least 2, or 0 with weights, got {options.steps}")
    box = [list(options.box[:3]), list(options.box[3:])] if options.box else None
    trunk = str(options.encoder_weights.resolve()) if options.encoder_weights else None
    others = _other_settings(options.settings)
    make = untrained_config if options.steps == 0 else preset_config
    config = make(options.preset, minutes=options.minutes, downscale=options.downscale, holdout=options.holdout,
                  masks=options.masks, box=box, seed=options.seed, encoder_weights=trunk, encoder=options.encoder,
                  device=options.device, weights=weights, views=_numbers(options.views), **others)  # fmt: skip
    if options.steps == 0 and not config.weights:
        raise ValueError("--steps: expected at least 2 without weights, got 0")
    if options.steps:
        config.steps = split_steps(options.steps, config.coarse_share)
    return config


def check_minutes(minutes: float | None) -> None:
    """Refuse what is no time budget."""
    if minutes is not None and not 0 < minutes < math.inf:
        raise ValueError(f"--minutes: expected a positive number, got {minutes}")


def weights_file(name: str | None) -> str | None:
    """What ``--weights`` names, as a setting: "default", "none", or where a file lies, wherever that is read."""
    from uner3d.train.weights import weights_path

    if name in (None, "none"):
        return name
    path = weights_path(name)
    return name if name == "default" else str(path.resolve())


def _other_settings(written: tuple[str, ...]) -> dict[str, Any]:
    """Settings from name=value, but for those that are options of their own."""
    try:
        settings = dict(map(setting_from_text, written))
    except ValueError as error:
        raise ValueError(f"--settings {error}") from error
    own = {field.name for field in dataclasses.fields(FitOptions)} & settings.keys()
    if own:
        raise ValueError(f"--settings {min(own)}: has an option of its own, --{min(own)}")
    return settings


def _numbers(text: str | None) -> list[int] | None:
    """Numbers of photos from "0,5,7"."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ValueError(f"--views: expected numbers of photos like 0,5,7, got {text!r}")
    return [int(part) for part in parts]


def check_density(points: int | None, spacing: float | None) -> None:
    """Refuse what is no density of a cloud."""
    from uner3d.cloud.generate import MOST_POINTS

    if points is not None and not 1 <= points <= MOST_POINTS:
        raise ValueError(f"--points: expected 1 to {MOST_POINTS:,}, got {points}")
    if spacing is not None and not 0 < spacing < math.inf:
        raise ValueError(f"--spacing: expected a positive length in scene units, got {spacing}")
    if points is not None and spacing is not None:
        raise ValueError("--points and --spacing: expected one of them, got both")


def check_ply_target(path: Path) -> None:
    """Refuse what cannot become a PLY file; its folder is made."""
    if path.suffix.lower() != ".ply" or path.is_dir():
        raise ValueError(f"-o {path}: expected the name of a .ply file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"-o {path}: cannot be written ({error.strerror or error})") from error
