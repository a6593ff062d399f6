"""Weights on a published data set, and clouds against DTU's scans, by one command."""

import json
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from toy import ball_depth, pinhole, ring, texture

from uner3d.cli import main
from uner3d.config import Config
from uner3d.data import Camera
from uner3d.model.build import Model
from uner3d.train.weights import save_weights


@pytest.fixture(scope="module")
def nmr(tmp_path_factory) -> Path:
    """One object of the NMR layout: the ball, seen 24 times."""
    root = tmp_path_factory.mktemp("NMR_Dataset")
    K, cameras, photos = pinhole(64, 64, 80.0), [], []
    for pose in ring(24):
        depth, x = ball_depth(torch.tensor(K).float(), torch.tensor(pose).float(), 64, 64)
        colour = torch.where((depth > 0)[..., None], texture(x), torch.ones(3))
        cameras.append(Camera(K, pose, 64, 64))
        photos.append((colour * 255 + 0.5).to(torch.uint8).numpy())
    published.write_nmr(root / "02691156/aa", cameras, photos, [p[..., 0] for p in photos])
    (root / "02691156/softras_test.lst").write_text("aa\n")
    (root / "src_dvr.txt").write_text("02691156 aa 5\n")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights that know nothing."""
    path = tmp_path_factory.mktemp("weights") / "none.safetensors"
    torch.manual_seed(0)
    save_weights(path, Model(Config()), Config(), 2, {})
    return path


def test_weights_are_scored_by_one_command(nmr, weights, tmp_path, capsys):
    command = ["eval", str(nmr), "--protocol", "nmr", "--weights", str(weights), "-o", str(tmp_path / "nmr.json")]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["complete"] and result["mean"]["objects"] == 1 and 3 < result["mean"]["psnr"] < 40
    written = json.loads((tmp_path / "nmr.json").read_text())
    assert written["objects"]["02691156/aa"]["sources"] == [5] and written["objects"]["02691156/aa"]["views"] == 23
    assert main(command) == 0  # nothing is left to do, and the table says so
    assert "mean" in capsys.readouterr().out


def test_results_of_other_weights_are_not_gone_on_with(nmr, weights, tmp_path, capsys):
    earlier = {"protocol": "nmr", "sources": "src_dvr.txt", "about": {"weights": "x"}, "objects": {}}
    (tmp_path / "nmr.json").write_text(json.dumps(earlier))
    command = ["eval", str(nmr), "--protocol", "nmr", "--weights", str(weights), "-o", str(tmp_path / "nmr.json")]
    assert main(command) == 1
    assert "nmr.json" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--protocol", "dtu"], "--protocol dtu: expected --gt, the folder with DTU's Points and ObsMask, got none"),
    (["--protocol", "dtu", "--gt", "."], "--protocol dtu: expected --scan, the scan's number, got none"),
    (["--protocol", "srn", "--weights", "nowhere"], "--weights nowhere: expected a .safetensors file"),
])  # fmt: skip
def test_what_is_missing_is_named(tmp_path, capsys, arguments, message):
    assert main(["eval", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_cloud_is_measured_by_dtus_rules(tmp_path, capsys):
    """A plane of scanned points, and the same 1 mm above it: accuracy and completeness are 1 mm."""
    from scipy.io import savemat

    from uner3d.cloud.ply import PlyWriter

    x, y = np.meshgrid(np.arange(0, 20, 0.5), np.arange(0, 20, 0.5))
    plane = np.stack([x.ravel(), y.ravel(), np.full(x.size, 10.0)], 1)
    (tmp_path / "Points/stl").mkdir(parents=True)
    (tmp_path / "ObsMask").mkdir()
    grey, up = np.full(plane.shape, 128, np.uint8), np.tile(np.float32([0, 0, 1]), (len(plane), 1))
    sure, three = np.ones(len(plane), np.float32), np.full(len(plane), 3, np.uint8)
    for path, shift in ((tmp_path / "Points/stl/stl007_total.ply", 0.0), (tmp_path / "cloud.ply", 1.0)):
        with PlyWriter(path) as writer:
            writer.write(plane + np.array([0, 0, shift]), up, grey, sure, three)
    savemat(tmp_path / "ObsMask/ObsMask7_10.mat", {"ObsMask": np.ones((3, 3, 3), np.uint8), "Res": 10.0,
                                                    "BB": np.array([[0.0, 0, 0], [20, 20, 20]])})  # fmt: skip
    savemat(tmp_path / "ObsMask/Plane7.mat", {"P": np.array([[0.0], [0], [1], [0]])})
    command = ["eval", str(tmp_path / "cloud.ply"), "--protocol", "dtu", "--gt", str(tmp_path), "--scan", "7", "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["acc"] == pytest.approx(1.0, abs=0.01) and result["comp"] == pytest.approx(1.0, abs=0.01)
