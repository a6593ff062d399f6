"""Recorded steps, with a recorder that calls the step again: what goes into the buffers is what the step would read."""

import pytest
import torch
from toy import ball_photos

from uner3d.config import Config
from uner3d.model.field import encode_position, octave_factors
from uner3d.train.checkpoint import load_state, save_state
from uner3d.train.hull import carve
from uner3d.train.schedule import PRIOR_WIDTH, Schedule
from uner3d.train.step_graphs import KEPT, StepGraphs
from uner3d.train.trainer import Trainer
from uner3d.train.world import find_prior, make_world

OCTAVES = 4


def record_by_calling(step, generator):
    return step(), step


@pytest.fixture(scope="module")
def world():
    extent = torch.ones(3)
    photos = ball_photos(6, 40, 30, 56.0)
    world = make_world(config(), photos, extent, torch.ones(3), carve(photos, extent, 16), False)
    world.prior = find_prior(world, 0)
    return world


def config(**overrides) -> Config:
    values = dict(steps=[24, 40], rays=64, samples=8, sources=3, octaves=OCTAVES, grid=16, geometric_rays=16,
                  geometric_from=4, encoder_until=0.5, idw_from=0.6, precision="float32")  # fmt: skip
    return Config(**(values | overrides))


def make(world, record=None) -> tuple[Trainer, Schedule]:
    c = config()
    trainer = Trainer.create(c, world)
    if record is not None:
        trainer.graphs = StepGraphs(trainer.generator, OCTAVES, record)
    return trainer, Schedule(c, 40)


def test_replayed_steps_are_those_that_are_not(world):
    """Through all stages: octaves open, the prior narrows, the geometric loss grows, encoder stops, a cloud joins."""
    (plain, schedule), (replayed, _) = make(world), make(world, record_by_calling)
    seen: set[str] = set()
    while plain.step < schedule.n_steps:
        want, got = (trainer.run_group(schedule, 2) for trainer in (plain, replayed))
        assert want.keys() == got.keys() and plain.step == replayed.step
        seen |= got.keys()
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, rtol=2e-3, atol=1e-5, msg=f"{name} at step {plain.step}")
    assert {"colour", "dssim", "mask", "distortion", "prior", "geometric", "idw", "mse"} == seen
    assert len(replayed.graphs._kept) >= 3, "few kinds of steps were replayed"
    for (name, want), got in zip(plain.model.named_parameters(), replayed.model.parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-3, msg=name)


def test_what_a_replay_reads_and_changes_stays_where_it_is(world):
    trainer, schedule = make(world, record_by_calling)
    trainer.step = 100  # late enough for every loss, and for the grid to be tightened
    places = set()
    for _ in range(12):
        trainer.run_group(schedule, 2)
        recordings = list(trainer.graphs._kept.values())
        tensors = [trainer.grid.bounds, trainer.grid.values, *trainer.model.field.parameters()]
        for recording in recordings[:1]:
            tensors += [recording.numbers, recording.inputs.targets, recording.inputs.sources.maps]
            places.add(tuple(t.data_ptr() for t in tensors))
    assert len(places) == 1


def test_a_step_that_cannot_be_recorded_runs_as_it_is(world):
    calls = []

    def broken(step, generator):
        calls.append(step())
        raise RuntimeError("operation not permitted when stream is capturing")

    (plain, schedule), (trainer, _) = make(world), make(world, broken)
    plain.run_group(schedule, 2), trainer.run_group(schedule, 2)
    with pytest.warns(UserWarning, match="run one kernel at a time: operation not permitted"):
        while not calls:
            plain.run_group(schedule, 2), trainer.run_group(schedule, 2)
    for _ in range(3):
        want, got = (t.run_group(schedule, 2) for t in (plain, trainer))
    assert len(calls) == 1 and not trainer.graphs.works and trainer.step == plain.step
    torch.testing.assert_close(got["colour"], want["colour"], rtol=2e-3, atol=1e-5)


def test_an_error_of_the_step_itself_is_not_hidden(world):
    trainer, schedule = make(world, record_by_calling)

    def fails(inputs):
        raise RuntimeError("out of memory")

    for _ in range(4):
        trainer.run_group(schedule, 2)
    trainer.graphs.clear()
    trainer.run_step = fails
    with pytest.raises(RuntimeError, match="out of memory"):
        for _ in range(4):
            trainer.run_group(schedule, 2)


def test_few_recordings_are_kept_and_loading_forgets_them(world, tmp_path):
    trainer, schedule = make(world, record_by_calling)
    while trainer.step < schedule.n_steps:
        trainer.run_group(schedule, 2)
        assert len(trainer.graphs._kept) <= KEPT
    save_state(tmp_path, trainer)
    load_state(tmp_path, trainer)
    assert not trainer.graphs._kept


@pytest.mark.parametrize("window", [0.0, 0.3, 1.0, 2.7, 4.0])
def test_factors_open_octaves_as_the_kernel_does(window):
    x = torch.rand(50, 3) * 2 - 1
    got, want = (encode_position(x, OCTAVES, w) for w in (octave_factors(window, OCTAVES), window))
    torch.testing.assert_close(got, want, rtol=0, atol=2e-7)


def test_the_prior_counts_to_the_end(world):
    c = config(steps=[2, 4], prior_until=0.5)
    trainer, schedule = Trainer.create(c, world), Schedule(c, 40)
    while trainer.step < schedule.n_steps:
        terms = trainer.run_group(schedule, 2)
    assert schedule.at(5).prior_width == PRIOR_WIDTH[1] and "prior" in terms
