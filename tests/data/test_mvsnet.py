"""MVSNet: *_cam.txt, and its DTU training set."""

import numpy as np
import published
import pytest
from posed_files import BALL_RADIUS, on_white, orbit, render, save, write_colmap, write_mvsnet

from uner3d.data import SceneError, load_scene


@pytest.fixture
def folder(tmp_path):
    write_mvsnet(tmp_path, orbit(4))
    return tmp_path


def test_a_ball_drawn_by_the_layouts_own_rays_is_where_the_camera_projects_it(tmp_path):
    """Drawn from the definition alone: pixel (i, j) lies at (j + 0.5, i + 0.5) and shows intrinsic @ extrinsic @ x."""
    K, ball, radius = np.array([[70.0, 0, 33], [0, 75, 22], [0, 0, 1]]), np.array([4.0, -3.0, 610.0]), 40.0
    target = np.array([24.0, -13.0, 610.0])
    (tmp_path / "cams").mkdir()
    for k, center in enumerate(np.array([[0.0, 0, 0], [150, 0, 20], [-100, 120, -30]])):
        forward = (target - center) / np.linalg.norm(target - center)
        down = np.cross(forward, [1, 0, 0]) / np.linalg.norm(np.cross(forward, [1, 0, 0]))
        R = np.stack([np.cross(down, forward), down, forward])
        extrinsic = np.vstack([np.column_stack([R, -R @ center]), [0, 0, 0, 1]])
        text = f"extrinsic\n{extrinsic}\n\nintrinsic\n{K}\n\n425.0 2.5\n".replace("[", "").replace("]", "")
        (tmp_path / f"cams/{k:08d}_cam.txt").write_text(text)
        x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5)
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T @ R
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        hit = np.linalg.norm(np.cross(rays, ball - center), axis=-1)[..., None] < radius
        save(tmp_path / f"images/{k:08d}.jpg", np.where(hit, 0, 255).repeat(3, 2).astype(np.uint8))
    scene = load_scene(tmp_path)
    assert scene.format == "MVSNet *_cam.txt" and scene.warnings == []
    published.assert_ball_is_seen(scene, ball, radius)
    # 425 to 425 + 2.5 * 1.06 * 191 = 931, MVSNet's range for DTU.
    assert scene.box[0][2] > 300 and scene.box[1][2] < 1000


def test_the_training_set_of_dtu(tmp_path):
    """Intrinsics of a quarter of the size, photos that number from 1 and come in several lights."""
    cameras = orbit(5)
    photos = [on_white(render(camera)) for camera in cameras]
    folder = published.write_mvsnet_training(tmp_path, "scan8", cameras, photos)
    scene = load_scene(folder)
    assert scene.warnings == [] and scene.views[0].name == "rect_001_3_r5000.png"
    for view, camera, photo in zip(scene.views, cameras, photos, strict=True):
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-9)
        np.testing.assert_allclose(view.camera.cam_from_world, camera.cam_from_world, atol=1e-9)
        np.testing.assert_array_equal(view.image(), photo)
    save(folder / "rect_007_3_r5000.png", photos[0])
    with pytest.raises(SceneError, match=r"rect_007_3_r5000.png: expected its camera .*00000006_cam.txt, found none"):
        load_scene(folder)


def test_full_size_scans_take_the_cameras_as_they_are(tmp_path):
    cameras = orbit(4)
    photos = [on_white(render(camera)) for camera in cameras]
    for k, (camera, photo) in enumerate(zip(cameras, photos, strict=True)):
        save(tmp_path / f"Rectified/scan8/rect_{k + 1:03d}_5_r5000.png", photo)
        (tmp_path / "Cameras").mkdir(exist_ok=True)
        (tmp_path / f"Cameras/{k:08d}_cam.txt").write_text(published.camera_file(camera))
    for view, camera in zip(load_scene(tmp_path / "Rectified/scan8").views, cameras, strict=True):
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-9)


@pytest.mark.parametrize("depths", ["2.2 0.01", "2.2 0.01 161", "2.2 0.01 161 3.8"])
def test_the_box_comes_from_the_depths(folder, depths):
    for camera, file in zip(orbit(4), sorted((folder / "cams").iterdir()), strict=True):
        file.write_text(published.camera_file(camera, depths))
    box = load_scene(folder).box
    assert (box[0] < -BALL_RADIUS).all() and (box[1] > BALL_RADIUS).all() and np.abs(box).max() < 3


@pytest.mark.parametrize("depths", ["", "0 0"])
def test_depths_may_be_absent(folder, depths):
    for camera, file in zip(orbit(4), sorted((folder / "cams").iterdir()), strict=True):
        file.write_text(published.camera_file(camera, depths))
    assert load_scene(folder).box_source == "cameras"


def test_a_colmap_model_beside_it_is_preferred(folder):
    write_colmap(folder, orbit(4))
    scene = load_scene(folder)
    assert scene.format == "COLMAP text" and "also holds MVSNet *_cam.txt" in scene.warnings[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("intrinsic", "K"), r"expected `extrinsic` and 16 numbers"),
        (lambda text: "", r"found 0 words"),
        (lambda text: text.replace("0 0 0 1\n", "0 0 0 2\n"), r"last row of extrinsic is .*2.0\]"),
        (lambda text: text.replace("\n0 0 1\n", "\n0 0 2\n"), r"last row of intrinsic is .*2.0\]"),
        (lambda text: text.replace("extrinsic\n-0.9", "extrinsic\n-1.9"), r"extrinsic\[:3, :3\] is not a rotation"),
        (lambda text: text.replace("intrinsic\n44", "intrinsic\n-44"), r"focal length fx is -44"),
        (lambda text: text.replace("2.2 0.01", "nan 0.01"), r"depths\[0\] is nan"),
        (lambda text: text.replace("3.8", "1.8"), r"depths reach from 2.2 to 1.8"),
        (lambda text: text + " 5", r"expected depth_min interval .*found '2.2 0.01 161 3.8 5'"),
        (lambda text: text.replace("3.8", "far"), r"depths: could not convert .*'far'"),
    ],
)
def test_what_is_wrong_is_named(folder, change, message):
    file = folder / "cams/00000001_cam.txt"
    file.write_text(change(file.read_text()))
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "00000001_cam.txt" in str(caught.value)


def test_no_photos_and_no_numbers(folder):
    for photo in (folder / "images").iterdir():
        photo.unlink()
    with pytest.raises(SceneError, match=r"cams/ is there, but no photos in images/"):
        load_scene(folder)
    for file in (folder / "cams").iterdir():
        file.rename(file.with_name(f"x{file.name}"))
    with pytest.raises(SceneError, match=r"cams: expected camera files named by a number"):
        load_scene(folder)
