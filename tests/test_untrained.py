"""A cloud from weights without a fit: any number of photos in any order, and one that says how sure it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import write_ball_scene

from uner3d import api
from uner3d.cli import main
from uner3d.cloud.ply_read import read_ply
from uner3d.config import Config
from uner3d.data import SceneError, load_scene
from uner3d.model.build import Model
from uner3d.train.untrained import untrained_config
from uner3d.train.weights import save_weights


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory) -> Path:
    return write_ball_scene(tmp_path_factory.mktemp("ball") / "scene", 6, 48, 36)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, scene_path) -> Path:
    """Weights that were trained on the ball for some ten seconds."""
    run = tmp_path_factory.mktemp("weights")
    command = ["train", "--scenes", str(scene_path), "-o", str(run), "--steps", "300", "--threads", "1", "--quiet"]
    assert main(command) == 0
    return run / "weights.safetensors"


def predicted(scene_path: Path, weights: Path, out: Path, *arguments: str) -> Path:
    command = ["reconstruct", str(scene_path), "-o", str(out), "--weights", str(weights), "--steps", "0", "--quiet"]
    assert main([*command, *arguments]) == 0
    return out


def test_a_cloud_without_a_fit(scene_path, weights, tmp_path):
    out = predicted(scene_path, weights, tmp_path / "out")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["settings"]["steps"] == [0, 0] and metrics["views"] == 6
    cloud = read_ply(out / "cloud.ply")
    radii = np.linalg.norm(cloud.xyz - cloud.xyz.mean(0), axis=1)
    assert metrics["points"] == len(cloud.xyz) > 50
    assert np.median(radii) == pytest.approx(0.6, abs=0.08)
    assert (out / "report.html").is_file()
    assert main(["cloud", str(out / "run"), "-o", str(tmp_path / "again.ply"), "--points", "100"]) == 0
    assert len(read_ply(tmp_path / "again.ply").xyz) == 100


def test_one_photo_says_how_sure_it_is(scene_path, weights, tmp_path):
    out = predicted(scene_path, weights, tmp_path / "out", "--views", "2")
    cloud = read_ply(out / "cloud.ply")
    assert len(cloud.xyz) > 50
    assert (cloud.n_views == 1).all()
    assert cloud.confidence.min() >= 0 and cloud.confidence.max() <= 1
    assert np.unique(cloud.confidence).size > 10
    record = json.loads((out / "run" / "scene.json").read_text())
    assert len(record["views"]) == 1


def test_the_order_of_the_photos_does_not_matter(scene_path, weights):
    fields = []
    for chosen in ([0, 1, 3, 5], [5, 3, 0, 1]):
        scene = load_scene(scene_path, chosen=chosen)
        fitted = api.predict(scene, weights)
        maps, agreed = api.surfaces(fitted)
        order = np.argsort(chosen)
        fields.append((maps.depth[order], agreed.kept[order], fitted.grid.values))
    torch.testing.assert_close(fields[0][0], fields[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(fields[0][2], fields[1][2], atol=1e-3, rtol=1e-4)
    assert (fields[0][1] == fields[1][1]).float().mean() > 0.999


def test_a_run_opens_again_with_the_photos_it_had(scene_path, weights, tmp_path):
    """Also after `predict` on a scene with chosen photos; and going on with it costs nothing that is there."""
    api.predict(load_scene(scene_path, chosen=[4, 1]), weights, run=tmp_path / "run")
    again = api.load_fitted(tmp_path / "run")
    assert again.photos.names == [load_scene(scene_path).views[k].name for k in (4, 1)]
    out = predicted(scene_path, weights, tmp_path / "out", "--views", "0,2,4")
    before = (out / "run" / "surface.safetensors").stat().st_mtime_ns
    assert main(["reconstruct", str(scene_path), "-o", str(out), "--steps", "0", "--weights", str(weights), "--resume",
                 "--quiet"]) == 0  # fmt: skip
    assert (out / "run" / "surface.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_a_single_photo(weights, tmp_path):
    folder = write_ball_scene(tmp_path / "one", 1, 48, 36)
    box = ["--box", *"-1 -1 -1 1 1 1".split()]
    out = predicted(folder, weights, tmp_path / "out", *box)
    assert len(read_ply(out / "cloud.ply").xyz) > 50
    with pytest.raises(SceneError, match="only 1 photo can be used, expected at least 2"):
        load_scene(folder)


def test_every_photo_conditions_what_is_predicted_of_any(scene_path, weights):
    fitted = api.predict(load_scene(scene_path, chosen=[0, 2, 4]), weights)
    assert [sorted(row.tolist()) for row in fitted.world.conditioning] == [[0, 1, 2]] * 3
    assert [sorted(row.tolist()) for row in fitted.world.ranking] == [[1, 2], [0, 2], [0, 1]]


def test_a_fit_starts_from_weights(scene_path, weights, tmp_path):
    logs = []
    for name in ("none", str(weights)):
        run = tmp_path / Path(name).name
        command = ["train", str(scene_path), "-o", str(run), "--steps", "6", "--threads", "1", "--quiet", "--weights"]
        assert main([*command, name]) == 0
        logs.append(json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["colour"])
    assert logs[1] < 0.7 * logs[0]


def test_photos_are_chosen_by_number(scene_path):
    scene = load_scene(scene_path, chosen=[4, 1])
    whole = load_scene(scene_path)
    assert [view.name for view in scene.views] == [whole.views[4].name, whole.views[1].name]
    np.testing.assert_array_equal(scene.box, whole.box)


@pytest.mark.parametrize(("chosen", "message"), [
    ([0, 9], r"views: 9 is none of the 6 training photos \(0 to 5\)"),
    ([-1, 2], r"views: -1 is none of the 6"),
    ([2, 2], r"views: expected each photo once, got 2,2"),
    ([3], r"views: expected at least 2, got 1: one photo is enough only for weights without training"),
])  # fmt: skip
def test_photos_that_are_not_there_are_refused(scene_path, chosen, message):
    with pytest.raises(SceneError, match=message):
        load_scene(scene_path, chosen=chosen)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--steps", "0", "--weights", "none"], "--steps: expected at least 2 without weights, got 0"),
    (["--steps", "0", "--preset", "paper"], "--steps: expected at least 2 without weights, got 0"),
    (["--steps", "1"], "--steps: expected at least 2, or 0 with weights, got 1"),
    (["--weights", "nowhere", "--steps", "0"], "--weights nowhere: expected a .safetensors file"),
    (["--views", "1,x"], "--views: expected numbers of photos like 0,5,7, got '1,x'"),
    (["--views", "1"], "views: expected at least 2, got 1"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(scene_path, tmp_path, capsys, arguments, message):
    assert main(["reconstruct", str(scene_path), "-o", str(tmp_path / "out"), *arguments]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_weights_of_another_encoder_are_refused(scene_path, tmp_path):
    config = Config(octaves=4)
    path = tmp_path / "four.safetensors"
    save_weights(path, Model(config), config, 2, {})
    with pytest.raises(ValueError, match=r"octaves: expected weights for 9, got 4"):
        api.predict(load_scene(scene_path), path)


def test_no_steps_without_weights_is_refused(scene_path):
    with pytest.raises(ValueError, match="steps: expected at least 2, or weights that know something"):
        api.fit(load_scene(scene_path), steps=[0, 0], weights="none")


def test_unfit_weights_are_refused_before_anything_is_matched(scene_path, weights, tmp_path, capsys):
    command = ["train", str(scene_path), "-o", str(tmp_path / "run"), "--weights", str(weights), "--preset", "paper"]
    assert main(command) == 1
    assert "model: expected weights for paper, got base" in " ".join(capsys.readouterr().err.split())


def test_settings_of_a_run_without_steps():
    config = untrained_config("base", weights="default", masks=None)
    assert config.steps == [0, 0] and config.prior_loss == 0 and config.masks == "auto"
