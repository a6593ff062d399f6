"""How many steps fit into a time budget: a calibration before the fit, and one correction in the middle of it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

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


@dataclass
class Pace:
    """The first plan, and what is needed to correct it where the coarse stage ends.

    steps: [coarse, fine]. deadline: of the last step, by time.monotonic(). fine_over_coarse: price of a fine step in
    coarse ones.
    """

    steps: list[int]
    deadline: float
    fine_over_coarse: float
    _halfway: tuple[int, float] | None = None

    def corrected(self, step: int) -> list[int] | None:
        """To be asked before every group of steps; once, at the first fine one, the steps that fit by then.

        What a step costs depends on how much of the space is empty, which the calibration's few steps have not found
        out. The steps of the coarse stage do not depend on the number of the fine ones, so that this number can still
        be changed here.
        """
        n_coarse, n_fine = self.steps
        if n_coarse < LEAST_COARSE:
            return None
        if self._halfway is None and step >= n_coarse // 2:
            self._halfway = (step, time.monotonic())
        if step < n_coarse or self._halfway is None or self._halfway[0] >= step:
            return None
        first, begin = self._halfway
        now = time.monotonic()
        price = self.fine_over_coarse * (now - begin) / (step - first)
        fitting = int((self.deadline - now) / max(price, 1e-9))
        return [n_coarse, min(max(fitting, n_fine // 4, 1), 4 * n_fine)]


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
    idw_share = max(0.0, 1 - idw_from)
    late = ((1 - share - idw_share) * fine + idw_share * idw) / max(1 - share, 1e-6)
    n_steps = int(max(1.0, deadline - time.monotonic()) / (share * coarse + (1 - share) * late))
    steps = split_steps(max(n_steps, 2 * config.reuse_maps), share)
    return Pace(steps, deadline, late / coarse)


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
