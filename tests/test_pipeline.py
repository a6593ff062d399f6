"""From photos on disk to a cloud, a report and measures, by the command line's entry point."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from uner3d.cli import main
from uner3d.cloud.ply import read_ply
from uner3d.data.synthetic import generate_scene
from uner3d.train.tensor_file import read_tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return generate_scene(tmp_path_factory.mktemp("scene") / "totem", "totem", n_train=8, n_test=2, width=48, height=36,
                          supersampling=1, n_points=2000)  # fmt: skip


@pytest.fixture(scope="module", params=["auto", "off"])
def out(request, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    argv = ["reconstruct", str(scene), "-o", str(folder), "--steps", "40", "--masks", request.param, "--quiet"]
    assert main(argv) == 0
    return folder


def finite(values) -> bool:
    if isinstance(values, dict):
        return all(map(finite, values.values()))
    if isinstance(values, list):
        return all(map(finite, values))
    return not isinstance(values, float) or bool(np.isfinite(values))


def test_reconstruct_keeps_its_contract(out):
    run = out / "run"
    for name in ("config.json", "scene.json", "model.safetensors", "state.safetensors", "metrics.jsonl"):
        assert (run / name).is_file(), name
    page = (out / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html") and "nan" not in page.lower().split()
    metrics = json.loads((out / "metrics.json").read_text())
    keys = {"psnr", "ssim", "psnr_mask", "held_out_views", "views", "photo_size", "format", "box", "box_source",
            "warnings", "seconds", "seconds_total", "peak_memory_mb", "seed", "settings", "commit", "command",
            "points"}  # fmt: skip
    assert keys <= set(metrics) and finite(metrics)
    assert metrics["views"] == 8 and metrics["photo_size"] == [48, 36] and metrics["held_out_views"] >= 1
    assert metrics["psnr"] > 8 and sum(json.loads((run / "config.json").read_text())["steps"]) == 40
    assert {"load", "train", "surface", "cloud"} <= set(metrics["seconds"])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 40 and finite(records)
    for name in ("model.safetensors", "state.safetensors"):
        tensors, _ = read_tensors(run / name)
        assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point()), name
    if metrics["points"]:
        cloud = read_ply(out / "cloud.ply")
        assert len(cloud) == metrics["points"] and np.isfinite(cloud.xyz).all()
    else:
        assert any("no cloud was written" in sentence for sentence in metrics["warnings"])


def test_cloud_at_a_density_of_choice(out, tmp_path, capsys):
    path = tmp_path / "dense.ply"
    code = main(["cloud", str(out / "run"), "-o", str(path), "--points", "20000"])
    if json.loads((out / "metrics.json").read_text())["points"] == 0:
        assert code == 1 and "surface" in capsys.readouterr().err
        return
    assert code == 0
    cloud = read_ply(path)
    assert abs(len(cloud) - 20000) <= 200
    assert np.isfinite(cloud.xyz).all() and np.isfinite(cloud.normals).all()
    low, high = np.array(json.loads((out / "run" / "scene.json").read_text())["box"])
    margin = 0.02 * (high - low)
    assert (cloud.xyz >= low - margin).all() and (cloud.xyz <= high + margin).all()


def test_a_cloud_and_pictures_go_to_the_run_by_default(out, tmp_path, capsys):
    run = shutil.copytree(out / "run", tmp_path / "run")
    found = json.loads((out / "metrics.json").read_text())["points"] > 0
    assert main(["cloud", str(run), "--points", "500"]) == (0 if found else 1)
    assert (run / "cloud.ply").is_file() == found and (not found or len(read_ply(run / "cloud.ply")) == 500)
    assert main(["render", str(run)]) == 0
    assert len(list((run / "renders" / "test").iterdir())) == 2
    assert "render" in capsys.readouterr().err


def test_eval_prints_one_json_object(out, capsys):
    assert main(["eval", str(out / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["views"] == 2 and finite(result)
    assert 5 < result["psnr"] < 60 and -1 <= result["ssim"] <= 1 and len(result["per_view"]) == 2


def test_render_writes_photo_beside_rendering(out, tmp_path):
    assert main(["render", str(out / "run"), "-o", str(tmp_path / "views")]) == 0
    pictures = sorted((tmp_path / "views").glob("*.png"))
    assert len(pictures) == 2
    assert Image.open(pictures[0]).size == (96, 36)


def test_a_finished_run_is_not_overwritten(out, scene, capsys):
    before = (out / "run" / "model.safetensors").read_bytes()
    assert main(["reconstruct", str(scene), "-o", str(out), "--steps", "4", "--quiet"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "run" / "model.safetensors").read_bytes() == before
