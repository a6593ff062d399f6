"""The whole product on a GPU against the CPU: same scene, same steps. Small, because gpu_check.sh gives it a minute."""

import json

import pytest

from uner3d import api
from uner3d.cloud.metrics import chamfer_metrics
from uner3d.cloud.ply import read_ply
from uner3d.data import load_scene
from uner3d.data.synthetic import generate_scene
from uner3d.held_out import evaluate_images

pytestmark = pytest.mark.gpu

STEPS = 600
NEEDED = ("PIL", "matplotlib", "rich", "safetensors", "scipy", "torchmetrics", "tyro")  # gpu_check.sh may lack some
PSNR_DB, CHAMFER = 0.3, 0.1  # how far a GPU may be from the CPU: in dB, and as a share of the CPU's distance
DEVICES = ("cpu", "cuda")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    for name in NEEDED:
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("scene") / "totem"
    return generate_scene(folder, "totem", n_train=12, n_test=3, width=80, height=60, supersampling=2, n_points=20_000)


@pytest.fixture(scope="module")
def runs(scene, tmp_path_factory):
    """A reconstruction on each device by the command line: device -> output folder."""
    from uner3d.cli import main

    folders = {}
    for device in DEVICES:
        folders[device] = tmp_path_factory.mktemp(device)
        argv = ["reconstruct", str(scene), "-o", str(folders[device]), "--steps", str(STEPS), "--preset", "quick",
                "--points", "20000", "--device", device, "--quiet"]  # fmt: skip
        assert main(argv) == 0
    return folders


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_held_out_photos_are_as_good_as_on_the_cpu(runs):
    ours, theirs = metrics(runs["cuda"]), metrics(runs["cpu"])
    assert ours["device"].startswith("cuda:") and theirs["device"] == "cpu"
    assert ours["held_out_views"] == theirs["held_out_views"] == 3
    assert ours["psnr"] > theirs["psnr"] - PSNR_DB, (ours["psnr"], theirs["psnr"])


def test_the_cloud_is_as_near_to_the_truth_as_on_the_cpu(runs, scene):
    ours, theirs = (chamfer_metrics(read_ply(runs[device] / "cloud.ply"), scene)["cd"] for device in DEVICES[::-1])
    assert ours < (1 + CHAMFER) * theirs, (ours, theirs)


@pytest.mark.parametrize(("fitted_on", "used_on"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_can_be_used_on_the_other_device(runs, scene, fitted_on, used_on):
    """The same weights on both devices render the same picture, to what sums in another order make of it."""
    views = load_scene(scene).test_views[:1]
    here, there = (
        evaluate_images(api.load_fitted(runs[fitted_on] / "run", device=device), views)[0]
        for device in (fitted_on, used_on)
    )
    assert abs(here.psnr - there.psnr) < 0.05
