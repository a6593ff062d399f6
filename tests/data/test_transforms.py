"""transforms.json: intrinsics of file and frame, suffixes, test lists, distortion, masks, missing photos."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from posed_files import on_white, opengl_pose, orbit, render, save, write_blender, write_json, write_nerfstudio

from uner3d.data import SceneError, load_scene

DISTORTION = (0.08, -0.03, 0.004, 0.0, 0.002, -0.003)


def edit(folder, change):
    """Rewrites transforms.json after change(content)."""
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    change(content)
    write_json(file, content)


@pytest.fixture
def nerfstudio(tmp_path):
    cameras = orbit(4)
    write_nerfstudio(tmp_path, cameras)
    return tmp_path, cameras


def test_path_may_be_the_json_itself(nerfstudio):
    folder, _ = nerfstudio
    assert len(load_scene(folder / "transforms.json").views) == 4


def test_intrinsics_of_a_frame_override_those_of_the_file(nerfstudio):
    folder, cameras = nerfstudio
    edit(folder, lambda c: c["frames"][2].update(fl_x=50.0, cy=14.25))
    K = [view.camera.K for view in load_scene(folder).views]
    assert K[2][0, 0] == 50 and K[2][1, 2] == 14.25 and K[2][1, 1] == pytest.approx(cameras[0].K[1, 1])
    np.testing.assert_allclose(K[1], cameras[1].K)


def test_field_of_view_and_principal_point_by_default(nerfstudio):
    folder, _ = nerfstudio

    def change(content):
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            del content[key]
        content.update(camera_angle_x=1.0, camera_angle_y=0.8)

    edit(folder, change)
    K = load_scene(folder).views[0].camera.K
    np.testing.assert_allclose(K, [[20 / math.tan(0.5), 0, 20], [0, 15 / math.tan(0.4), 15], [0, 0, 1]])


def test_three_rows_are_a_pose_too(nerfstudio):
    folder, cameras = nerfstudio
    edit(folder, lambda c: c["frames"][0].update(transform_matrix=c["frames"][0]["transform_matrix"][:3]))
    np.testing.assert_allclose(load_scene(folder).views[0].camera.cam_from_world, cameras[0].cam_from_world, atol=1e-9)


def test_listed_test_photos_are_held_out(nerfstudio):
    folder, _ = nerfstudio
    edit(folder, lambda c: c.update(test_filenames=["images/001.png"]))
    scene = load_scene(folder)
    assert [view.name for view in scene.test_views] == ["images/001.png"]
    assert [view.name for view in scene.views] == ["images/000.png", "images/002.png", "images/003.png"]


@pytest.mark.parametrize(
    ("file_path", "name"),
    [
        ("images/001.png", "./images/001.png"),
        ("./images/001.png", "images/001.png"),
        ("images/001", "images/001.png"),
        ("images/001.png", "images/001"),
        ("images/001.png", "images\\001.png"),
        ("images\\001.png", "images//001.png"),
    ],
)
def test_listed_names_mean_files_however_they_are_written(nerfstudio, file_path, name):
    folder, _ = nerfstudio
    edit(folder, lambda c: (c["frames"][1].update(file_path=file_path), c.update(test_filenames=[name])))
    scene = load_scene(folder)
    assert [view.image_path.name for view in scene.test_views] == ["001.png"]
    assert len(scene.views) == 3 and scene.warnings == []


@pytest.mark.parametrize(
    ("train", "val", "test", "views", "test_views"),
    [
        (None, [1], None, [0, 2, 3, 4], [1]),  # without a test list the photos for validation are the held-out ones
        (None, [1], [2], [0, 3, 4], [2]),
        (None, [2], [2], [0, 1, 3, 4], [2]),
        ([0, 3], None, None, [0, 3], []),
        ([0, 3], [1], [2], [0, 3], [2]),
        ([0, 1, 3], [1, 4], None, [0, 1, 3], [4]),
        ([0, 1, 2, 3], None, [2], [0, 1, 3], [2]),  # what is tested on is never trained on
        ([], [], [], [0, 1, 2, 3, 4], []),
    ],
)
def test_lists_of_names_split_the_photos(tmp_path, train, val, test, views, test_views):
    write_nerfstudio(tmp_path, orbit(5))
    lists = {"train_filenames": train, "val_filenames": val, "test_filenames": test}
    named = {k: [f"images/{i:03d}.png" for i in v] for k, v in lists.items() if v is not None}
    edit(tmp_path, lambda c: c.update(named))
    scene = load_scene(tmp_path)
    assert [view.name for view in scene.views] == [f"images/{i:03d}.png" for i in views]
    assert [view.name for view in scene.test_views] == [f"images/{i:03d}.png" for i in test_views]
    assert scene.warnings == []


def test_photos_for_validation_are_not_trained_on_with_a_holdout_either(tmp_path):
    write_nerfstudio(tmp_path, orbit(5))
    edit(tmp_path, lambda c: c.update(val_filenames=["images/001.png"]))
    scene = load_scene(tmp_path, holdout=3)
    assert [view.name for view in scene.test_views] == ["images/000.png", "images/004.png"]
    assert [view.name for view in scene.views] == ["images/002.png", "images/003.png"]


def test_listed_names_without_a_frame_are_said(nerfstudio):
    folder, _ = nerfstudio
    edit(folder, lambda c: c.update(val_filenames=["images/001.png", "images/7.png", "images/8.png"]))
    scene = load_scene(folder)
    assert len(scene.views) == 3 and len(scene.test_views) == 1
    assert scene.warnings == [
        "transforms.json: 2 of 3 names in val_filenames are of no frame: images/7.png, images/8.png"
    ]


@pytest.mark.parametrize("key", ["train_filenames", "test_filenames"])
def test_lists_that_leave_nothing_for_training_are_refused(nerfstudio, key):
    folder, _ = nerfstudio
    names = [f"{'other' if key == 'train_filenames' else 'images'}/{k:03d}.png" for k in range(4)]
    edit(folder, lambda c: c.update({key: names}))
    with pytest.raises(SceneError, match=r"transforms\.json: .*filenames leave none of the 4 frames"):
        load_scene(folder)


def test_photos_without_files_are_skipped_with_a_warning(nerfstudio):
    folder, _ = nerfstudio
    (folder / "images/002.png").unlink()
    scene = load_scene(folder)
    assert [view.name for view in scene.views] == ["images/000.png", "images/001.png", "images/003.png"]
    assert any("1 of 4 photos are missing" in text and "images/002.png" in text for text in scene.warnings)


def test_suffixes_are_found(tmp_path):
    """Names without a suffix, in either case, and with backslashes."""
    write_blender(tmp_path, orbit(3, centred=True))
    (tmp_path / "train/r_1.png").rename(tmp_path / "train/r_1.PNG")
    content = json.loads((tmp_path / "transforms_train.json").read_text())
    content["frames"][2]["file_path"] = "train\\r_2"
    write_json(tmp_path / "transforms_train.json", content)
    scene = load_scene(tmp_path)
    assert [view.image_path.name for view in scene.views] == ["r_0.png", "r_1.PNG", "r_2.png"]


def test_distortion_is_removed(tmp_path):
    """The undistorted photo is what its pinhole would have taken."""
    cameras = orbit(3, width=80, height=60, focal=70.0)
    write_nerfstudio(tmp_path, cameras, DISTORTION)
    for view, camera in zip(load_scene(tmp_path).views, cameras, strict=True):
        assert view.distortion == DISTORTION
        assert (view.camera.width, view.camera.height) == (80, 60)
        assert np.abs(view.camera.K - camera.K).max() > 0.5
        inside = render(view.camera)[..., 3] == 255
        expected, distorted = on_white(render(view.camera)), on_white(render(camera, DISTORTION))
        error = np.abs(view.image().astype(int) - expected)[inside]
        assert error.mean() < 1 and np.abs(distorted.astype(int) - expected)[inside].mean() > 2


def test_mask_files_are_used_and_off_ignores_them(nerfstudio):
    folder, cameras = nerfstudio
    for k, camera in enumerate(cameras):
        save(folder / f"masks/{k:03d}.png", render(camera)[..., 3])
    edit(folder, lambda c: [f.update(mask_path=f"masks/{k:03d}.png") for k, f in enumerate(c["frames"])])
    scene = load_scene(folder)
    assert scene.has_masks and scene.box_source == "masks"
    np.testing.assert_array_equal(scene.views[1].mask(), render(cameras[1])[..., 3])
    assert not load_scene(folder, masks="off").has_masks


def test_masks_of_some_photos_only_are_not_used(nerfstudio):
    folder, cameras = nerfstudio
    save(folder / "mask.png", render(cameras[0])[..., 3])
    edit(folder, lambda c: c["frames"][0].update(mask_path="mask.png"))
    scene = load_scene(folder)
    assert not scene.has_masks and scene.views[0].mask() is None
    assert any("only 1 of 4 photos have a mask" in text for text in scene.warnings)


def test_opaque_alpha_is_no_mask(tmp_path):
    cameras = orbit(3)
    write_nerfstudio(tmp_path, cameras)
    for k, camera in enumerate(cameras):
        opaque = np.dstack([on_white(render(camera)), np.full((30, 40), 255, np.uint8)])
        save(tmp_path / f"images/{k:03d}.png", opaque)
    scene = load_scene(tmp_path)
    assert not scene.has_masks and scene.background is None


def test_photos_of_another_size_and_the_same_shape_scale_k(nerfstudio):
    folder, cameras = nerfstudio
    with Image.open(folder / "images/001.png") as photo:
        photo.resize((20, 15)).save(folder / "images/001.png")
    scene = load_scene(folder)
    np.testing.assert_allclose(scene.views[1].camera.K[:2], cameras[1].K[:2] / 2)
    assert any("differ in size" in text for text in scene.warnings)


def test_photos_of_another_shape_are_refused(nerfstudio):
    folder, _ = nerfstudio
    with Image.open(folder / "images/001.png") as photo:
        photo.resize((20, 25)).save(folder / "images/001.png")
    with pytest.raises(SceneError, match=r"001\.png: the photo is 20x25, but .* states 40x30"):
        load_scene(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(camera_model="OPENCV_FISHEYE"), "camera_model OPENCV_FISHEYE is not supported"),
        (lambda c: c.update(is_fisheye=True), "camera_model fisheye is not supported"),
        (lambda c: c["frames"][1].pop("transform_matrix"), r"frames\[1\] .*'transform_matrix' is missing"),
        (lambda c: c["frames"][1].pop("file_path"), r"frames\[1\]: expected an object with a string 'file_path'"),
        (lambda c: c["frames"][0]["transform_matrix"].pop(0), r"frames\[0\] .*transform_matrix"),
        (lambda c: c["frames"][0]["transform_matrix"][3].__setitem__(3, 2), r"last row of transform_matrix"),
        (lambda c: c.pop("fl_x"), "expected 'fl_x' or 'camera_angle_x'"),
        (lambda c: (c.pop("fl_x"), c.update(camera_angle_x=4.0)), "camera_angle_x is 4, expected radians"),
        (lambda c: c.update(fl_x="wide"), "fl_x must be .* got wide"),
        (lambda c: c.update(k1="much"), "distortion"),
        (lambda c: c.update(k1=-3.0), "folds over"),
        (lambda c: c.update(frames=[]), "non-empty list 'frames'"),
        (lambda c: c.update(frames={}), "non-empty list 'frames'"),
        (lambda c: c.update(test_filenames=5), "test_filenames is 5, expected a list of file names"),
        (lambda c: c.update(train_filenames={"a": 1}), "train_filenames is {'a': 1}, expected a list of file names"),
        (lambda c: c.update(val_filenames=["images/001.png", 7]), r"val_filenames\[1\] is 7, expected a file name"),
        (lambda c: c["frames"].__setitem__(1, 7), r"frames\[1\]: expected an object"),
    ],
)
def test_wrong_fields_are_named(nerfstudio, change, message):
    folder, _ = nerfstudio
    edit(folder, change)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "transforms.json" in str(caught.value)


def test_poses_of_frames_agree_with_opengl_axes():
    """A camera at +z that looks down -z has the identity as its OpenGL rotation."""
    pose = np.array(opengl_pose(orbit(1)[0]))
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    center = pose[:3, 3]
    assert (-pose[:3, 2]) @ (-center) > 0.99 * np.linalg.norm(center)
