"""How many steps fit into a time budget: a calibration before the fit, and corrections in the course of it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from uner3d.config import Config
from uner3d.device import synchronise
from uner3d.model.trunk_cache import TrunkCache

from .schedule import Schedule, split_steps
from .trainer import Trainer
from .world import World

WARM_STEPS = 60
WARM_SHARE = 0.06  # of the budget, at most, before steps are timed
TRIAL_STEPS = 1000  # length of the fit whose stages the calibration samples
TIMED_GROUPS = 5
LEAST_COARSE = 10  # coarse steps whose price says anything
CHECKS = (0.25, 0.5, 0.75)  # of the fine stage: where its length is corrected once more
SLACK = 0.05  # relative change of what is left that is not worth a correction


class Prices(NamedTuple):
    """What a step costs in the coarse stage, in the fine one, and there with the IDW loss, in any unit; the progress at
    which the last two begin."""

    coarse: float
    fine: float
    idw: float
    fine_from: float
    idw_from: float

    def mean(self, begin: float, end: float) -> float:
        """Mean price between two progresses."""
        knots = (0.0, self.fine_from, max(self.idw_from, self.fine_from), 1.0)
        lengths = [max(0.0, min(end, b) - max(begin, a)) for a, b in pairwise(knots)]
        return sum(n * p for n, p in zip(lengths, self[:3], strict=True)) / max(sum(lengths), 1e-9)


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
        share = self.prices.fine_from
        first = [share] if self.steps[0] >= LEAST_COARSE else []
        self._checks = first + [share + (1 - share) * part for part in CHECKS]

    def corrected(self, step: int, progress: float) -> list[int] | None:
        """To be asked before every group of steps: the steps that fit by the deadline, at the first fine one and three
        times after; None where the plan stays.

        What a step costs depends on how much of the space is empty, which the calibration's few steps have not found
        out, and on what else the machine does. The steps of the coarse stage do not depend on the number of the fine
        ones, so that this number can still be changed.
        """
        n_coarse, n_fine = self.steps
        if self._since is None:
            share = self.prices.fine_from
            if progress >= (share / 2 if n_coarse >= LEAST_COARSE else share):
                self._since = (step, progress, time.monotonic())
            return None
        first_step, first_progress, begin = self._since
        if not self._checks or progress < self._checks[0] - 1e-9 or step <= first_step:
            return None
        self._checks.pop(0)
        now, left = time.monotonic(), n_coarse + n_fine - step
        scale = (now - begin) / (step - first_step) / self.prices.mean(first_progress, progress)
        fitting = int((self.deadline - now) / max(scale * self.prices.mean(progress, 1.0), 1e-9))
        self._since = (step, progress, now)
        fitting = min(max(fitting, left // 4, 1), 4 * left)
        if abs(fitting - left) <= SLACK * left:
            return None
        self.steps = [n_coarse, step - n_coarse + fitting]
        return self.steps


def calibrate(world: World, config: Config, deadline: float, trunk_cache: TrunkCache | None = None) -> Pace:
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
    share, idw_from = config.coarse_share, max(config.idw_from, config.coarse_share)
    coarse, fine, idw = (price(trainer, schedule, at) for at in (0.9 * share, 0.5 * (share + idw_from),
                                                                 0.5 * (min(idw_from, 1) + 1)))  # fmt: skip
    prices = Prices(coarse, fine, idw, share, idw_from)
    n_steps = int(max(1.0, deadline - time.monotonic()) / prices.mean(0.0, 1.0))
    return Pace(split_steps(max(n_steps, 2 * config.reuse_maps), share), deadline, prices)


def price(trainer: Trainer, schedule: Schedule, progress: float) -> float:
    """Seconds of a step at some progress of the trial, near the least of a few groups: what other programs take must
    not shorten the fit."""
    trainer.step = min(int(progress * TRIAL_STEPS), TRIAL_STEPS - 20)
    timed_group(trainer, schedule)
    times = [timed_group(trainer, schedule) / trainer.config.reuse_maps for _ in range(TIMED_GROUPS)]
    return sorted(times)[1]


def timed_group(trainer: Trainer, schedule: Schedule) -> float:
    """Seconds that a group of steps takes; a GPU, which works on after the call, is waited for."""
    begin = time.monotonic()
    trainer.run_group(schedule, trainer.config.reuse_maps)
    synchronise(trainer.world.device)
    return time.monotonic() - begin
