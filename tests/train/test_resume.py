"""A run that was stopped goes on to the same bytes, and Ctrl-C loses nothing."""

import json
import signal
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file
from toy import ball_photos

from uner3d.config import Config
from uner3d.model.resnet34 import ResNet34
from uner3d.train import fit as fit_module
from uner3d.train.checkpoint import load_run_config
from uner3d.train.fit import Interrupted, fit
from uner3d.train.hull import carve
from uner3d.train.schedule import Schedule
from uner3d.train.tensor_file import read_tensors
from uner3d.train.trainer import Trainer
from uner3d.train.world import make_world


@pytest.fixture(scope="module")
def world():
    photos, extent = ball_photos(5, 40, 30, 56.0), torch.ones(3)
    return make_world(config(), photos, extent, torch.ones(3), carve(photos, extent, 16), False)


def config(**overrides) -> Config:
    """12 steps in which every loss takes part, the cloud's from step 8 on."""
    values = dict(steps=[4, 8], rays=64, samples=8, sources=3, octaves=4, grid=16, geometric_rays=16,
                  precision="float32", idw_from=0.6, encoder_until=0.5, geometric_from=0)  # fmt: skip
    return Config(**(values | overrides))


def stop_at(step: int):
    """A progress callback that presses Ctrl-C."""
    def progress(now: int, n_steps: int, terms) -> None:
        if now == step:
            signal.raise_signal(signal.SIGINT)

    return progress


def model_bytes(run) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    fit(world, config(), run)
    return run


def test_every_loss_took_part(whole):
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [2, 4, 6, 8, 10, 12]
    assert {"colour", "dssim", "mask", "distortion", "geometric", "idw", "mse"} <= set(records[-1])
    assert "idw" not in records[2]
    tensors, metadata = read_tensors(whole / "model.safetensors")
    assert metadata["step"] == "12"
    assert all(t.isfinite().all() for t in tensors.values())


def test_the_encoder_learns_until_it_is_frozen(world):
    c = config()
    trainer, schedule, weights = Trainer.create(c, world), Schedule(c, 40), []
    while trainer.step < schedule.n_steps:
        trainer.run_group(schedule, 2)
        learning = [trainer.model.encoder.conv_half.weight, *trainer.model.field.parameters()]
        weights.append([parameter.detach().clone() for parameter in learning])
    changes = [not torch.equal(a[0], b[0]) for a, b in pairwise(weights)]
    assert changes == [schedule.progress(step) < 0.5 for step in range(2, 12, 2)] and any(changes)
    assert not any(torch.equal(a, b) for a, b in zip(weights[-2][1:], weights[-1][1:], strict=True))


def test_the_same_settings_give_the_same_bytes(world, whole, tmp_path):
    fit(world, config(), tmp_path)
    assert model_bytes(tmp_path) == model_bytes(whole)


@pytest.mark.parametrize("stop", [2, 6, 10, 12])
def test_interrupted_and_resumed_equals_uninterrupted(world, whole, tmp_path, stop):
    """Before, between and after the stages and the making of the cloud; at the very end, too."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"stopped at step {stop} of 12"):
        fit(world, config(), tmp_path, progress=stop_at(stop))
    assert signal.getsignal(signal.SIGINT) is before
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == str(stop)
    assert not (tmp_path / "model.safetensors").exists()
    trainer = fit(world, load_run_config(tmp_path), tmp_path, resume=True)
    assert trainer.step == 12
    assert model_bytes(tmp_path) == model_bytes(whole)
    assert (tmp_path / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_resuming_needs_no_weights_file(world, tmp_path):
    """The state holds the weights; that they came from a file still decides that the trunk does not learn."""
    weights = tmp_path / "weights.safetensors"
    save_file(ResNet34().state_dict(), weights)
    pretrained = dict(encoder="resnet34", encoder_weights=str(weights))
    fit(world, config(**pretrained), tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(world, config(**pretrained), tmp_path / "run", progress=stop_at(6))
    weights.unlink()
    fit(world, load_run_config(tmp_path / "run"), tmp_path / "run", resume=True)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")


def test_resuming_after_a_crash_does_not_repeat_the_log(world, whole, tmp_path, monkeypatch):
    """A crash comes steps after the last saved state: the steps in between are done, and logged, again."""
    monkeypatch.setattr(fit_module, "SAVE_EVERY_SECONDS", 0.0)

    def crash(now: int, n_steps: int, terms) -> None:
        if now == 8:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit(world, config(), tmp_path, progress=crash)
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == "6"
    fit(world, load_run_config(tmp_path), tmp_path, resume=True)
    assert model_bytes(tmp_path) == model_bytes(whole)
    assert (tmp_path / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_a_second_ctrl_c_acts_at_once(world, tmp_path):
    def impatient(now: int, n_steps: int, terms) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(world, config(), tmp_path, progress=impatient)
    assert "before training" not in str(stopped.value)


def test_the_seed_matters(world, whole, tmp_path):
    fit(world, config(seed=1), tmp_path)
    assert model_bytes(tmp_path) != model_bytes(whole)


def test_training_learns(world):
    """After a hundred steps the colours are nearer to the photos than at the start."""
    c = config(steps=[40, 60])
    trainer, schedule = Trainer.create(c, world), Schedule(c, 40)
    first, last = [], []
    while trainer.step < 100:
        mse = trainer.run_group(schedule, 2)["mse"]
        (first if trainer.step <= 20 else last if trainer.step > 80 else []).append(mse)
    assert sum(last) < 0.5 * sum(first)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_run_config(tmp_path)
    (tmp_path / "config.json").write_text('{"rayz": 3}')
    with pytest.raises(ValueError, match=r"config\.json: unknown setting 'rayz'"):
        load_run_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        read_tensors(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable"):
        read_tensors(tmp_path / "model.safetensors")
