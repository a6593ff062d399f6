"""Step counts from a time budget, by a clock that the tests turn."""

import time

import pytest

from uner3d.train.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def run_coarse(pace: Pace, clock: list[float], seconds: float, group: int = 2) -> list[int] | None:
    """The coarse stage at a price; what the pace says at the first fine step."""
    for step in range(0, pace.steps[0], group):
        assert pace.corrected(step) is None
        clock[0] += group * seconds
    return pace.corrected(pace.steps[0])


def test_steps_cheaper_than_thought_make_room_for_more(clock):
    pace = Pace([100, 200], deadline=1000 + 60, fine_over_coarse=2.0)
    assert run_coarse(pace, clock, 0.1) == [100, pytest.approx(250, abs=1)]  # 50 s are left, a fine step takes 0.2


def test_the_first_steps_do_not_count(clock):
    """A fresh field is slow; what the second half of the stage costs is what goes on."""
    pace = Pace([100, 200], deadline=1000 + 90, fine_over_coarse=1.0)
    for step in range(0, 100, 2):
        assert pace.corrected(step) is None
        clock[0] += 2 * (0.5 if step < 50 else 0.1)
    assert pace.corrected(100) == [100, pytest.approx(600, abs=1)]


def test_corrections_are_bounded(clock):
    late = Pace([100, 200], deadline=1000 + 1, fine_over_coarse=1.0)
    assert run_coarse(late, clock, 1.0) == [100, 50]
    early = Pace([100, 200], deadline=clock[0] + 1e6, fine_over_coarse=1.0)
    assert run_coarse(early, clock, 0.01) == [100, 800]


@pytest.mark.parametrize("n_coarse", [0, 1, 9])
def test_without_coarse_steps_to_go_by_the_plan_stays(clock, n_coarse):
    pace = Pace([n_coarse, 200], deadline=1000 + 60, fine_over_coarse=2.0)
    assert all(pace.corrected(step) is None for step in range(0, 20, 2))
