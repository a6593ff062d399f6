"""What is in a run folder stays until a new run trains, and then goes; folders that cannot be taken are refused."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from toy import small_config, write_ball_scene

from uner3d import api
from uner3d.cli import main
from uner3d.cloud.generate import EmptyCloud
from uner3d.data import load_scene
from uner3d.reconstruct import reconstruct, train_only

LEFT = (
    "config.json", "scene.json", "metrics.jsonl", "state.safetensors", "model.safetensors", "surface.safetensors",
    "cloud.ply",
)  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_ball_scene(tmp_path_factory.mktemp("scene") / "ball")


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
    monkeypatch.setattr("uner3d.api.load_scene", None)
    with pytest.raises(FileNotFoundError, match=str(weights)):
        train_only(scene, earlier, small_config(encoder_weights=str(weights), **overrides), overwrite=True, quiet=True)
    weights.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=str(weights)):
        train_only(scene, earlier, small_config(encoder_weights=str(weights), **overrides), overwrite=True, quiet=True)
    assert contents(earlier) == before


def test_no_weights_of_the_earlier_run_stand_beside_new_settings(scene, earlier):
    """A crash in the first steps: neither --resume nor `uner3d cloud` may take what is there for a run."""
    def crash(*_):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        api.fit(load_scene(scene), run=earlier, config=small_config(), progress=crash)
    assert sorted(path.name for path in earlier.iterdir()) == ["config.json", "metrics.jsonl", "scene.json"]
    assert json.loads((earlier / "config.json").read_text())["rays"] == 32
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        api.load_fitted(earlier)
    assert main(["train", str(scene), "-o", str(earlier), "--resume"]) == 1


def test_a_cloud_beside_no_run_stays(scene, tmp_path):
    run = tmp_path / "mine"
    run.mkdir()
    (run / "cloud.ply").write_bytes(b"work of a night")
    train_only(scene, run, small_config(), quiet=True)
    assert (run / "cloud.ply").read_bytes() == b"work of a night"


def test_a_run_is_opened_with_the_photos_it_began_with_alone(scene, earlier):
    """As when a reader takes other photos for training than the version that wrote the run."""
    train_only(scene, earlier, small_config(), overwrite=True, quiet=True)
    record = json.loads((earlier / "scene.json").read_text())
    (earlier / "scene.json").write_text(json.dumps(record | {"views": [*record["views"], "one more"]}))
    with pytest.raises(ValueError, match="only in the run: one more"):
        api.load_fitted(earlier)


def test_a_new_run_replaces_the_earlier_one(scene, earlier):
    fitted = train_only(scene, earlier, small_config(prior_loss=0.2), overwrite=True, quiet=True)
    assert b"work of a night" not in contents(earlier).values()
    assert not (earlier / "surface.safetensors").exists()
    again = api.load_fitted(earlier, device="cpu")
    weights = again.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in fitted.model.state_dict().items())
    before, after = fitted.photos.seen, again.photos.seen
    assert before is not None and after is not None
    assert torch.equal(before.depth, after.depth) and torch.equal(before.K, after.K)


def test_a_cloud_of_an_earlier_run_goes_where_this_one_finds_none(scene, tmp_path, monkeypatch):
    def none(*_, **__):
        raise EmptyCloud("the views agree on nothing")

    monkeypatch.setattr(api, "write_to", none)
    monkeypatch.setattr("uner3d.report.reconstruction.write_reconstruction_report", lambda *_: None)
    (tmp_path / "cloud.ply").write_bytes(b"of another run")
    outcome = reconstruct(scene, tmp_path, small_config(extract_samples=4, refine=0), overwrite=True, quiet=True)
    assert outcome.metrics["points"] == 0 and not (tmp_path / "cloud.ply").exists()
    assert any("agree on nothing" in sentence and "cloud.ply" in sentence for sentence in outcome.warnings)


@pytest.mark.parametrize("given", ["", "transforms.json"], ids=["folder", "file"])
@pytest.mark.parametrize("command", ["train", "reconstruct"])
def test_the_folder_of_a_scene_is_no_run_folder(scene, tmp_path, monkeypatch, capsys, command, given):
    """A run writes a scene.json, and a synthetic scene has its truth in one."""
    folder = shutil.copytree(scene, tmp_path / "run")
    (folder / "scene.json").write_text("the truth")
    before = contents(folder)
    monkeypatch.setattr("uner3d.api.load_scene", None)  # refused before that
    out = folder if command == "train" else tmp_path
    assert main([command, str(folder / given), "-o", str(out), "--overwrite", "--quiet"]) == 1
    assert f"{folder}: expected a folder of the run's own" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected a folder of the run's own"):
        api.fit(load_scene(folder / given), run=folder, config=small_config())
    assert contents(folder) == before


def test_an_output_folder_that_cannot_be_written_is_found_at_once(scene, earlier, monkeypatch, capsys):
    """Although the run folder in it can. The tests may run as root, whom permissions do not bind."""
    write, out = Path.write_bytes, earlier.parent

    def read_only(path: Path, content: bytes) -> int:
        if path.parent == out:
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", read_only)
    monkeypatch.setattr("uner3d.api.load_scene", None)
    assert main(["reconstruct", str(scene), "-o", str(out), "--overwrite", "--quiet"]) == 1
    assert f"-o {out}: cannot be written (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("during", ["api.load_scene", "api.prepare", "train.fit.find_prior",
                                    "train.fit.calibrate"])  # fmt: skip
def test_ctrl_c_before_training_says_that_nothing_is_lost(scene, earlier, monkeypatch, capsys, during):
    before = contents(earlier)
    monkeypatch.setattr(f"uner3d.{during}", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("uner3d.config.PRESETS", {"base": small_config(steps=None, prior_loss=0.2).to_json()})
    assert main(["train", str(scene), "-o", str(earlier), "--overwrite", "--quiet"]) == 130
    said = capsys.readouterr().err.strip()
    assert said == "uner3d: stopped before training began: nothing was saved or replaced; the same command starts again"
    assert contents(earlier) == before
