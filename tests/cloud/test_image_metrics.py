"""The cloud drawn into held-out photos: known answers, and agreement with the independent scorer of the shared data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uner3d.cloud.image_metrics import cloud_image_metrics, draw_points
from uner3d.cloud.ply import Cloud, write_ply
from uner3d.data.scene import Camera, Scene, View

DATA = Path(os.environ.get("UNER3D_DATA", Path(__file__).parents[3] / "shared" / "data"))
SCORER = DATA.parent / "tools" / "cloud_psnr.py"
SIZE, FOCAL, DEPTH = 16, 32.0, 2.0
PX = DEPTH / FOCAL


def front_view(folder: Path, photo: np.ndarray) -> View:
    """A camera at the origin that looks along z; the photo (h, w, 3 or 4) as a file."""
    path = folder / "photo.png"
    Image.fromarray(photo).save(path)
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    camera = Camera(K, np.eye(4)[:3], SIZE, SIZE)
    return View("photo", camera, path, photo_camera=camera, use_mask=photo.shape[2] == 4)


def scene_of(folder: Path, view: View) -> Scene:
    return Scene(folder, "made up", [], [view], np.array([[-1.0] * 3, [3.0] * 3]), "given")


def wall(depth: float = DEPTH, grey: int = 100) -> Cloud:
    """One point in the middle of every pixel, at a depth."""
    at = (np.arange(SIZE) + 0.5 - SIZE / 2) / FOCAL * depth
    x, y = np.meshgrid(at, at)
    xyz = np.stack([x, y, np.full_like(x, depth)], -1).reshape(-1, 3)
    return Cloud(xyz, rgb=np.full((SIZE**2, 3), grey, np.uint8))


def joined(*clouds: Cloud) -> Cloud:
    return Cloud(np.concatenate([c.xyz for c in clouds]), rgb=np.concatenate([c.rgb for c in clouds]))


def test_a_grey_wall_before_a_grey_photo(tmp_path):
    view = front_view(tmp_path, np.full((SIZE, SIZE, 3), 120, np.uint8))
    result = cloud_image_metrics(wall(grey=100), scene_of(tmp_path, view))
    assert result == {"psnr": pytest.approx(20 * np.log10(255 / 20)), "cover": 1.0, "views": 1, "mask": "none"}


def test_points_near_the_first_are_averaged_and_those_behind_are_hidden(tmp_path):
    view = front_view(tmp_path, np.zeros((SIZE, SIZE, 3), np.uint8))
    cloud = joined(wall(DEPTH, 100), wall(DEPTH + 1.4 * PX, 200), wall(DEPTH + 1.6 * PX, 0))
    picture, filled = draw_points(cloud.xyz, cloud.rgb, view, PX)
    assert filled.all() and picture == pytest.approx(np.full((SIZE, SIZE, 3), 150 / 255))


def test_gaps_borrow_from_two_pixels_away_and_show_no_far_side(tmp_path):
    view = front_view(tmp_path, np.zeros((SIZE, SIZE, 3), np.uint8))
    left = wall(DEPTH, 100).rgb.reshape(SIZE, SIZE, 3)[:, :4].reshape(-1, 3)
    xyz = wall(DEPTH).xyz.reshape(SIZE, SIZE, 3)[:, :4].reshape(-1, 3)
    picture, filled = draw_points(xyz, left, view, PX)
    assert filled[:, :6].all() and not filled[:, 6:].any() and not picture[:, 6:].any()
    far = wall(DEPTH + 20 * PX, 250)
    picture, _ = draw_points(np.concatenate([xyz, far.xyz]), np.concatenate([left, far.rgb]), view, PX)
    # Columns 4 and 5 of the far wall are within two pixels of the near one: emptied, they take what is nearest.
    assert picture[0, 4] == pytest.approx(100 / 255) and picture[0, 5] == pytest.approx(250 / 255)


def test_only_the_mask_counts_and_its_colours_are_straight(tmp_path):
    photo = np.full((SIZE, SIZE, 4), 100, np.uint8)
    photo[..., 3] = 0
    photo[4:8, 4:8, 3], photo[4:8, 8, 3] = 255, 200  # a rim that is partly covered
    photo[0, 0, :3] = 255
    result = cloud_image_metrics(wall(grey=100), scene_of(tmp_path, front_view(tmp_path, photo)))
    assert result["mask"] == "photo" and result["psnr"] > 50 and result["cover"] == 1.0


def test_bad_input_is_named(tmp_path):
    view = front_view(tmp_path, np.zeros((SIZE, SIZE, 3), np.uint8))
    scene = scene_of(tmp_path, view)
    with pytest.raises(ValueError, match="cloud: expected coloured points, got 256 points, colours: False"):
        cloud_image_metrics(Cloud(wall().xyz), scene)
    with pytest.raises(ValueError, match="none of its points falls"):
        cloud_image_metrics(wall(-DEPTH), scene)
    with pytest.raises(ValueError, match="footprint: expected a positive length"):
        cloud_image_metrics(wall(), scene, footprint=0.0)
    with pytest.raises(ValueError, match="no held-out views"):
        cloud_image_metrics(wall(), Scene(tmp_path, "made up", [view], [], scene.box, "given"))


@pytest.mark.parametrize("name", ["spot", "cracker_table"])
def test_agrees_with_the_independent_scorer(name, tmp_path):
    pytest.importorskip("open3d", exc_type=ImportError)
    folder = DATA / "synthetic" / name
    if not (folder.is_dir() and SCORER.is_file()):
        pytest.skip(f"no {folder} or {SCORER}: set UNER3D_DATA")
    from uner3d.cloud.ply import read_ply
    from uner3d.evaluate import evaluate

    truth = read_ply(folder / "gt_points.ply")
    keep = np.random.default_rng(0).random(len(truth)) < 0.1
    path = tmp_path / "cloud.ply"
    write_ply(path, Cloud(truth.xyz[keep], rgb=truth.rgb[keep]))
    run = subprocess.run([sys.executable, SCORER, path, folder, "--json"], capture_output=True, text=True, check=True)
    want, got = json.loads(run.stdout), evaluate(path, folder, "cloud-images")
    assert got["psnr"] == pytest.approx(want["psnr"], abs=0.01)
    assert got["cover"] == pytest.approx(want["cover"], abs=1e-3) and got["views"] == want["views"]
