"""Training steps on a pretended GPU: none copies from device to host, none mixes devices. No GPU is needed."""

import contextlib

import pytest
import torch
from pretended_gpu import DEVICE, on_gpu, pretended_gpu
from torch._subclasses.fake_tensor import unset_fake_temporarily
from toy import ball_photos

from uner3d import ops
from uner3d.config import Config
from uner3d.model.build import Model
from uner3d.train import trainer as trainer_module
from uner3d.train.batch import Group, draw_group
from uner3d.train.hull import carve
from uner3d.train.photos import PhotoSet
from uner3d.train.schedule import Schedule
from uner3d.train.trainer import Trainer
from uner3d.train.world import World, make_world

UPLOADS = 3  # of a group of steps: numbers of its sources and of its targets, ratio of the maps' size to the photos'


def config(**overrides) -> Config:
    values = dict(steps=[50, 150], rays=64, samples=8, samples_outside=4, sources=3, octaves=4, grid=16,
                  geometric_rays=16, precision="float32")  # fmt: skip
    return Config(**(values | overrides))


def real_world(masks: bool, outside: bool) -> World:
    photos, extent = ball_photos(6, 40, 30, 56.0, masks=masks), torch.ones(3)
    background = None if outside else torch.ones(3)
    return make_world(config(), photos, extent, background, carve(photos, extent, 16), outside)


def photos_on_gpu(photos: PhotoSet) -> PhotoSet:
    other = object.__new__(PhotoSet)
    other.names = photos.names
    for name in ("images", "masks", "K", "cam_from_unit"):
        setattr(other, name, on_gpu(getattr(photos, name)))
    return other


def to_gpu(model: Model, device: torch.device) -> Model:
    """Module.to cannot swap the fakes themselves."""
    assert device == DEVICE
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(on_gpu(value), value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = on_gpu(value)
    return model


@pytest.fixture
def gpu(monkeypatch):
    """The pretended GPU, with what it cannot stand in for replaced: autocast, which is off on a GPU, and the choice of
    views, which the host makes from numbers of its own."""
    def draw(ranking, n_sources, generator) -> Group:
        with unset_fake_temporarily():
            group = draw_group(ranking, n_sources, generator)
            known = group.sources.tolist(), group.targets.tolist()
        numbers = [torch.zeros(len(views), dtype=torch.int64) for views in known]
        for fake, views in zip(numbers, known, strict=True):
            fake.tolist = lambda views=views: views  # on the CPU, where the real ones lie
        return Group(*numbers)

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(Model, "to", to_gpu)
    monkeypatch.setattr(trainer_module, "draw_group", draw)
    with pretended_gpu() as watch:
        yield watch


def trainer_on_gpu(c: Config, world: World) -> Trainer:
    photos = {reduction: photos_on_gpu(some) for reduction, some in world.photos.items()}
    extent = on_gpu(world.extent)
    there = World(photos, world.ranking, on_gpu(world.background), extent, on_gpu(world.allowed), world.outside)
    trainer = Trainer.create(c, there)
    for optimizer in trainer.optimizers:
        optimizer.step = lambda o=optimizer: check_gradients(o)
    return trainer


def check_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Stands in for Adam, torch's own, whose fused kernel only real devices have."""
    grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
    assert any(g is not None for g in grads)
    assert all(g.device == DEVICE for g in grads if g is not None)


WORLDS = [(True, False), (False, False), (False, True)]
IDS = ["masks", "background", "outside"]


@pytest.fixture(params=WORLDS, ids=IDS)
def world(request):
    return real_world(*request.param)


@pytest.mark.parametrize("overrides", [{}, {"encoder": "resnet34"}, {"model": "paper"}], ids=["base", "resnet", "paper"])
def test_a_step_reads_nothing_from_the_gpu(world, gpu, overrides):
    """Steps of both stages, with every loss; the cloud of the IDW loss is there already, it is made once a fit."""
    c = config(**overrides)
    trainer, schedule = trainer_on_gpu(c, world), Schedule(c, 40)
    trainer.cloud = (ops.KnnIndex(torch.rand(500, 3, device=DEVICE)), torch.rand(500, 3, device=DEVICE))
    for step in (100, 180):
        trainer.step, gpu.uploads = step, 0
        terms = trainer.run_group(schedule, 2)
        assert trainer.step == step + 2 and gpu.uploads <= UPLOADS
        assert all(term.device == DEVICE and term.dtype == torch.float64 for term in terms.values())
    assert {"colour", "dssim", "distortion", "geometric", "idw", "mse"} <= set(terms)
    assert ("mask" in terms) == (world.photos[1].masks is not None)
    assert gpu.n_operations > 500


X = (20, 3)


@pytest.mark.parametrize(
    "careless",
    [
        lambda x: float(x.sum()),
        lambda x: x.cpu(),
        lambda x: x[x > 0.5],
        lambda x: x[:, 0].nonzero(),
        lambda x: x + torch.rand(X),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x.masked_fill_(x > 0.5, 0.0).index_put_((x[:, 0] > 0.5,), x[0]),
        lambda x: torch.linalg.solve(x[:3] + torch.eye(3, device=DEVICE), x[:3]),
        lambda x: x[:3].inverse(),
        lambda x: "yes" if (x > 0.5).any() else "no",
        lambda x: torch.repeat_interleave(x, x[:, 0].long(), 0),
        lambda x: ops.composite(x, x[..., None], torch.rand(20, 4)),
        lambda x: ops.knn(torch.rand(X), x, 1),
    ],
)
def test_the_pretended_gpu_notices(careless):
    with pretended_gpu(), pytest.raises((RuntimeError, ValueError)):
        careless(torch.rand(X, device=DEVICE))


def test_the_pretended_gpu_lets_a_careful_program_be():
    with pretended_gpu() as watch:
        x = torch.rand(X, device=DEVICE)
        y = torch.where(x > 0.5, x, torch.zeros_like(x)).sum(0) + torch.tensor([1.0, 2.0, 3.0]).to(DEVICE)
        assert y.device == DEVICE and watch.uploads == 1
