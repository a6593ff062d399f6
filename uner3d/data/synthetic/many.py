"""A training set: as many scenes of random objects as asked, each a complete scene folder."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from uner3d.data.synthetic.generate import Progress, put_in_place
from uner3d.data.synthetic.many_options import ManyOptions, check_many, scene_args
from uner3d.data.synthetic.random_scene import RandomScene, Refused
from uner3d.data.synthetic.recipe import draw_recipe

_ATTEMPTS = 50


def run_many(options: ManyOptions, progress: Progress | None = None) -> Path:
    """Make the scenes that the options describe and that are not there yet; returns the folder that holds them.

    A scene is written under another name and renamed when it is complete, so that a run that was stopped goes on
    where it was. ``progress`` is called with (scenes done, scenes in all, "scenes").

    Raises:
        ValueError: an option out of range.
        FileExistsError: a scene's folder is in use: by a scene made with other options, or by something else.
        OSError: the folder cannot be written.
    """
    check_many(options)
    output, tell = Path(options.output), progress or (lambda done, total, stage: None)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {output}: {error.strerror or error}") from error
    _clear_leftovers(output)
    todo = [k for k in range(options.many) if options.overwrite or not _is_made(options, k)]
    done = options.many - len(todo)
    tell(done, options.many, "scenes")
    for _ in _make_all(options, todo):
        done += 1
        tell(done, options.many, "scenes")
    return output


def _is_made(options: ManyOptions, index: int) -> bool:
    """Whether a scene is there; FileExistsError where its folder holds anything else."""
    folder = Path(options.output) / f"{index:05d}"
    if not folder.exists():
        return False
    try:
        there = json.loads((folder / "scene.json").read_text())["args"]
    except (OSError, ValueError, KeyError):
        raise FileExistsError(f"{folder} exists and is no generated scene: choose another folder") from None
    for name, value in scene_args(options, index).items():
        if there.get(name) != value:
            raise FileExistsError(
                f"{folder} was made with {name} = {there.get(name)}, not {value}: choose another folder, or overwrite"
            )
    return True


def _clear_leftovers(output: Path) -> None:
    """Remove what processes that are no more have left half written."""
    for folder in output.glob(".[0-9]*.partial"):
        process = folder.name.split(".")[2]
        with contextlib.suppress(OSError, ValueError):
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)


def _make_all(options: ManyOptions, todo: list[int]) -> Iterator[int]:
    """Make the scenes, yielding the index of each when it is complete."""
    n_processes = min(options.processes, len(todo))
    if n_processes <= 1:
        for index in todo:
            make_scene(options, index)
            yield index
        return
    # Spawned, because a fork of a process that runs threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_processes, context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = {pool.submit(make_scene, options, index): index for index in todo}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def make_scene(options: ManyOptions, index: int) -> Path:
    """Make one scene of the set; returns its folder. Shapes that photos hardly show are drawn again."""
    output = Path(options.output) / f"{index:05d}"
    working = output.with_name(f".{output.name}.{os.getpid()}.partial")
    refused = ""
    for attempt in range(_ATTEMPTS):
        recipe = draw_recipe(options.split, options.seed, index, attempt)
        try:
            scene = RandomScene(options, index, recipe)
        except Refused as reason:
            refused = str(reason)
            continue
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        try:
            scene.write(working)
            put_in_place(working, output, options.overwrite)
        finally:
            shutil.rmtree(working, ignore_errors=True)
        return output
    raise RuntimeError(f"scene {index}: {_ATTEMPTS} shapes were drawn and refused, the last since {refused}")
