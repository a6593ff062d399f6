"""What a step uses, as a function of its number."""

from itertools import pairwise

import pytest

from uner3d.config import preset_config
from uner3d.train.schedule import Schedule, split_steps


def schedule(width: int = 400, **overrides) -> Schedule:
    return Schedule(preset_config("base", steps=[350, 650], **overrides), width)


def test_coarse_then_fine():
    s = schedule()
    assert (s.n_coarse, s.n_steps) == (350, 1000)
    assert [s.at(step).reduction for step in (0, 349, 350, 999)] == [2, 2, 1, 1]
    assert schedule(width=120).at(0).reduction == 1


def test_octaves_open_and_stay_open():
    s = schedule(octaves=9, open_octaves=0.4)
    windows = [s.at(step).window for step in range(1000)]
    assert windows[0] == pytest.approx(0.3 * 9)
    assert all(b >= a for a, b in pairwise(windows))
    assert windows[399] < 8.99 and windows[400:] == pytest.approx([9] * 600)


def test_rate_warms_up_holds_for_some_steps_and_falls_to_a_twentieth():
    s = schedule(rate_held=200)
    rates = [s.at(step).rate for step in range(1000)]
    assert rates[0] == pytest.approx(0.02) and all(b > a for a, b in pairwise(rates[:50]))
    assert rates[49:201] == pytest.approx([1.0] * 152)
    assert all(b < a for a, b in pairwise(rates[200:]))
    assert rates[-1] == pytest.approx(0.05, rel=0.01)


def test_a_short_fit_holds_its_rate_through_the_coarse_stage():
    s = Schedule(preset_config("base", steps=[50, 90], rate_held=100), 400)
    assert s.at(50).rate == pytest.approx(1) and s.at(60).rate < 1
    assert s.at(139).rate == pytest.approx(0.05, rel=0.05)


def test_a_plan_that_is_corrected_changes_no_rate_that_was_used():
    s = schedule(rate_held=200)
    before = [s.at(step).rate for step in range(300)]
    later = s.replanned(300, [400, 500])
    assert [later.at(step).rate for step in range(300)] == pytest.approx(before)
    assert later.at(899).rate == pytest.approx(0.05, rel=0.01)


def test_a_fit_of_coarse_steps_alone_keeps_its_rate():
    s = Schedule(preset_config("base", steps=[100, 0], coarse_share=1.0), 400)
    assert s.at(99).rate == pytest.approx(1)


def test_losses_join():
    s = schedule(idw_from=0.8)
    assert s.at(150).geometric == 0 and s.at(225).geometric == pytest.approx(0.5) and s.at(300).geometric == 1
    assert s.at(799).idw == 0 and s.at(800).idw == 1
    assert s.at(0).uniform == pytest.approx(0.6) and s.at(999).uniform == pytest.approx(0.15)


def test_views_need_not_agree_while_the_field_is_fog():
    s = Schedule(preset_config("base", steps=[50, 90]), 400)  # progress alone would let the loss join at step 21
    assert s.at(60).geometric == 0 and s.at(90).geometric == pytest.approx(0.5) and s.at(120).geometric == 1


def test_steps_must_be_known():
    with pytest.raises(ValueError, match=r"steps: expected \[coarse, fine\], got None"):
        Schedule(preset_config("base"), 400)


@pytest.mark.parametrize("total", [2, 3, 40, 1001])
def test_split_adds_up(total):
    coarse, fine = split_steps(total, 0.35)
    assert coarse + fine == total and abs(coarse - 0.35 * total) <= 0.5


def test_more_fine_steps_change_no_coarse_one():
    short, long = (Schedule(preset_config("base", steps=[350, n]), 400) for n in (650, 1700))
    assert all(short.at(step) == long.at(step) for step in range(350))
    assert short.progress(349) < short.progress(350) == pytest.approx(0.35) == long.progress(350)
    assert short.progress(1000) == long.progress(2050) == pytest.approx(1)


def test_a_fit_of_one_stage_goes_all_the_way():
    for steps in ([0, 100], [100, 0]):
        s = Schedule(preset_config("base", steps=steps), 400)
        assert s.progress(0) == 0 and s.progress(99) == pytest.approx(0.99)


def test_a_correction_under_way_changes_nothing_that_was_done():
    before = schedule()
    after = Schedule(preset_config("base", steps=[350, 900], knots=[[700, before.progress(700)]]), 400)
    assert all(before.at(step) == after.at(step) for step in range(701))
    assert after.progress(1250) == pytest.approx(1) and before.progress(800) > after.progress(800)
