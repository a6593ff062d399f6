"""What a run folder keeps: an earlier run until a new one trains, and its own scene and settings when it goes on."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from toy import write_ball_scene

from uner3d import api
from uner3d.cli import main
from uner3d.cloud.generate import EmptyCloud
from uner3d.config import Config
from uner3d.data import load_scene
from uner3d.reconstruct import reconstruct, train_only
from uner3d.train import fit as fit_module
from uner3d.train.fit import Interrupted

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


def stop(*_):
    """A progress callback that presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def stopped(scene, tmp_path):
    """A run on the scene that was stopped under way."""
    with pytest.raises(Interrupted):
        api.fit(load_scene(scene), run=tmp_path / "run", config=small(), progress=stop)
    return tmp_path / "run"


def fewer(folder):
    """The scene without its last photo."""
    write_ball_scene(folder)
    (folder / "004.png").unlink()


def smaller(folder):
    """A scene whose photos have the same names."""
    write_ball_scene(folder, radius=0.4)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda folder: write_ball_scene(folder, n_views=6), ["expected 5 views", "got 6", "not in the run: 005.png"]),
        (fewer, ["expected 5 views", "got 4", "only in the run: 004.png"]),
        (smaller, ["box: expected [[-"]),
    ],
)
def test_another_scene_is_no_scene_to_go_on_with(scene, stopped, tmp_path, other, named):
    folder, before = tmp_path / "other", contents(stopped)
    other(folder)
    with pytest.raises(ValueError) as refused:
        train_only(folder, stopped, small(), resume=True, quiet=True)
    words = [str(stopped / "scene.json"), str(scene), str(folder), *named]
    assert [word for word in words if word not in str(refused.value)] == []
    with pytest.raises(ValueError, match="scene.json"):
        api.fit(load_scene(folder), run=stopped, resume=True)
    assert contents(stopped) == before


def test_a_scene_that_moved_goes_on(scene, stopped, tmp_path, capsys):
    moved = shutil.copytree(scene, tmp_path / "moved")
    train_only(moved, stopped, small(), resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "warning" in said and "other photos" in said
    assert json.loads((stopped / "scene.json").read_text())["path"] == str(moved)
    assert (stopped / "model.safetensors").is_file()


@pytest.mark.parametrize(("content", "said"), [("{", "JSON"), ("{}", "'path'"), ("[]", "'path'")])
def test_a_scene_file_that_is_no_runs_is_named(scene, stopped, content, said):
    (stopped / "scene.json").write_text(content)
    with pytest.raises(ValueError, match=rf"scene\.json: .*{said}"):
        train_only(scene, stopped, small(), resume=True, quiet=True)
    with pytest.raises(ValueError, match=rf"scene\.json: .*{said}"):
        api.load_run_scene(stopped, small())


def said_on_resuming(run, scene, options: list[str], monkeypatch, capsys) -> str:
    """What the command line says before it would train."""
    monkeypatch.setattr(api, "fit", lambda *_, **__: None)
    assert main(["train", str(scene), "-o", str(run), "--resume", *options]) == 0
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--minutes", "20"], ["minutes = 20.0 (the run has 5.0)"]),
        (["--steps", "90", "--seed", "3"], ["seed = 3 (the run has 0)", "steps = [", "(the run has [2, 2])"]),
        (["--preset", "quick"], ["preset = 'quick' (the run has 'base')"]),
        (["--preset", "high", "--minutes", "7"], ["preset = 'high'", "minutes = 7.0 (the run has 5.0)"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_settings_that_a_resumed_run_does_not_take_are_named(scene, stopped, options, named, monkeypatch, capsys):
    said = said_on_resuming(stopped, scene, options, monkeypatch, capsys)
    assert "warning: --resume" in said and [words for words in named if words not in said] == []
    assert "rays" not in said  # of the preset alone


@pytest.mark.parametrize("options", [[], ["--device", "cpu"], ["--minutes", "5"]], ids=" ".join)
def test_resuming_with_the_settings_of_the_run_warns_of_nothing(scene, stopped, options, monkeypatch, capsys):
    assert "warning" not in said_on_resuming(stopped, scene, options, monkeypatch, capsys)


def test_a_cloud_of_an_earlier_run_goes_where_this_one_finds_none(scene, tmp_path, monkeypatch):
    def none(*_, **__):
        raise EmptyCloud("the views agree on nothing")

    monkeypatch.setattr(api, "write_to", none)
    monkeypatch.setattr("uner3d.report.reconstruction.write_reconstruction_report", lambda *_: None)
    (tmp_path / "cloud.ply").write_bytes(b"of another run")
    outcome = reconstruct(scene, tmp_path, small(extract_samples=4, refine=0), overwrite=True, quiet=True)
    assert outcome.metrics["points"] == 0 and not (tmp_path / "cloud.ply").exists()
    assert any("agree on nothing" in sentence and "cloud.ply" in sentence for sentence in outcome.warnings)


@pytest.mark.parametrize("given", ["", "transforms.json"], ids=["folder", "file"])
@pytest.mark.parametrize("command", ["train", "reconstruct"])
def test_the_folder_of_a_scene_is_no_run_folder(scene, tmp_path, monkeypatch, capsys, command, given):
    """A run writes a scene.json, and a synthetic scene has its truth in one."""
    folder = shutil.copytree(scene, tmp_path / "run")
    (folder / "scene.json").write_text("the truth")
    before = contents(folder)
    monkeypatch.setattr("uner3d.reconstruct.load_scene", None)  # refused before that
    out = folder if command == "train" else tmp_path
    assert main([command, str(folder / given), "-o", str(out), "--overwrite", "--quiet"]) == 1
    assert f"{folder}: expected a folder of the run's own" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected a folder of the run's own"):
        api.fit(load_scene(folder / given), run=folder, config=small())
    assert contents(folder) == before


def test_an_output_folder_that_cannot_be_written_is_found_at_once(scene, earlier, monkeypatch, capsys):
    """Although the run folder in it can. The tests may run as root, whom permissions do not bind."""
    write, out = Path.write_bytes, earlier.parent

    def read_only(path: Path, content: bytes) -> int:
        if path.parent == out:
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", read_only)
    monkeypatch.setattr("uner3d.reconstruct.load_scene", None)
    assert main(["reconstruct", str(scene), "-o", str(out), "--overwrite", "--quiet"]) == 1
    assert f"-o {out}: cannot be written (Permission denied)" in capsys.readouterr().err
