"""Step counts from a time budget, by a clock that the tests turn."""

import time

import pytest

from uner3d.config import preset_config
from uner3d.train.pace import Pace, Prices
from uner3d.train.schedule import Schedule


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def pace_of(steps: list[int], seconds: float, fine: float = 1.0, idw: float | None = None) -> Pace:
    """A plan whose coarse steps were priced at 1; the coarse stage takes 0.35, the IDW loss joins at 0.8."""
    return Pace(steps, 1000 + seconds, Prices((0, 0.35, 0.8, 1), (1.0, fine, fine if idw is None else idw)))


def run(pace: Pace, clock: list[float], price) -> tuple[int, list[int]]:
    """The whole fit by ``price(step, progress)``, as `fit` runs it: the steps done, and those at which the plan was
    changed."""
    config = preset_config("base", steps=pace.steps, coarse_share=0.35)
    schedule, step, changed = Schedule(config, 400), 0, []
    while step < schedule.n_steps:
        progress = schedule.progress(step)
        if corrected := pace.corrected(step, progress):
            schedule = schedule.replanned(step, corrected)
            assert schedule.progress(step) == pytest.approx(progress)
            changed.append(step)
        clock[0] += price(step, progress)
        step += 1
        assert progress < schedule.progress(step)
    assert schedule.progress(step) == pytest.approx(1)
    return step, changed


def test_prices_between_progresses():
    prices = Prices((0, 0.4, 0.8, 1), (1.0, 2.0, 4.0))
    assert prices.mean(0, 1) == pytest.approx(0.4 + 0.8 + 0.8)
    assert prices.mean(0.2, 0.6) == pytest.approx(1.5) and prices.mean(0.9, 1) == pytest.approx(4)


def test_steps_cheaper_than_thought_make_room_for_more(clock):
    steps, _ = run(pace_of([100, 200], 60, fine=2.0), clock, lambda _, progress: 0.1 if progress < 0.35 else 0.2)
    assert steps == pytest.approx(60 / (0.35 * 0.1 + 0.65 * 0.2), rel=0.05)
    assert clock[0] == pytest.approx(1060, abs=2)


def test_dearer_steps_shorten_both_stages(clock):
    pace = pace_of([350, 650], 100)
    steps, _ = run(pace, clock, lambda *_: 0.25)
    assert steps == pytest.approx(400, rel=0.1) and pace.steps[0] < 200
    assert clock[0] == pytest.approx(1100, abs=3)


def test_the_first_steps_do_not_count(clock):
    """A fresh field is slow; what the rest of the stage costs is what goes on."""
    steps, changed = run(pace_of([350, 650], 100), clock, lambda _, progress: 0.5 if progress < 0.05 else 0.1)
    assert steps == pytest.approx((100 - 25) / 0.1 + 50, rel=0.1) and changed[0] > 35  # a twentieth of the plan is fog
    assert clock[0] == pytest.approx(1100, abs=3)


def test_corrections_are_bounded(clock):
    late = pace_of([100, 200], 1)
    assert late.corrected(50, 0.175) is None
    clock[0] += 10
    assert late.corrected(100, 0.35) == [100, 50]
    early = pace_of([100, 200], clock[0] + 1e6)
    assert early.corrected(50, 0.175) is None
    clock[0] += 0.5
    assert early.corrected(100, 0.35) == [100, 800]


def test_a_plan_that_holds_is_left_alone(clock):
    steps, changed = run(pace_of([350, 650], 350 + 650 * 2, fine=2.0), clock, lambda step, _: 1 if step < 350 else 2)
    assert steps == 1000 and changed == []


@pytest.mark.parametrize("slow", [range(0, 150), range(200, 300), range(500, 600)])
def test_a_machine_that_is_busy_for_a_while_costs_no_more_than_that(clock, slow):
    """Four times the price for some steps, in the calibration too where they are the first ones."""
    planned = 1000 if slow.start else 250
    pace = pace_of([round(0.35 * planned), planned - round(0.35 * planned)], 1000)
    steps, _ = run(pace, clock, lambda step, _: 4.0 if step in slow else 1.0)
    lost = 3 * len(slow)  # seconds, in which as many steps would have been done
    assert 0.85 * (1000 - lost) <= steps and clock[0] - 1000 <= 1000 * 1.15


@pytest.mark.parametrize("n_coarse", [0, 1, 9])
def test_without_coarse_steps_to_go_by_the_plan_stays_at_first(clock, n_coarse):
    pace = pace_of([n_coarse, 200], 60, fine=2.0)
    assert all(pace.corrected(step, 0.35 + 0.65 * step / 200) is None for step in range(0, 20, 2))
