"""COLMAP text models."""

import numpy as np
import pytest
from posed_files import BALL_RADIUS, orbit, render, save, write_colmap

from uner3d.data import SceneError, load_scene


@pytest.fixture
def folder(tmp_path):
    write_colmap(tmp_path, orbit(4))
    return tmp_path


def model(folder, name):
    return folder / "sparse" / "0" / name


def edit(folder, name, old, new):
    file = model(folder, name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_frames_are_sorted_and_names_may_hold_spaces(folder):
    assert [view.name for view in load_scene(folder).views] == [f"photo {k}.png" for k in range(4)]


@pytest.mark.parametrize(
    ("line", "K", "distortion"),
    [
        ("SIMPLE_PINHOLE 40 30 44 20 15", (44, 44, 20, 15), None),
        ("SIMPLE_RADIAL 40 30 44 20 15 0.01", (44, 44, 20, 15), (0.01, 0, 0, 0, 0, 0)),
        ("RADIAL 40 30 44 20 15 0.01 0.002", (44, 44, 20, 15), (0.01, 0.002, 0, 0, 0, 0)),
        ("OPENCV 40 30 44 45 20 15 0.01 0.002 0.003 0.004", (44, 45, 20, 15), (0.01, 0.002, 0, 0, 0.003, 0.004)),
    ],
)
def test_camera_models(folder, line, K, distortion):
    model(folder, "cameras.txt").write_text(f"1 {line}\n")
    view = load_scene(folder).views[0]
    original = view.photo_camera.K
    assert (original[0, 0], original[1, 1], original[0, 2], original[1, 2]) == K
    assert view.distortion == distortion
    assert (view.camera is view.photo_camera) or distortion or np.array_equal(view.camera.K, original)


def test_other_folders(folder):
    (folder / "sparse" / "0").rename(folder / "model")
    for file in (folder / "model").iterdir():
        file.rename(folder / file.name)
    assert len(load_scene(folder).views) == 4


@pytest.mark.parametrize("name", ["images", "image", "."])
def test_the_folder_is_the_one_that_holds_the_photos_of_the_model(folder, name):
    """Photos in folders of their own below it, and others, which the model does not name, wherever one looks first."""
    for k in range(4):
        edit(folder, "images.txt", f" photo {k}.png", f" cam{k % 2}/photo {k}.png")
    (folder / "images").rename(folder / "taken")
    for stray in {"images", "image", "."} - {name}:
        save(folder / stray / "stray.png", np.zeros((3, 4, 3), np.uint8))
    for photo in sorted((folder / "taken").iterdir()):
        place = folder / name / f"cam{int(photo.stem[-1]) % 2}"
        place.mkdir(parents=True, exist_ok=True)
        photo.rename(place / photo.name)
    scene = load_scene(folder)
    assert [view.name for view in scene.views] == [f"cam{k % 2}/photo {k}.png" for k in (0, 2, 1, 3)]
    assert all(view.image_path.is_relative_to(folder / name) for view in scene.views) and scene.warnings == []


def test_box_comes_from_sparse_points_without_the_stray_ones(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3))
    points *= BALL_RADIUS / np.linalg.norm(points, axis=1, keepdims=True)
    stray = rng.uniform(-100, 100, (8, 3))
    write_colmap(tmp_path, orbit(4), np.concatenate([points, stray]))
    scene = load_scene(tmp_path)
    assert scene.box_source == "points" and scene.sparse_points.shape == (408, 3)
    assert (scene.box[0] < -BALL_RADIUS).all() and (scene.box[1] > BALL_RADIUS).all()
    assert (np.abs(scene.box) < 1.5 * BALL_RADIUS).all()


def test_a_handful_of_points_is_no_box(tmp_path):
    write_colmap(tmp_path, orbit(4), np.eye(3) * 0.3)
    assert load_scene(tmp_path).box_source == "cameras"


def test_alpha_goes_before_sparse_points(tmp_path):
    cameras = orbit(4)
    write_colmap(tmp_path, cameras, np.random.default_rng(0).uniform(-0.2, 0.2, (100, 3)))
    for k, camera in enumerate(cameras):
        save(tmp_path / f"images/photo {k}.png", render(camera))
    assert load_scene(tmp_path).box_source == "masks"
    assert load_scene(tmp_path, masks="off").box_source == "points"


def test_binary_model_is_refused_with_the_command_that_converts_it(tmp_path):
    (tmp_path / "sparse").mkdir()
    (tmp_path / "sparse/cameras.bin").write_bytes(b"")
    with pytest.raises(SceneError, match=r"binary COLMAP model .*model_converter"):
        load_scene(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cameras.txt", "PINHOLE", "FULL_OPENCV", "line 2: camera model 'FULL_OPENCV' is not supported"),
        ("cameras.txt", "PINHOLE 40 30 44", "PINHOLE 40 30", "line 2: expected 6 numbers"),
        ("cameras.txt", "PINHOLE 40 30 44", "PINHOLE 40 30 0", "line 2: focal length fx is 0"),
        ("images.txt", " 1 photo 3", " 7 photo 3", "line 2: CAMERA_ID 7 is not in cameras.txt"),
        ("images.txt", " photo 3.png", "", "line 2: expected IMAGE_ID"),
        ("images.txt", "\n4 -0.", "\n4 -9.", "line 2: quaternion .* has length"),
    ],
)
def test_wrong_lines_are_named(folder, name, old, new, message):
    edit(folder, name, old, new)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert name in str(caught.value)


def test_wrong_points_are_named(folder):
    model(folder, "points3D.txt").write_text("1 0.5 zero 0.1 0 0 0 1\n")
    with pytest.raises(SceneError, match=r"points3D\.txt: line 1: expected POINT3D_ID"):
        load_scene(folder)


def test_no_photos_listed(folder):
    model(folder, "images.txt").write_text("# nothing\n")
    with pytest.raises(SceneError, match=r"images\.txt: expected at least one photo"):
        load_scene(folder)
