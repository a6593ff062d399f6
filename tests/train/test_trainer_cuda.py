"""Training steps on a GPU: nothing comes back to the host, nothing is waited for, and states move between devices."""

import warnings

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from toy import ball_photos

from uner3d.config import Config
from uner3d.train.checkpoint import load_state, save_state
from uner3d.train.hull import carve
from uner3d.train.schedule import Schedule
from uner3d.train.trainer import Trainer
from uner3d.train.world import make_world

pytestmark = pytest.mark.gpu


def make(device: str, **overrides) -> Trainer:
    """A trainer, late enough for every loss."""
    config = Config(steps=[200, 400], rays=256, samples=16, sources=4, grid=32, geometric_rays=64, precision="float32",
                    **overrides)  # fmt: skip
    photos, extent = ball_photos(8, 80, 60, 112.0).to(device), torch.ones(3, device=device)
    background = torch.ones(3, device=device)
    trainer = Trainer.create(config, make_world(config, photos, extent, background, carve(photos, extent, 32), False))
    trainer.step = 500
    return trainer


@pytest.fixture(params=[True, False], ids=["replayed", "as they are"])
def trainer(request):
    return make("cuda", replay_steps=request.param)


def run(trainer: Trainer, groups: int) -> dict[str, torch.Tensor]:
    schedule = Schedule(trainer.config, 80)
    for _ in range(groups):
        terms = trainer.run_group(schedule, 2)
    return terms


def check_replays(trainer: Trainer) -> None:
    """Steps that are meant to be replayed are."""
    if trainer.graphs is not None:
        assert trainer.graphs.works and any(kept.replay for kept in trainer.graphs._kept.values())


def test_steps_copy_nothing_to_the_host(trainer):
    run(trainer, 8)  # makes the cloud of the IDW loss, whose size the host has to know, and records the steps
    check_replays(trainer)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        run(trainer, 10)
        torch.cuda.synchronize()
    on_device = [event.name for event in found.events() if event.device_type == DeviceType.CUDA]
    assert len(on_device) > (100 if trainer.graphs else 1000), "the profiler saw little of the device"
    assert [name for name in on_device if "DtoH" in name] == []


def test_no_step_waits_for_the_gpu(trainer):
    """Torch's own watch: operations that synchronise warn, each of them, so that one run tells all places."""
    run(trainer, 8)
    check_replays(trainer)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            run(trainer, 5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert {f"{w.filename}:{w.lineno}" for w in seen if "synchronizing" in str(w.message)} == set()


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.field.parameters()])


def test_replayed_steps_learn_what_others_learn():
    """The same random numbers; sums in another order, which atomic additions make of them, may differ."""
    plain, replayed = make("cuda", replay_steps=False), make("cuda")
    for trainer in (plain, replayed):
        trainer.step = 100
    start = weights(plain)
    for _ in range(10):
        want, got = run(plain, 1), run(replayed, 1)
        assert want.keys() == got.keys()
    check_replays(replayed)
    for name in ("colour", "dssim", "mask", "mse"):
        torch.testing.assert_close(got[name], want[name], rtol=0.05, atol=1e-4, msg=name)
    assert (weights(replayed) - weights(plain)).norm() < 0.3 * (weights(plain) - start).norm()
    before = weights(replayed)
    run(replayed, 1)
    assert not torch.equal(weights(replayed), before), "a replayed step changed nothing"


def test_a_recording_that_fails_leaves_training_as_it_was(monkeypatch):
    """What CUDA does not record ends the recording: here a value that the host asks for."""
    trainer, losses = make("cuda"), Trainer.losses

    def asks(self, inputs):
        terms, mse = losses(self, inputs)
        if torch.cuda.is_current_stream_capturing():
            mse.item()
        return terms, mse

    monkeypatch.setattr(Trainer, "losses", asks)
    stream = torch.cuda.current_stream()
    with pytest.warns(UserWarning, match="one kernel at a time"):
        run(trainer, 8)
    assert not trainer.graphs.works and torch.cuda.current_stream() == stream
    assert all(bool(term.isfinite()) for term in run(trainer, 3).values())
    assert torch.rand(3, device="cuda").isfinite().all()


def test_a_second_device_is_used_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    with torch.cuda.device(0):
        trainer = make("cuda:1")
        terms = run(trainer, 8)
        check_replays(trainer)
        assert all(term.device.index == 1 and bool(term.isfinite()) for term in terms.values())


def test_a_state_moves_between_devices(trainer, tmp_path):
    pytest.importorskip("safetensors")
    run(trainer, 2)
    save_state(tmp_path, trainer)
    on_cpu = make("cpu")
    load_state(tmp_path, on_cpu)
    assert on_cpu.step == trainer.step
    for name, value in on_cpu.model.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, trainer.model.state_dict()[name].cpu()), name
    run(on_cpu, 1)
    save_state(tmp_path, on_cpu)
    load_state(tmp_path, trainer)
    assert trainer.step == on_cpu.step
    assert all(bool(term.isfinite()) and term.is_cuda for term in run(trainer, 2).values())


def test_resuming_on_the_gpu_repeats_its_random_numbers(trainer, tmp_path):
    pytest.importorskip("safetensors")
    run(trainer, 1)
    save_state(tmp_path, trainer)
    first = torch.rand(5, generator=trainer.generator, device="cuda")
    again = make("cuda")
    load_state(tmp_path, again)
    assert torch.equal(torch.rand(5, generator=again.generator, device="cuda"), first)
