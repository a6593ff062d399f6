"""Training across scenes: one model that predicts views of scenes it has never seen."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from uner3d.config import Config, read_json
from uner3d.model.build import Model

from .across_step import TERMS, PredictView, StepSettings, Task, draw_task
from .checkpoint import forget_run, write_json
from .fit import Interrupted, deferred_interrupt, return_free_memory
from .processes import in_any_process, process_number
from .scene_stream import SceneStream
from .step_log import StepLog
from .tensor_file import (
    below,
    load_model,
    load_optimizer,
    model_tensors,
    optimizer_tensors,
    read_tensors,
    write_tensors,
)
from .weights import save_weights, start_model

SAVE_EVERY_SECONDS = 120.0
TRIM_EVERY = 200  # steps
WARM_TRIAL, TIMED_STEPS = 20, 20  # of a throwaway model: until fog has thinned, and whose median is a step's price
WARM_STEPS = 200
LAST_RATE = 0.05  # of the learning rate, at the end
LOG_EVERY = 20  # steps, whose mean is one line


@dataclasses.dataclass
class AcrossConfig(StepSettings):
    """Settings of a training across scenes, written to its config.json."""

    encoder: str = "cnn"  # cnn | resnet34
    encoder_weights: str | None = None
    weights: str | None = None  # a file of weights to start from
    octaves: int = 9  # that the model has; ``window`` of them are open
    seed: int = 0
    device: str = "auto"
    minutes: float = 60.0  # from which the steps are found
    steps: int | None = None
    learning_rate: float = 2e-3
    scenes: list[str] = dataclasses.field(default_factory=list)
    downscale: float = 1.0
    processes: int = 1

    def model_config(self) -> Config:
        """The settings of the model alone."""
        return Config(encoder=self.encoder, encoder_weights=self.encoder_weights, octaves=self.octaves, seed=self.seed,
                      weights=self.weights, voxel_rate=0.0)  # fmt: skip


@dataclasses.dataclass
class Across:
    """The state of a training: model, optimiser, step. ``predict`` is the model as a step sees it, spread over the
    processes where there are several."""

    config: AcrossConfig
    predict: torch.nn.Module
    model: Model
    optimizer: torch.optim.Optimizer
    device: torch.device
    rank: int = 0
    step: int = 0

    @staticmethod
    def create(config: AcrossConfig, device: torch.device, read_weights: bool = True) -> Across:
        """A fresh one, its weights drawn from the seed or, with ``read_weights``, read from ``config.weights``."""
        torch.manual_seed(config.seed)
        model = start_model(config.model_config(), read_weights=read_weights).to(device)
        predict: torch.nn.Module = PredictView(model, config)
        if config.processes > 1:
            predict = torch.nn.parallel.DistributedDataParallel(predict)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        return Across(config, predict, model, optimizer, device, process_number())

    @property
    def turn(self) -> int:
        """The turn of the next step: whose scene, and whose random numbers, it is."""
        return self.step * self.config.processes + self.rank

    def task(self, stream: SceneStream, turn: int) -> Task:
        """What is to be predicted at a turn: decided by the seed and the turn alone."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_000_007 + turn)
        return draw_task(stream.at(turn), self.config, generator, self.device)

    def run_step(self, stream: SceneStream, n_steps: int) -> Tensor:
        """One step on one scene a process; its terms (len(TERMS),)."""
        c, task = self.config, self.task(stream, self.turn)
        for group in self.optimizer.param_groups:
            group["lr"] = c.learning_rate * rate_factor(self.step, n_steps)
        self.optimizer.zero_grad()
        terms = self.predict(task)
        terms[:-1].sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return terms.detach()


def rate_factor(step: int, n_steps: int) -> float:
    """Factor of the learning rate: a short rise, then half a cosine to LAST_RATE."""
    warm = min(1.0, (step + 1) / min(WARM_STEPS, max(1, n_steps // 10)))
    return warm * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / n_steps))))


def train_across(stream: SceneStream, config: AcrossConfig, run: Path, device: torch.device, *, resume: bool = False,
                 progress: Callable[[int, int, dict[str, float]], None] | None = None) -> Path:  # fmt: skip
    """Train, writing ``run``/{config.json, metrics.jsonl, state.safetensors} and, at the end and whenever the state is
    saved, weights.safetensors; returns the last.

    Under ``torchrun`` each process takes other scenes and gradients are averaged; the first one writes. ``resume`` goes
    on from the saved state as if nothing had happened (on the CPU with the same threads and processes: to the same
    bytes). Raises Interrupted after Ctrl-C, with everything saved.
    """
    if config.steps is None:
        config.steps = calibrated_steps(stream, config, device)
    state = Across.create(config, device, read_weights=not resume)
    if resume:
        _load(run, state)
    first, n_steps, saved = state.rank == 0, config.steps, time.monotonic()
    if first:
        if not resume:
            forget_run(run)  # what an earlier training left must not go on under these settings
        write_json(run / "config.json", dataclasses.asdict(config))
    log_file = StepLog(run / "metrics.jsonl", torch.device("cpu"), state.step if resume else None) if first else None
    sums = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
    with deferred_interrupt() as interrupted, log_file or contextlib.nullcontext():
        while state.step < n_steps:
            try:
                sums += state.run_step(stream, n_steps).double()
            except Exception:  # a scene that cannot be used, say: the steps before it are not lost
                if first and state.step:
                    _save(run, state)
                raise
            due = state.step % LOG_EVERY == 0 or state.step == n_steps
            if due:
                means = dict(zip(TERMS, sums / ((state.step - 1) % LOG_EVERY + 1), strict=True))
                numbers = log_file.add(state.step, means, at_once=True) if log_file else {}
                sums = torch.zeros_like(sums)
                if progress and numbers:
                    progress(state.step, n_steps, numbers)
            if state.step % TRIM_EVERY == 0 and device.type == "cpu":
                return_free_memory()
            if due and in_any_process(interrupted()):
                if first:
                    _save(run, state)
                raise Interrupted(f"stopped at step {state.step} of {n_steps}; saved in {run}")
            if first and due and time.monotonic() - saved > SAVE_EVERY_SECONDS:
                _save(run, state)
                saved = time.monotonic()
    if first:
        _save(run, state)
    return run / "weights.safetensors"


def calibrated_steps(stream: SceneStream, config: AcrossConfig, device: torch.device) -> int:
    """The steps that fit into ``config.minutes`` here, by the slowest process."""
    begin, trial = time.perf_counter(), Across.create(config, device)
    steps, reading = [], []
    for _ in range(WARM_TRIAL + TIMED_STEPS):
        times = [time.perf_counter()]
        stream.at(trial.turn)
        times.append(time.perf_counter())
        float(trial.run_step(stream, 1000)[-1])  # waits for a GPU
        times.append(time.perf_counter())
        reading.append(times[1] - times[0])
        steps.append(times[2] - times[1])
    once = sorted(reading)[len(reading) // 2] * len(stream.folders) / config.processes  # every scene is read once
    each = torch.tensor([statistics.median(steps[WARM_TRIAL:]), once + time.perf_counter() - begin])
    if config.processes > 1:
        each = each.to(device)
        dist.all_reduce(each, dist.ReduceOp.MAX)
    return max(2, int((config.minutes * 60 - float(each[1])) / float(each[0])))


def _save(run: Path, state: Across) -> None:
    tensors = model_tensors(state.model) | optimizer_tensors(state.optimizer, "optimizer.")
    write_tensors(run / "state.safetensors", tensors, {"step": str(state.step)})
    recipe = dataclasses.asdict(state.config) | {"trained_steps": state.step}
    recipe["scenes"] = len(recipe["scenes"])
    for name in ("weights", "encoder_weights"):  # a file's place on this machine concerns nobody else
        recipe[name] = recipe[name] and Path(recipe[name]).name
    save_weights(run / "weights.safetensors", state.model, state.config.model_config(), state.config.window, recipe)


def _load(run: Path, state: Across) -> None:
    path = run / "state.safetensors"
    tensors, metadata = read_tensors(path)
    state.step = int(metadata["step"])
    load_model(state.model, below(tensors, "model."), path)
    load_optimizer(state.optimizer, below(tensors, "optimizer."))


def load_across_config(run: Path) -> AcrossConfig:
    """Settings of a training across scenes; ValueError names the file and what is wrong."""
    path = run / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; expected a run folder of `uner3d train --scenes`")
    try:
        return AcrossConfig(**read_json(path))
    except TypeError as error:
        raise ValueError(f"{path}: expected the settings of `uner3d train --scenes` ({error})") from error
