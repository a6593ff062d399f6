"""Training on a pretended GPU: no step copies from device to host, none mixes devices, and the result is the CPU's."""

import pytest
import torch
from pretended_gpu import DEVICE, pretended_gpu
from toy import ball_photos

from uner3d import ops
from uner3d.config import Config
from uner3d.train.fit import fit
from uner3d.train.hull import carve
from uner3d.train.schedule import Schedule
from uner3d.train.tensor_file import read_tensors
from uner3d.train.trainer import Trainer
from uner3d.train.world import World, make_world

MODELS = {"base": {}, "resnet": {"encoder": "resnet34"}, "paper": {"model": "paper"}}
UPLOADS = 3  # of a group of steps: numbers of its sources and of its targets, ratio of the maps' size to the photos'


def config(**overrides) -> Config:
    values = dict(steps=[50, 150], rays=64, samples=8, samples_outside=4, sources=3, octaves=4, grid=16,
                  geometric_rays=16, geometric_from=0, precision="float32")  # fmt: skip
    return Config(**(values | overrides))


def make(masks: bool, outside: bool, device: torch.device | str) -> World:
    photos = ball_photos(6, 40, 30, 56.0, masks=masks).to(device)
    extent = torch.ones(3, device=device)
    background = None if outside else torch.ones(3, device=device)
    return make_world(config(), photos, extent, background, carve(photos, extent, 16), outside)


@pytest.fixture
def gpu():
    with pretended_gpu() as watch:
        yield watch


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("masks", "outside"), [(True, False), (False, False), (False, True)])
def test_a_step_reads_nothing_from_the_gpu(gpu, masks, outside, overrides):
    """Groups of steps with every loss. The cloud of the IDW loss is made, and waited for, once a fit: at step 170."""
    c, world = config(**overrides), make(masks, outside, DEVICE)
    trainer, schedule = Trainer.create(c, world), Schedule(c, 40)
    trainer.model.remember_views(world.photos[1])
    for step in (0, 80, 170, 172, 180):
        trainer.step, gpu.uploads = step, 0
        if step == 170:
            terms = trainer.run_group(schedule, 2)
            continue
        with gpu.no_waiting():
            terms = trainer.run_group(schedule, 2)
        assert trainer.step == step + 2 and gpu.uploads <= UPLOADS
        assert all(term.device == DEVICE and term.dtype == torch.float64 for term in terms.values())
    assert {"colour", "dssim", "distortion", "geometric", "idw", "mse"} <= set(terms)
    assert ("mask" in terms) == masks
    assert gpu.n_operations > 2000


def test_the_fit_is_that_of_the_cpu(tmp_path):
    """Equal steps and random numbers give nearly equal weights: masked colours are those of the visible samples. The
    geometric loss draws its rays otherwise on a GPU, and is left out."""
    c = dict(steps=[6, 14], geometric_loss=0.0, idw_from=0.6)
    fit(make(True, False, "cpu"), config(**c), tmp_path / "cpu")
    with pretended_gpu():
        trainer = fit(make(True, False, DEVICE), config(**c), tmp_path / "gpu")
        assert all(p.device == DEVICE for p in trainer.model.parameters())
    (ours, _), (theirs, _) = (read_tensors(tmp_path / name / "model.safetensors") for name in ("gpu", "cpu"))
    assert set(ours) == set(theirs)
    # Kernels and torch's operations differ by rounding. Where a gradient is nothing else, Adam takes whole steps too:
    # 20 of them in one direction are 1.3e-2.
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=2e-3, msg=f"{name} differs")


@pytest.mark.parametrize("order", ["cpu to gpu", "gpu to cpu"])
def test_a_run_goes_on_on_another_device(tmp_path, order):
    """What was saved in the middle, cloud and optimizers included, is taken over as it was."""
    first, second = ("cpu", DEVICE) if order == "cpu to gpu" else (DEVICE, "cpu")
    class Stop(Exception):
        pass

    def stop(now, n_steps, terms) -> None:
        if now >= 20:
            raise Stop

    with pretended_gpu():
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
            patch.setattr("uner3d.train.fit.SAVE_EVERY_SECONDS", 0.0)
            patch.setattr("uner3d.train.step_log.READ_EVERY", 2)
            fit(make(True, False, first), config(steps=[8, 16], idw_from=0.5), tmp_path, progress=stop)
        trainer = fit(make(True, False, second), config(steps=[8, 16], idw_from=0.5), tmp_path, resume=True)
        assert trainer.step == 24 and trainer.cloud[1].device == torch.device(second)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 12


X = (20, 3)


@pytest.mark.parametrize(
    "careless",
    [
        lambda x: float(x.sum()),
        lambda x: x.cpu(),
        lambda x: torch.zeros(X).copy_(x),
        lambda x: x[x > 0.5],
        lambda x: x[:, 0].nonzero(),
        lambda x: x + torch.rand(X),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.index_put_((x[:, 0] > 0.5,), x[0]),
        lambda x: torch.linalg.solve(x[:3] + torch.eye(3, device=DEVICE), x[:3]),
        lambda x: x[:3].inverse(),
        lambda x: "yes" if (x > 0.5).any() else "no",
        lambda x: torch.repeat_interleave(x, x[:, 0].long(), 0),
        lambda x: ops.composite(x, x[..., None], torch.rand(20, 4)),
        lambda x: ops.knn(torch.rand(X), x, 1),
    ],
)
def test_the_pretended_gpu_notices(gpu, careless):
    x = torch.rand(X, device=DEVICE)
    with gpu.no_waiting(), pytest.raises((RuntimeError, ValueError)):
        careless(x)


def test_the_pretended_gpu_lets_a_careful_program_be(gpu):
    x = torch.rand(X, device=DEVICE)
    with gpu.no_waiting():
        y = torch.where(x > 0.5, x, torch.zeros_like(x)).sum(0) + torch.tensor([1.0, 2.0, 3.0]).to(DEVICE)
        assert y.device == DEVICE and gpu.uploads == 1
    host = x.cpu()
    torch.testing.assert_close(y.cpu(), torch.where(host > 0.5, host, 0.0).sum(0) + torch.tensor([1.0, 2.0, 3.0]))


def test_tensors_made_on_the_pretended_gpu_keep_their_values(gpu):
    for made in (torch.tensor([1.0, 2.0], device=DEVICE), torch.full((2,), 3.0, device=DEVICE) - torch.tensor(1.0)):
        assert made.device == DEVICE and made.cpu().sum() > 2
    with gpu.no_waiting():
        torch.tensor([1.0], device=DEVICE)
    assert gpu.uploads == 2
