"""Fit, surfaces, cloud and held-out pictures on a pretended GPU against the CPU. No GPU is needed."""

import shutil

import numpy as np
import pytest
import torch
from pretended_gpu import DEVICE, pretended_gpu

from uner3d import api
from uner3d.cli import main
from uner3d.cloud.generate import EmptyCloud
from uner3d.data import load_scene
from uner3d.data.synthetic import generate_scene
from uner3d.held_out import evaluate_images
from uner3d.train.checkpoint import load_run_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene") / "totem"
    generate_scene(folder, "totem", n_train=8, n_test=1, width=64, height=48, supersampling=1, n_points=2000)
    return load_scene(folder)


def fit(scene, run, device: str) -> api.Fitted:
    return api.fit(scene, run=run, steps=[20, 40], rays=256, samples=16, grid=64, geometric_loss=0.0,
                   precision="float32", device=device)  # fmt: skip


@pytest.fixture(scope="module")
def fitted(scene, tmp_path_factory):
    return fit(scene, tmp_path_factory.mktemp("run"), "cpu")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(api, "resolve_device", lambda name: torch.device("cpu") if name == "cpu" else DEVICE)
    with pretended_gpu() as watch:
        yield watch


class Bare:
    """A view whose mask shows nothing."""

    def __init__(self, view):
        self._view = view

    def __getattr__(self, name):
        return getattr(self._view, name)

    def mask(self):
        return np.zeros_like(self._view.mask())


def test_a_held_out_photo_without_the_object_is_measured_whole(scene, fitted):
    (view,) = scene.test_views
    (held,) = evaluate_images(fitted, [Bare(view)])
    assert held.psnr_mask is None and held.psnr > 5


def there(fitted: api.Fitted, folder) -> api.Fitted:
    """The run, opened on the GPU, without what was computed from it on the CPU."""
    shutil.copytree(fitted.run, folder)
    (folder / "surface.safetensors").unlink(missing_ok=True)
    return api.load_fitted(folder, device="cuda")


def test_held_out_pictures_are_those_of_the_cpu(scene, fitted, gpu, tmp_path):
    ours, theirs = (evaluate_images(f, scene.test_views)[0] for f in (there(fitted, tmp_path / "run"), fitted))
    assert abs(ours.psnr - theirs.psnr) < 1e-2
    assert abs(ours.rendering - theirs.rendering).max() < 0.05 and abs(ours.rendering - theirs.rendering).mean() < 1e-4


def test_surfaces_and_clouds_are_those_of_the_cpu(fitted, gpu, tmp_path):
    moved = there(fitted, tmp_path / "run")
    assert moved.grid.values.device == DEVICE and moved.host.device.type == "cpu"
    (maps, agreed), (their_maps, their_agreed) = api.surfaces(moved), api.surfaces(fitted)
    assert maps.depth.device.type == agreed.points.device.type == "cpu"
    same = (maps.depth - their_maps.depth).abs() < 1e-3
    assert same.float().mean() > 0.99 and (their_maps.depth > 0).sum() > 20
    assert (agreed.kept == their_agreed.kept).float().mean() > 0.99
    try:
        cloud = api.generate(moved, points=2000)
    except EmptyCloud:  # so soon after the start the views may agree on nothing, on the CPU as well
        assert their_agreed.kept.sum() < 20
    else:
        assert len(cloud) == 2000


def test_a_fit_is_as_good_as_on_the_cpu(scene, fitted, gpu, tmp_path):
    trained = fit(scene, tmp_path / "run", "cuda")
    assert next(trained.model.parameters()).device == DEVICE
    assert load_run_config(tmp_path / "run").device == str(DEVICE)
    ours, theirs = (evaluate_images(f, scene.test_views)[0].psnr for f in (trained, fitted))
    assert abs(ours - theirs) < 0.3, (ours, theirs)


def test_settings_of_a_run_on_a_gpu_serve_on_the_cpu(scene, fitted, tmp_path, capsys):
    """What says cuda:0 in config.json is opened, and resumed, where there is no such thing."""
    run = tmp_path / "run"
    shutil.copytree(fitted.run, run)
    config = run / "config.json"
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "cuda:0"'))
    assert load_run_config(run).device == "cuda:0"
    assert api.load_fitted(run, device="cpu").world.device.type == "cpu"
    assert main(["train", str(scene.path), "-o", str(run), "--resume", "--device", "cpu", "--quiet"]) == 0
    assert load_run_config(run).device == "cpu"
