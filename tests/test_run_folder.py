"""What a run folder keeps: an earlier run until a new one trains, and its own scene and settings when it goes on."""

import json

import pytest
import torch
from toy import write_ball_scene

from uner3d import api
from uner3d.cli import main
from uner3d.config import Config
from uner3d.data import load_scene
from uner3d.reconstruct import train_only
from uner3d.train import fit as fit_module

LEFT = ("config.json", "scene.json", "metrics.jsonl", "state.safetensors", "model.safetensors", "surface.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_ball_scene(tmp_path_factory.mktemp("scene") / "ball")


def small(**overrides) -> Config:
    """4 steps of next to nothing."""
    values = dict(steps=[2, 2], rays=32, samples=4, sources=2, octaves=3, grid=16, prior_loss=0.0, geometric_loss=0.0,
                  idw_loss=0.0, precision="float32", device="cpu")  # fmt: skip
    return Config(**(values | overrides))


def contents(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


@pytest.fixture
def earlier(tmp_path):
    """A folder in which an earlier run left its files."""
    run = tmp_path / "run"
    run.mkdir()
    for name in LEFT:
        (run / name).write_bytes(b"work of a night")
    return run


@pytest.mark.parametrize("overrides", [{"encoder": "resnet34"}, {"model": "paper"}], ids=["resnet34", "paper"])
def test_weights_that_cannot_be_read_leave_the_earlier_run(scene, earlier, tmp_path, monkeypatch, overrides):
    """They are refused before the scene is read."""
    weights, before = tmp_path / "weights.pth", contents(earlier)
    monkeypatch.setattr("uner3d.reconstruct.load_scene", None)
    with pytest.raises(FileNotFoundError, match=str(weights)):
        train_only(scene, earlier, small(encoder_weights=str(weights), **overrides), overwrite=True, quiet=True)
    weights.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=str(weights)):
        train_only(scene, earlier, small(encoder_weights=str(weights), **overrides), overwrite=True, quiet=True)
    assert contents(earlier) == before


@pytest.mark.parametrize("during", ["find_prior", "calibrate"])
def test_the_earlier_run_stays_until_the_new_one_trains(scene, earlier, monkeypatch, during):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, during, stop)
    before = contents(earlier)
    with pytest.raises(KeyboardInterrupt):
        train_only(scene, earlier, small(steps=None, prior_loss=0.2), overwrite=True, quiet=True)
    assert contents(earlier) == before


def test_no_weights_of_the_earlier_run_stand_beside_new_settings(scene, earlier):
    """A crash in the first steps: neither --resume nor `uner3d cloud` may take what is there for a run."""
    def crash(*_):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        api.fit(load_scene(scene), run=earlier, config=small(), progress=crash)
    assert sorted(path.name for path in earlier.iterdir()) == ["config.json", "metrics.jsonl", "scene.json"]
    assert json.loads((earlier / "config.json").read_text())["rays"] == 32
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        api.load_fitted(earlier)
    assert main(["train", str(scene), "-o", str(earlier), "--resume"]) == 1


def test_a_new_run_replaces_the_earlier_one(scene, earlier):
    fitted = train_only(scene, earlier, small(), overwrite=True, quiet=True)
    assert b"work of a night" not in contents(earlier).values()
    assert not (earlier / "surface.safetensors").exists()
    again = api.load_fitted(earlier, device="cpu").model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in fitted.model.state_dict().items())
