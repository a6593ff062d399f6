"""From a scene and settings to a trained run: calibration, the training loop, checkpoints, Ctrl-C."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from uner3d.config import Config
from uner3d.model.feature_cache import FeatureCache

from .checkpoint import load_state, save_model, save_state, take_folder, write_json
from .hull import carve
from .pace import Pace, calibrate
from .photos import PhotoSet, UnitFrame, background_of, refuse_tiny
from .schedule import Schedule
from .step_log import StepLog
from .trainer import Trainer
from .untrained import conditioned_on_all, is_untrained, without_training
from .world import World, find_prior, make_world

SAVE_EVERY_SECONDS = 60.0
TRIM_EVERY = 40  # steps
TRAINING_SHARE = 0.66  # of the time that is left after loading; the rest is for the cloud and the report


class Interrupted(Exception):
    """A run was stopped by Ctrl-C after saving; it can go on. The message says where it was."""


def prepare(scene, config: Config, device: torch.device | str = "cpu") -> tuple[World, UnitFrame]:
    """Photos as tensors on ``device``, background, carved cells: what training and generation both need."""
    frame = UnitFrame(scene.box)
    refuse_tiny([*scene.views, *scene.test_views])
    photos = PhotoSet(scene.views, frame, device)
    extent = torch.tensor(frame.extent, dtype=torch.float32, device=device)
    background = background_of(scene, photos)
    outside = {"on": True, "off": False}.get(config.outside, background is None)
    allowed = carve(photos, extent, config.grid)
    world = make_world(config, photos, extent, background, allowed, outside)
    return conditioned_on_all(world, config.sources) if is_untrained(config) else world, frame


def fit(world: World, config: Config, run: Path, *, deadline: float | None = None, resume: bool = False,
        scene: dict[str, Any] | None = None,
        progress: Callable[[int, int, dict[str, float]], None] | None = None) -> Trainer:  # fmt: skip
    """Train where the world's tensors lie, writing ``run``/{config.json, metrics.jsonl, model.safetensors,
    state.safetensors} and, where ``scene`` is its content, scene.json. What an earlier run left there is replaced when
    the first step is about to be made: matching and calibration can still fail, or be stopped.

    ``deadline`` (time.monotonic()) is what step counts are calibrated for where ``config.steps`` is None, and corrected
    twice in the coarse stage, where it ends and three times after; otherwise only steps count. ``resume`` goes on from
    the saved state to the same bytes as an uninterrupted run (CPU, same number of threads). ``progress`` is called
    after each group of steps on the CPU, on a GPU where values were read. Raises Interrupted after Ctrl-C, with
    everything saved.
    """
    run.mkdir(parents=True, exist_ok=True)
    if is_untrained(config):
        return without_training(world, config, run, scene, resume)
    on_cpu = world.device.type == "cpu"
    if on_cpu:
        flush_denormals()
    with before_training():
        trainer, pace = set_up(world, config, deadline, read_weights=not resume)
        schedule = Schedule(config, world.photos[1].size[1])
        if resume:
            load_state(run, trainer)
    with deferred_interrupt() as interrupted, _begin(run, trainer, scene, resume) as log:
        saved = time.monotonic()
        while trainer.step < schedule.n_steps:
            if pace and (corrected := pace.corrected(trainer.step, schedule.progress(trainer.step))):
                schedule = schedule.replanned(trainer.step, corrected)
                write_json(run / "config.json", config.to_json())
            terms = trainer.run_group(schedule, _group_length(trainer.step, schedule, config))
            numbers = log.add(trainer.step, terms, at_once=trainer.step == schedule.n_steps)
            if on_cpu and trainer.step % TRIM_EVERY < config.reuse_maps:
                return_free_memory()
            if progress and numbers:
                progress(trainer.step, schedule.n_steps, numbers)
            if interrupted():
                log.read()
                save_state(run, trainer)
                raise Interrupted(f"stopped at step {trainer.step} of {schedule.n_steps}; saved in {run}")
            if time.monotonic() - saved > SAVE_EVERY_SECONDS:
                log.read()
                save_state(run, trainer)
                saved = time.monotonic()
    save_state(run, trainer)
    save_model(run, trainer)
    trainer.model.freeze_encoder()
    trainer.model.eval()
    return trainer


def set_up(world: World, config: Config, deadline: float | None, read_weights: bool) -> tuple[Trainer, Pace | None]:
    """A trainer that has made no step, and the pace of one whose steps have to be found; what ``config`` leaves open is
    settled in it, and the prior in the world."""
    if config.precision == "auto":
        config.precision = faster_precision() if world.device.type == "cpu" else "float32"
    if config.prior_loss > 0:
        world.prior = find_prior(world, config.seed)
        if config.visibility:
            world.show(world.prior.seen(world.photos[world.prior.reduction]))
    trunk_cache, pace = FeatureCache(), None
    if config.steps is None:
        if deadline is None:
            deadline = time.monotonic() + config.minutes * 60 * TRAINING_SHARE
        pace = calibrate(world, config, deadline, trunk_cache)
        config.steps = pace.steps
    return Trainer.create(config, world, trunk_cache, read_weights), pace


@contextlib.contextmanager
def before_training() -> Iterator[None]:
    """Give a Ctrl-C that comes while there is nothing to save a message that says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped before training began: nothing was saved or replaced; "
                                "the same command starts again") from None  # fmt: skip


def flush_denormals() -> None:
    """Treat denormal numbers as zero: fading weights and moments would be computed at a hundredth of the speed. Threads
    inherit the setting when they are made, so a program that fits should call this before its first large operation."""
    torch.set_flush_denormal(True)


def return_free_memory() -> None:
    """Give freed heap pages back to the system where the C library can (glibc). Blocks of a few megabytes, freed and
    asked for again in other sizes every step, otherwise let the heap grow by gigabytes over a fit."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def faster_precision() -> str:
    """"bfloat16" where this CPU multiplies matrices faster in it, else "float32"."""
    a, b = torch.rand(16384, 128), torch.rand(128, 64)
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        x, y = a.to(dtype), b.to(dtype)
        times = []
        for _ in range(6):
            begin = time.perf_counter()
            x @ y
            times.append(time.perf_counter() - begin)
        seconds[name] = min(times)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"


def _begin(run: Path, trainer: Trainer, scene: dict[str, Any] | None, resume: bool) -> StepLog:
    """Make the folder that of this run; its log."""
    take_folder(run, trainer.config, scene, resume)
    return StepLog(run / "metrics.jsonl", trainer.world.device, trainer.step if resume else None)


def _group_length(step: int, schedule: Schedule, config: Config) -> int:
    boundary = schedule.n_coarse if step < schedule.n_coarse else schedule.n_steps
    return min(config.reuse_maps, boundary - step)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that a step ends before the state is saved; a second one acts at once."""
    seen: list[int] = []

    def remember(signum, frame) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(signum)

    try:
        previous = signal.signal(signal.SIGINT, remember)
    except ValueError:  # not the main thread: the caller's own handling stays
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)
