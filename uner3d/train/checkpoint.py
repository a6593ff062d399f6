"""A run on disk: config.json, scene.json, model.safetensors, state.safetensors. Nothing in it executes code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uner3d.config import Config, read_config, read_json
from uner3d.files import atomic_file

from .tensor_file import (
    below,
    load_model,
    load_optimizer,
    model_tensors,
    optimizer_tensors,
    read_tensors,
    write_tensors,
)
from .trainer import Trainer


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(values, indent=1) + "\n").encode())


def check_own_folder(run: Path, scene_path: Path | str) -> None:
    """Refuse the scene's folder as that of a run: both may have a scene.json. Raises ValueError."""
    path = Path(scene_path).resolve()
    if run.resolve() == (path.parent if path.is_file() else path):
        raise ValueError(f"{run}: expected a folder of the run's own, got that of the scene, whose files would be lost")


def take_folder(run: Path, config: Config, scene: dict[str, Any] | None, resume: bool) -> None:
    """Write config.json and scene.json of a run whose training begins. Unless it resumes, what an earlier run left goes
    first: at no time do weights stand beside settings that are not theirs."""
    if not resume:
        forget_run(run)
    write_json(run / "config.json", config.to_json())
    if scene is not None:
        write_json(run / "scene.json", scene)


def forget_run(run: Path) -> None:
    """Remove the weights of an earlier run and what was made of them. A cloud goes only where there was a run that it
    can have come from."""
    weights = [run / f"{name}.safetensors" for name in ("state", "model", "weights")]
    made_of_them = [run / "surface.safetensors", run / "cloud.ply", *(run / "renders").glob("*/*.png")]
    if any(path.is_file() for path in weights):
        for path in (*weights, *made_of_them, run / "scene.json"):
            path.unlink(missing_ok=True)


def save_model(run: Path, trainer: Trainer) -> None:
    """config.json and model.safetensors: the weights, the density grid and how far the photos see, enough to generate
    clouds from."""
    tensors = dict(trainer.model.state_dict())
    tensors |= trainer.grid.state()
    if (seen := trainer.world.photos[1].seen) is not None:
        tensors |= {"seen.depth": seen.depth, "seen.K": seen.K}
    write_json(run / "config.json", trainer.config.to_json())
    write_tensors(run / "model.safetensors", tensors, {"step": str(trainer.step)})


def save_state(run: Path, trainer: Trainer) -> None:
    """Model and everything else that resuming to the same bytes needs, in one file so that the two cannot disagree."""
    tensors = model_tensors(trainer.model) | trainer.grid.state()
    tensors["generator"] = trainer.host_generator.get_state()
    if trainer.generator is not trainer.host_generator:
        tensors["generator.device"] = trainer.generator.get_state()
    for number, optimizer in enumerate(trainer.optimizers):
        tensors |= optimizer_tensors(optimizer, f"optimizer.{number}.")
    if trainer.cloud is not None:
        tensors["cloud.points"], tensors["cloud.colours"] = trainer.cloud[0].points, trainer.cloud[1]
    write_tensors(run / "state.safetensors", tensors, {"step": str(trainer.step)})


def load_state(run: Path, trainer: Trainer) -> None:
    """Put a saved state into a trainer made from the same config, on whatever device it was saved.

    A GPU's random numbers are not the CPU's: a run that changes between them goes on with others.
    """
    from uner3d import ops

    tensors, metadata = read_tensors(run / "state.safetensors")
    trainer.step = int(metadata["step"])
    load_model(trainer.model, below(tensors, "model."), run / "state.safetensors")
    trainer.grid.load_state(tensors)
    trainer.host_generator.set_state(tensors["generator"])
    if trainer.generator is not trainer.host_generator:
        if "generator.device" in tensors:
            trainer.generator.set_state(tensors["generator.device"])
        else:  # saved by a fit on the CPU; the same numbers must not come again as at the start
            trainer.generator.manual_seed(trainer.config.seed + trainer.step)
    for number, optimizer in enumerate(trainer.optimizers):
        load_optimizer(optimizer, below(tensors, f"optimizer.{number}."))
    if "cloud.points" in tensors:
        points, colours = (tensors[f"cloud.{name}"].to(trainer.world.device) for name in ("points", "colours"))
        trainer.cloud = (ops.KnnIndex(points), colours)
    if trainer.graphs is not None:
        trainer.graphs.clear()  # they read tensors that were replaced


def load_run_config(run: Path) -> Config:
    """The settings of a run folder."""
    return read_config(_file_of_run(run, "config.json"))


def load_scene_record(run: Path) -> dict[str, Any]:
    """scene.json of a run folder: path, format, box, box_source and names of the views. ValueError names the file and
    what is wrong with it, such as a scene's own file of that name."""
    path = _file_of_run(run, "scene.json")
    values = read_json(path)
    content = values if isinstance(values, dict) else {}
    box, views = content.get("box"), content.get("views")
    as_expected = {
        "path": isinstance(content.get("path"), str),
        "box": isinstance(box, list) and len(box) == 2 and all(isinstance(x, list) and len(x) == 3 for x in box),
        "views": isinstance(views, list) and all(isinstance(name, str) for name in views),
    }
    for name, is_right in as_expected.items():
        if not is_right:
            raise ValueError(f"{path}: expected {name!r} of a run's scene; written by another program?")
    return content


def _file_of_run(run: Path, name: str) -> Path:
    path = Path(run) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; expected a run folder of `uner3d train` or `reconstruct`")
    return path
