"""Training across scenes: it learns, stops, goes on to the same bytes, and in several processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import write_ball_scene

from uner3d.across import is_scene
from uner3d.cli import main
from uner3d.data import load_scene
from uner3d.train.across import Across, AcrossConfig, calibrated_steps, load_across_config, rate_factor
from uner3d.train.scene_stream import SceneStream, find_scenes, training_scene
from uner3d.train.tensor_file import read_tensors
from uner3d.train.weights import read_weights

SMALL = ("--seed", "3", "--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Three scenes of a ball of different sizes."""
    root = tmp_path_factory.mktemp("many")
    for number, radius in enumerate((0.5, 0.6, 0.7)):
        write_ball_scene(root / f"{number:05d}", 4, 32, 24, radius)
    return root


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [sum(value for name, value in line.items() if name not in ("step", "mse")) for line in lines]


def weights_of(run: Path) -> str:
    return str(run / "weights.safetensors")


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    return read_weights(run / "weights.safetensors")[0]


@pytest.fixture(scope="module")
def trained(many, tmp_path_factory) -> Path:
    """A run long enough to leave the fog."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--scenes", str(many), "-o", str(run), "--steps", "140", *SMALL]) == 0
    return run


def loss_of(many: Path, config: AcrossConfig) -> float:
    """Mean loss over the same eight tasks."""
    stream = SceneStream(find_scenes([many], is_scene), lambda path: training_scene(load_scene(path)), 0)
    state = Across.create(config, torch.device("cpu"))
    with torch.no_grad():
        return float(torch.stack([state.predict(state.task(stream, turn))[:-1].sum() for turn in range(8)]).mean())


def test_it_learns_and_says_what_it_was_made_of(many, trained):
    assert len(losses(trained)) == 7
    config = AcrossConfig(seed=3)
    before, after = (loss_of(many, replace(config, weights=weights)) for weights in (None, weights_of(trained)))
    assert after < 0.95 * before
    recipe = json.loads(read_weights(trained / "weights.safetensors")[1]["recipe"])
    assert (recipe["seed"], recipe["scenes"], recipe["trained_steps"], recipe["processes"]) == (3, 3, 140, 1)


def test_it_goes_on_to_the_same_bytes(many, tmp_path):
    """Stopped by Ctrl-C, a run that is resumed ends where one that was not stopped does."""
    command = ["train", "--scenes", str(many), "--steps", "80", *SMALL]
    main([*command, "-o", str(tmp_path / "whole")])
    stopped = tmp_path / "stopped"
    process = subprocess.Popen([sys.executable, "-m", "uner3d", *command, "-o", str(stopped)], stderr=subprocess.PIPE,
                               text=True, cwd=tmp_path)  # fmt: skip
    while process.poll() is None and not ((log := stopped / "metrics.jsonl").is_file() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "--resume" in message
    assert re.search(r"stopped at step (20|40|60) of 80", message)
    assert main([*command, "-o", str(stopped), "--resume"]) == 0
    ours, theirs = tensors_of(stopped), tensors_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert losses(stopped) == losses(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_share_the_scenes_and_the_gradients(many, tmp_path):
    """Two steps of two processes are those of one that takes the mean of both turns' gradients."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "uner3d",
               "train", "--scenes", str(many), "-o", str(run), "--steps", "2", *SMALL]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
                          cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "weights.safetensors")
    config = load_across_config(run)
    assert config.processes == 2
    stream = SceneStream(find_scenes([many], is_scene), lambda path: training_scene(load_scene(path)), config.seed)
    alone = Across.create(replace(config, processes=1), torch.device("cpu"))
    for step in range(2):
        alone.optimizer.zero_grad()
        alone.optimizer.param_groups[0]["lr"] = config.learning_rate * rate_factor(step, 2)
        for turn in (2 * step, 2 * step + 1):
            (alone.predict(alone.task(stream, turn))[:-1].sum() / 2).backward()
        torch.nn.utils.clip_grad_norm_(alone.model.parameters(), 1.0)
        alone.optimizer.step()
    found = read_tensors(run / "state.safetensors")[0]
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(found[f"model.{name}"], value, atol=1e-5, rtol=1e-3)


def test_a_start_from_weights(many, trained, tmp_path, capsys):
    run = tmp_path / "again"
    command = ["train", "--scenes", str(many), *SMALL, "-o", str(run), "--steps", "20", "--weights"]
    assert main([*command, weights_of(trained)]) == 0
    assert capsys.readouterr().out.strip() == weights_of(run)
    recipe = json.loads(read_weights(Path(weights_of(run)))[1]["recipe"])
    assert recipe["weights"] == "weights.safetensors"  # and not where that lay
    assert loss_of(many, AcrossConfig(seed=3, weights=weights_of(run))) < 0.95 * loss_of(many, AcrossConfig(seed=3))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--steps", "1"], "--steps: expected at least 2, got 1"),
    (["--minutes", "0"], "--minutes: expected a positive number, got 0.0"),
    (["--holdout", "3"], "--holdout 3: means nothing with --scenes"),
    (["--weights", "nowhere"], "--weights nowhere: expected a .safetensors file"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(many, tmp_path, capsys, arguments, message):
    assert main(["train", "--scenes", str(many), "-o", str(tmp_path / "run"), *SMALL, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_scene_and_scenes_are_not_both_meant(many, tmp_path, capsys):
    assert main(["train", str(many / "00000"), "--scenes", str(many), "-o", str(tmp_path / "run")]) == 1
    assert "expected a scene or --scenes, got both" in capsys.readouterr().err
    assert main(["train", "-o", str(tmp_path / "run")]) == 1
    assert "expected a scene or --scenes, got neither" in capsys.readouterr().err


def test_other_scenes_are_no_way_to_go_on(many, tmp_path, capsys):
    command = ["train", "-o", str(tmp_path / "run"), *SMALL, "--steps", "20", "--scenes"]
    main([*command, str(many)])
    assert main([*command, str(many / "00000"), "--resume"]) == 1
    assert "has 3 scenes in 1 processes, got 1 in 1" in capsys.readouterr().err
    assert main([*command, str(many)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_the_rate_rises_then_falls():
    rates = [rate_factor(step, 2000) for step in range(2000)]
    assert rates[0] < 0.01 and max(rates) > 0.97 and rates[-1] == pytest.approx(0.05, abs=1e-3)
    assert rates[:200] == sorted(rates[:200]) and rates[200:] == sorted(rates[200:], reverse=True)


def test_what_an_earlier_run_left_goes_when_another_begins(many, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("state", "model", "weights", "surface"):
        (run / f"{name}.safetensors").write_bytes(b"old")
    command = ["train", "--scenes", str(many), "-o", str(run), *SMALL, "--steps", "2", "--overwrite"]
    assert main(command) == 0
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "metrics.jsonl", "state.safetensors",
                                                           "weights.safetensors"]  # fmt: skip


def test_a_scene_that_cannot_be_used_is_named_and_costs_no_step(many, tmp_path, capsys):
    scenes, run = tmp_path / "scenes", tmp_path / "run"
    for number in range(3):
        shutil.copytree(many / f"{number:05d}", scenes / f"{number:05d}")
    (scenes / "00001" / "002.png").write_bytes(b"broken")
    assert main(["train", "--scenes", str(scenes), "-o", str(run), *SMALL, "--steps", "20"]) == 1
    assert "00001/002.png" in capsys.readouterr().err
    order = np.random.default_rng([3, 0]).permutation(3).tolist()  # of the first round
    assert (run / "state.safetensors").is_file() == (order.index(1) > 0)


def test_minutes_become_steps(many):
    stream = SceneStream(find_scenes([many], is_scene), lambda path: training_scene(load_scene(path)), 0)
    config = AcrossConfig(rays=32, samples=4, grid=4, minutes=0.05)
    few = calibrated_steps(stream, config, torch.device("cpu"))
    many_more = calibrated_steps(stream, replace(config, minutes=5.0), torch.device("cpu"))
    assert few >= 2 and many_more > 20 * few
