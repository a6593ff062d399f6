"""`uner3d train --scenes`: from folders of scenes to a file of weights."""

from __future__ import annotations

from pathlib import Path

from uner3d.data import load_scene
from uner3d.data.readers import READERS
from uner3d.device import resolve_device
from uner3d.options import FitOptions, check_minutes, set_threads, weights_file
from uner3d.progress import Stages, training_bar
from uner3d.reconstruct import prepare_run
from uner3d.train.across import AcrossConfig, load_across_config, train_across
from uner3d.train.checkpoint import check_own_folder
from uner3d.train.processes import begin_processes, process_number
from uner3d.train.scene_stream import SceneStream, TrainingScene, find_scenes, training_scene

UNUSED = ("preset", "holdout", "masks", "box", "views", "settings")  # options of a fit that mean nothing across scenes


def train_weights(scenes: tuple[Path, ...], out: Path, options: FitOptions) -> Path | None:
    """Train across ``scenes`` into the run folder ``out``; returns its file of weights, in the first process.

    Raises ValueError for options that mean nothing here and folders without scenes, FileExistsError where ``out`` holds
    a run, Interrupted after Ctrl-C.
    """
    refuse_unused(options)
    set_threads(options.threads)
    processes, device = begin_processes(resolve_device(options.device))
    folders = find_scenes(scenes, is_scene)
    for folder in folders:
        check_own_folder(out, folder)
    prepare_run(out, out, resume=options.resume, overwrite=options.overwrite)
    if options.resume:
        config = load_across_config(out)
        if config.scenes != [str(folder.resolve()) for folder in folders] or config.processes != processes:
            raise ValueError(f"--resume: {out / 'config.json'} has {len(config.scenes)} scenes in {config.processes} "
                             f"processes, got {len(folders)} in {processes}: expected the same ones")  # fmt: skip
    else:
        config = across_config(options, folders, processes)

    def load(folder: Path) -> TrainingScene:
        return training_scene(load_scene(folder, downscale=config.downscale))

    stream = SceneStream(folders, load, config.seed)
    rank = process_number()
    with Stages(options.quiet or rank > 0).stage("train") as update:
        path = train_across(stream, config, out, device, resume=options.resume, progress=training_bar(update))
    return path if rank == 0 else None


def across_config(options: FitOptions, folders: list[Path], processes: int) -> AcrossConfig:
    """The settings of a training from those of the command."""
    trunk = str(options.encoder_weights.resolve()) if options.encoder_weights else None
    weights = weights_file(options.weights)
    config = AcrossConfig(encoder=options.encoder or "cnn", encoder_weights=trunk, seed=options.seed,
                          device=options.device, steps=options.steps, downscale=options.downscale,
                          weights=None if weights == "none" else weights, processes=processes,
                          scenes=[str(folder.resolve()) for folder in folders])  # fmt: skip
    check_minutes(options.minutes)
    if options.minutes is not None:
        config.minutes = options.minutes
    if config.steps is not None and config.steps < 2:
        raise ValueError(f"--steps: expected at least 2, got {config.steps}")
    return config


def refuse_unused(options: FitOptions) -> None:
    """Raise ValueError for an option that was given and would be passed over."""
    default = FitOptions()
    for name in UNUSED:
        value = getattr(options, name)
        if value != getattr(default, name):
            raise ValueError(f"--{name} {value}: means nothing with --scenes")


def is_scene(folder: Path) -> bool:
    """Whether some reader finds posed photos in a folder."""
    return any(reader.find(folder) is not None for reader in READERS)
