"""A field for a scene it was never fitted to: weights that were trained across scenes, conditioned on the photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uner3d.config import Config, preset_config
from uner3d.render.fill import fill_grid

from .checkpoint import load_state, save_model, save_state, take_folder
from .photos import camera_centres, nearest_views
from .trainer import Trainer
from .world import World

MOST_LOOKS = 8  # cameras along whose rays the density grid is asked for
GRID = 64  # cells along each axis: what can be asked for in a second or two


def untrained_config(preset: str, **settings: Any) -> Config:
    """Settings of a run that makes no step; ``settings`` as for preset_config."""
    return preset_config(preset, **({"steps": [0, 0], "grid": GRID, "prior_loss": 0.0, "voxel_rate": 0.0} | settings))


def is_untrained(config: Config) -> bool:
    """Whether a run makes no step."""
    return config.steps is not None and sum(config.steps) == 0


def conditioned_on_all(world: World, n_sources: int) -> World:
    """The world in which every view conditions, too, what is predicted of itself, and all do where they are few: what
    is predicted then is one field, whatever it is seen from."""
    photos = world.photos[1]
    return replace(world, sources=nearest_views(photos.cam_from_unit, photos, n_sources))


def spread_views(n_views: int, most: int) -> list[int]:
    """At most ``most`` views, evenly through their order."""
    return torch.linspace(0, n_views - 1, min(n_views, most)).round().long().tolist()


@torch.no_grad()
def without_training(world: World, config: Config, run: Path, scene: dict[str, Any] | None, resume: bool) -> Trainer:
    """The trainer that has made no step, on weights of ``config.weights``: its grid is that of the field as it is (but
    for what lies beyond the box, where samples are even). The run folder holds what ``fit`` leaves there; ``resume``
    takes all from it. Raises ValueError where there are no weights."""
    if not config.weights:
        raise ValueError("steps: expected at least 2, or weights that know something without any, got 0")
    if config.precision == "auto":
        config.precision = "float32"
    trainer = Trainer.create(config, world, read_weights=not resume)
    trainer.model.freeze_encoder()
    trainer.model.eval()
    if resume:
        load_state(run, trainer)
        return trainer
    photos = world.photos[1]
    centres = camera_centres(photos.cam_from_unit)
    looks = ((trainer.model.encode_views(photos, world.conditioning[view][: config.sources]), centres[view])
             for view in spread_views(len(photos), MOST_LOOKS))  # fmt: skip
    fill_grid(trainer.grid, trainer.model.field, looks, float(config.octaves))
    take_folder(run, config, scene, resume=False)
    (run / "metrics.jsonl").write_text("")
    save_state(run, trainer)
    save_model(run, trainer)
    return trainer
