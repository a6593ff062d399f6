"""How many steps fit into a time budget: a calibration before the fit, and corrections in the course of it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from uner3d.config import Config
from uner3d.device import synchronise
from uner3d.model.feature_cache import FeatureCache

from .schedule import Schedule, split_steps
from .trainer import Trainer
from .world import World

WARM_STEPS = 40
WARM_SHARE = 0.03  # of the budget, at most, before steps are timed
TRIAL_STEPS = 1000  # length of the fit whose stages the calibration samples
TIMED_GROUPS = 2
LEAST_COARSE = 10  # coarse steps whose price says anything
COARSE_CHECKS = (0.3, 0.6)  # of the coarse stage: where the lengths of both stages are corrected
CHECKS = (0.25, 0.5, 0.75)  # of the fine stage: where its length is corrected once more
SLACK = 0.05  # relative change of what is left that is not worth a correction


class Prices(NamedTuple):
    """What a step costs, in any unit, between progresses: ``costs[i]`` from ``knots[i]`` to ``knots[i + 1]``.

    The first knot is 0 and the last 1; the second is where the fine stage begins.
    """

    knots: tuple[float, ...]
    costs: tuple[float, ...]

    def mean(self, begin: float, end: float) -> float:
        """Mean price between two progresses."""
        lengths = [max(0.0, min(end, b) - max(begin, a)) for a, b in pairwise(self.knots)]
        return sum(n * cost for n, cost in zip(lengths, self.costs, strict=True)) / max(sum(lengths), 1e-9)


@dataclass
class Pace:
    """The plan, and what is needed to correct it under way.

    steps: [coarse, fine]. deadline: of the last step, by time.monotonic(). prices: as the calibration found them; what
    steps cost in fact only has to stay in proportion.
    """

    steps: list[int]
    deadline: float
    prices: Prices
    _since: tuple[int, float, float] | None = None  # step, progress and time from which prices are measured
    _checks: list[float] = field(init=False)  # progresses of the corrections to come

    def __post_init__(self) -> None:
        share = self.prices.knots[1]
        coarse = [share * part for part in (*COARSE_CHECKS, 1)] if self.steps[0] >= LEAST_COARSE else []
        self._checks = coarse + [share + (1 - share) * part for part in CHECKS]

    def corrected(self, step: int, progress: float) -> list[int] | None:
        """To be asked before every group of steps: the steps that fit by the deadline, twice in the coarse stage, at
        the first fine step and three times after; None where the plan stays.

        What a step costs depends on how much of the space is empty, which the calibration's few steps have not found
        out, and on what else the machine does. Steps that are done keep their progress, whatever follows.
        """
        share = self.prices.knots[1]
        if self._since is None:
            if progress >= (share * COARSE_CHECKS[0] / 2 if self.steps[0] >= LEAST_COARSE else share):
                self._since = (step, progress, time.monotonic())
            return None
        first_step, first_progress, begin = self._since
        if not self._checks or progress < self._checks[0] - 1e-9 or step <= first_step:
            return None
        self._checks.pop(0)
        now, left = time.monotonic(), sum(self.steps) - step
        scale = (now - begin) / (step - first_step) / self.prices.mean(first_progress, progress)
        fitting = int((self.deadline - now) / max(scale * self.prices.mean(progress, 1.0), 1e-9))
        self._since = (step, progress, now)
        fitting = min(max(fitting, left // 4, 1), 4 * left)
        if abs(fitting - left) <= SLACK * left:
            return None
        n_coarse = self.steps[0]
        if step < n_coarse:
            n_coarse = step + max(1, round(fitting * (share - progress) / (1 - progress)))
        self.steps = [n_coarse, max(step + fitting - n_coarse, 1)]
        return self.steps


def calibrate(world: World, config: Config, deadline: float, trunk_cache: FeatureCache | None = None) -> Pace:
    """The steps that end about at ``deadline`` (time.monotonic()) here, measured on a throwaway trainer."""
    started = time.monotonic()
    trial = copy.deepcopy(config)
    trial.steps = split_steps(TRIAL_STEPS, config.coarse_share)
    trainer = Trainer.create(trial, world, trunk_cache)
    schedule = Schedule(trial, world.photos[1].size[1])
    # What a frozen trunk makes of the photos is computed once, and no part of a step's price.
    for reduction in {schedule.coarse_reduction, 1}:
        trainer.model.remember_views(world.photos[reduction])
    # A fresh field is fog, whose every sample needs a colour: some real steps first, or steps look too expensive.
    budget = deadline - time.monotonic()
    while trainer.step < WARM_STEPS and time.monotonic() - started < WARM_SHARE * budget:
        timed_group(trainer, schedule)
    share = config.coarse_share
    # The colour loss of the last steps is worth no price of its own (288 against 293 ms a step), and takes a cloud.
    frozen = (config.encoder_until,) if share < config.encoder_until < 1 else ()
    knots = (0.0, share, *frozen, 1.0)
    # The first price is of the end of the coarse stage, when more of the space is known to be empty.
    middles = [begin + (0.5 if begin else 0.9) * (end - begin) for begin, end in pairwise(knots)]
    prices = Prices(knots, tuple(price(trainer, schedule, at) for at in middles))
    n_steps = int(max(1.0, deadline - time.monotonic()) / prices.mean(0.0, 1.0))
    return Pace(split_steps(max(n_steps, 2 * config.reuse_maps), share), deadline, prices)


def price(trainer: Trainer, schedule: Schedule, progress: float) -> float:
    """Seconds of a step at some progress of the trial, the least of a few groups: what other programs take must not
    shorten the fit."""
    trainer.step = min(int(progress * TRIAL_STEPS), TRIAL_STEPS - 20)
    timed_group(trainer, schedule)
    if not trainer.model.encoder_learns:  # most groups of such a stage find every view remembered
        trainer.model.remember_views(trainer.world.photos[schedule.at(trainer.step).reduction])
    times = [timed_group(trainer, schedule) / trainer.config.reuse_maps for _ in range(TIMED_GROUPS)]
    return min(times)


def timed_group(trainer: Trainer, schedule: Schedule) -> float:
    """Seconds that a group of steps takes; a GPU, which works on after the call, is waited for."""
    begin = time.monotonic()
    trainer.run_group(schedule, trainer.config.reuse_maps)
    synchronise(trainer.world.device)
    return time.monotonic() - begin
