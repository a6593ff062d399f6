"""Coarse to fine: what a step uses, as a function of the step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uner3d.config import Config

LEAST_HALVED = 240  # pixels of width; halving a thumbnail would leave nothing to match
LAST_RATE = 0.05  # of the learning rate, at the end
PRIOR_WIDTH = 0.04, 0.01  # of the window around a depth, relative to it, at the start and at prior_until


@dataclass(frozen=True)
class Stage:
    """What holds at one step: photo reduction factor, open octaves, factors of the learning rate and of that of the
    density, loss weights' factors, width of the window around the prior's depths.

    For steps that are replayed on a GPU, what changes from step to step is a tensor there (step_graphs.py).
    """

    reduction: int
    window: float | Tensor
    rate: float
    density_rate: float
    geometric: float | Tensor
    prior_width: float | Tensor
    idw: float
    uniform: float | Tensor
    encoder_learns: bool


class Schedule:
    """Steps [n_coarse, n_fine] of ``config.steps``: structure at half resolution first, then colour at full."""

    def __init__(self, config: Config, photo_width: int) -> None:
        if config.steps is None:
            raise ValueError("steps: expected [coarse, fine], got None: calibrate first")
        self.config, self.photo_width = config, photo_width
        self.n_coarse, self.n_steps = config.steps[0], sum(config.steps)
        self.coarse_reduction = 2 if photo_width >= LEAST_HALVED else 1
        n_fine = self.n_steps - self.n_coarse
        share = config.coarse_share if self.n_coarse and n_fine else float(n_fine == 0)
        knots = [(0, 0.0), (self.n_coarse, share), *map(tuple, config.knots or ()), (self.n_steps, 1.0)]
        self._steps, self._progress = zip(*sorted(knots), strict=True)

    def progress(self, step: int) -> float:
        """How far the fit is at a step, 0 to 1: linear between the ends of the stages and the steps at which the plan
        was corrected, so that new numbers of steps change nothing that has been done."""
        return float(np.interp(step, self._steps, self._progress))

    def replanned(self, step: int, steps: list[int]) -> Schedule:
        """The schedule that has other numbers of steps from ``step`` on; they go into the config too, so that a resumed
        run has them."""
        if step not in (0, self.n_coarse):
            self.config.knots = [*(self.config.knots or []), [step, self.progress(step)]]
        self.config.steps = steps
        return Schedule(self.config, self.photo_width)

    def at(self, step: int) -> Stage:
        """What step ``step`` (0-based) uses."""
        c = self.config
        progress = self.progress(step)
        opened = min(1.0, 0.3 + 0.7 * progress / max(c.open_octaves, 1e-6))
        warm = min(1.0, (step + 1) / 50)
        fog = c.geometric_from  # depths that agree in fog would only keep it
        wide = max(0.0, 1 - progress / max(c.prior_until, 1e-6))
        # A field needs steps, not a share of them, to leave the fog; a rate held for longer costs sharpness.
        held = min(self.progress(c.rate_held), c.coarse_share)
        rate = LAST_RATE ** max(0.0, (progress - held) / max(1 - held, 1e-6))
        settled = max(0, step - c.rate_held) / max(1, c.density_settles - c.rate_held)
        return Stage(
            reduction=self.coarse_reduction if step < self.n_coarse else 1,
            window=opened * c.octaves,
            rate=warm * rate,
            density_rate=warm * min(rate, max(LAST_RATE, LAST_RATE**settled)),
            geometric=min(1.0, max(0.0, (progress - 0.15) / 0.15), max(0, step - fog) / max(1, fog)),
            prior_width=PRIOR_WIDTH[1] + (PRIOR_WIDTH[0] - PRIOR_WIDTH[1]) * wide,
            idw=float(progress >= c.idw_from),
            uniform=max(0.15, 0.6 - progress),
            encoder_learns=progress < c.encoder_until,
        )


def split_steps(n_steps: int, coarse_share: float) -> list[int]:
    """[coarse, fine] steps out of a total."""
    n_coarse = round(n_steps * coarse_share)
    return [n_coarse, n_steps - n_coarse]
