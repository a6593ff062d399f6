"""A run that was stopped goes on with its own scene and settings, and says where others were given."""

import json
import shlex
import shutil
import signal

import pytest
from toy import small_config, write_ball_scene

from uner3d import api
from uner3d.cli import main
from uner3d.data import load_scene
from uner3d.reconstruct import train_only
from uner3d.train.fit import Interrupted


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_ball_scene(tmp_path_factory.mktemp("scene") / "ball")


def contents(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


def stop(*_):
    """A progress callback that presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def stopped(scene, tmp_path):
    """A run on the scene that was stopped under way."""
    with pytest.raises(Interrupted):
        api.fit(load_scene(scene), run=tmp_path / "run", config=small_config(), progress=stop)
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
        train_only(folder, stopped, small_config(), resume=True, quiet=True)
    words = [str(stopped / "scene.json"), str(scene), str(folder), *named]
    assert [word for word in words if word not in str(refused.value)] == []
    with pytest.raises(ValueError, match="scene.json"):
        api.fit(load_scene(folder), run=stopped, resume=True)
    assert contents(stopped) == before


def test_ctrl_c_after_training_prints_the_command_that_goes_on_too(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("uner3d.cli.fit_config", lambda options: small_config())
    monkeypatch.setattr(api, "surfaces", stop)
    out = tmp_path / "out"
    assert main(["reconstruct", str(scene), "-o", str(out), "--quiet"]) == 130
    said = capsys.readouterr().err
    assert "stopped after training" in said
    assert f"go on with: uner3d reconstruct {scene} -o {out} --quiet --resume" in said
    assert (out / "run" / "model.safetensors").is_file()


def test_a_scene_that_moved_goes_on(scene, stopped, tmp_path, capsys):
    moved = shutil.copytree(scene, tmp_path / "moved")
    train_only(moved, stopped, small_config(), resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "warning" in said and "other photos" in said
    assert json.loads((stopped / "scene.json").read_text())["path"] == str(moved)
    assert (stopped / "model.safetensors").is_file()


@pytest.mark.parametrize(("content", "said"), [("{", "JSON"), ("{}", "'path'"), ("[]", "'path'")])
def test_a_scene_file_that_is_no_runs_is_named(scene, stopped, content, said):
    (stopped / "scene.json").write_text(content)
    with pytest.raises(ValueError, match=rf"scene\.json: .*{said}"):
        train_only(scene, stopped, small_config(), resume=True, quiet=True)
    with pytest.raises(ValueError, match=rf"scene\.json: .*{said}"):
        api.load_run_scene(stopped, small_config())


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


@pytest.mark.slow
def test_ctrl_c_while_training_prints_the_command_that_goes_on(scene, tmp_path, monkeypatch, capsys):
    out = tmp_path / "my out"
    with monkeypatch.context() as patched:
        patched.setattr("uner3d.reconstruct.training_bar", lambda update: stop)
        options = ["--preset", "quick", "--steps", "8", "--device", "cpu", "--overwrite", "--quiet"]
        assert main(["reconstruct", str(scene), "-o", str(out), *options]) == 130
    stopped, go_on = capsys.readouterr().err.splitlines()
    assert "stopped at step 2 of 8" in stopped and not (out / "report.html").exists()
    program, *arguments = shlex.split(go_on.removeprefix("go on with: "))
    assert program == "uner3d" and "--resume" in arguments and main(arguments) == 0
    records = (out / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in records] == [2, 3, 5, 7, 8]  # the coarse stage has three
    assert (out / "report.html").is_file() and json.loads((out / "metrics.json").read_text())["views"] == 5
