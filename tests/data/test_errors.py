"""What is refused, and that the message names the file, the field, the value and what was expected."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from posed_files import WRITERS, opengl_pose, orbit, save, write, write_blender, write_idr, write_json, write_nerfstudio

from uner3d.data import SceneError, load_scene


def refuse(folder, *parts: str, **options) -> str:
    """load_scene must raise a SceneError whose message holds all the parts."""
    with pytest.raises(SceneError) as caught:
        load_scene(folder, **options)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


def edit(folder, change):
    """Rewrites transforms.json after change(frames)."""
    content = json.loads((folder / "transforms.json").read_text())
    change(content["frames"])
    (folder / "transforms.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the scene in each format."""
    root = tmp_path_factory.mktemp("scenes")
    for name in WRITERS:
        (root / name).mkdir()
        write(name, root / name, 4)
    return root


@pytest.fixture
def scene_of(written, tmp_path):
    """A copy of the scene in a format."""
    return lambda name: shutil.copytree(written / name, tmp_path / name)


@pytest.fixture
def folder(scene_of):
    return scene_of("nerfstudio")


def a_photo(folder):
    return sorted(p for p in folder.rglob("*.png") if "mask" not in p.parts and "test" not in p.parts)[1]


def test_no_such_folder(tmp_path):
    refuse(tmp_path / "nowhere", "nowhere", "no such file or folder")


def test_empty_folder(tmp_path):
    text = refuse(tmp_path, str(tmp_path), "no scene found", "Found an empty folder")
    for looked_for in ("transforms", "cameras_sphere.npz", "_par.txt", ".camera", "cameras.txt"):
        assert looked_for in text


def test_photos_without_poses(tmp_path):
    save(tmp_path / "images/a.png", np.zeros((3, 4, 3), np.uint8))
    text = refuse(tmp_path, "Found 1 photos", "images/", "structure-from-motion program such as COLMAP", "as text")
    assert "uner3d" not in text.replace(str(tmp_path), "")


def test_a_file_that_is_no_scene(tmp_path):
    (tmp_path / "cloud.ply").write_text("ply\n")
    refuse(tmp_path / "cloud.ply", "cloud.ply", "expected a folder or a transforms json")


@pytest.mark.parametrize("name", ["blender", "nerfstudio", "middlebury", "strecha", "colmap"])
def test_all_photos_absent(scene_of, name):
    folder = scene_of(name)
    for photo in folder.rglob("*.png"):
        photo.unlink()
    refuse(folder, "none of its 4 photos exists", ".png" if name != "blender" else "r_0")


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_truncated_photo(scene_of, name):
    photo = a_photo(scene_of(name))
    content = photo.read_bytes()
    photo.write_bytes(content[: len(content) // 2])
    refuse(photo.parents[0 if name == "middlebury" else 1], str(photo), "not a complete, readable photo", "truncated")


def test_photo_of_zero_bytes(folder):
    a_photo(folder).write_bytes(b"")
    refuse(folder, "001.png", "not a complete, readable photo")


def test_truncated_jpeg(tmp_path):
    write_nerfstudio(tmp_path, orbit(3))
    for photo in sorted((tmp_path / "images").iterdir()):
        Image.open(photo).save(photo.with_suffix(".jpg"))
        photo.unlink()
    edit(tmp_path, lambda frames: [f.update(file_path=f["file_path"].replace("png", "jpg")) for f in frames])
    assert len(load_scene(tmp_path).views) == 3
    photo = tmp_path / "images/002.jpg"
    photo.write_bytes(photo.read_bytes()[:-200])
    refuse(tmp_path, "002.jpg", "truncated")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pose_that_is_not_finite(folder, value):
    edit(folder, lambda frames: frames[2]["transform_matrix"][1].__setitem__(3, value))
    refuse(folder, "transforms.json: frames[2] (images/002.png)", "transform_matrix[1, 3]", str(value), "finite")


def test_pose_that_is_not_finite_in_each_text_format(scene_of):
    folder = scene_of("middlebury")
    lines = (folder / "ball_par.txt").read_text().splitlines()
    lines[3] = lines[3].rsplit(" ", 1)[0] + " nan"
    (folder / "ball_par.txt").write_text("\n".join(lines))
    refuse(folder, "ball_par.txt: line 4 (ball0002.png)", "nan")
    folder = scene_of("colmap")
    file = folder / "sparse/0/images.txt"
    words = file.read_text().splitlines()
    words[1] = " ".join([*words[1].split()[:5], "nan", *words[1].split(" ")[6:]])
    file.write_text("\n".join(words))
    refuse(folder, "images.txt: line 2", "nan")


@pytest.mark.parametrize("kind", ["scaled", "sheared", "mirrored", "zero"])
def test_matrix_that_is_no_rotation(folder, kind):
    def change(frames):
        pose = np.array(frames[0]["transform_matrix"])
        pose[:3, :3] @= {
            "scaled": np.eye(3) * 1.1,
            "sheared": np.eye(3) + 0.1 * np.eye(3, k=1),
            "mirrored": np.diag([-1, 1, 1]),
            "zero": np.zeros((3, 3)),
        }[kind]
        frames[0]["transform_matrix"] = pose.tolist()

    edit(folder, change)
    refuse(folder, "frames[0] (images/000.png)", "transform_matrix[:3, :3] is not a rotation", "det = +1")


@pytest.mark.parametrize("value", [0, -44.0])
def test_focal_length_of_zero(folder, value):
    edit(folder, lambda frames: frames[3].update(fl_x=value))
    refuse(folder, "frames[3] (images/003.png)", f"focal length fx is {value:g}", "> 0")


def test_two_photos_with_one_camera(folder):
    edit(folder, lambda frames: frames[2].update(transform_matrix=frames[0]["transform_matrix"]))
    refuse(folder, "000.png and ", "002.png have the same camera", "show different things", "expected a pose for each")


def test_the_same_photo_twice_is_left_out_of_training(tmp_path):
    folder = tmp_path
    write_nerfstudio(folder, orbit(5))
    shutil.copy(folder / "images/000.png", folder / "images/002.png")
    edit(folder, lambda frames: frames[2].update(transform_matrix=frames[0]["transform_matrix"]))
    scene = load_scene(folder)
    assert [view.name for view in scene.views] == [f"images/{k:03d}.png" for k in (0, 1, 3, 4)]
    assert any("have one pose and show the same" in text for text in scene.warnings)
    held_out = load_scene(folder, holdout=3)
    assert [view.name for view in held_out.test_views] == ["images/000.png", "images/003.png"]
    # The double of a held-out photo would give it away.
    assert [view.name for view in held_out.views] == ["images/001.png", "images/004.png"]


def test_all_cameras_in_one_place(folder):
    def change(frames):
        for frame in frames:
            for row in range(3):
                frame["transform_matrix"][row][3] = 0.5

    edit(folder, change)
    refuse(folder, "all 4 cameras are in one place, [0.5, 0.5, 0.5]", "different places")


def test_two_cameras_that_share_a_centre_only(tmp_path):
    cameras = orbit(4)
    write_nerfstudio(tmp_path, cameras)

    def change(frames):
        for row in range(3):
            frames[1]["transform_matrix"][row][3] = frames[0]["transform_matrix"][row][3]

    edit(tmp_path, change)
    assert any("share a centre" in text for text in load_scene(tmp_path).warnings)


def test_mask_of_another_size(scene_of):
    folder = scene_of("idr")
    save(folder / "mask/002.png", np.full((15, 20), 255, np.uint8))
    refuse(folder, "mask/002.png: the mask is 20x15, expected 40x30", "000002.png")
    assert len(load_scene(folder, masks="off").views) == 4


def test_mask_that_does_not_exist(folder):
    edit(folder, lambda frames: [frame.update(mask_path="masks/a.png") for frame in frames])
    refuse(folder, "frames[0] (images/000.png)", "masks/a.png does not exist", "masks='off'")
    assert len(load_scene(folder, masks="off").views) == 4


def test_truncated_mask(scene_of):
    folder = scene_of("idr")
    mask = folder / "mask/001.png"
    mask.write_bytes(mask.read_bytes()[:60])
    refuse(folder, str(mask), "not a complete, readable photo")


def test_photos_that_see_nothing_in_common(folder):
    """Poses turned around: each camera looks away from the others."""

    def change(frames):
        for frame in frames:
            pose = np.array(frame["transform_matrix"])
            pose[:3, [0, 2]] *= -1
            frame["transform_matrix"] = pose.tolist()

    edit(folder, change)
    refuse(folder, "the 4 photos see nothing in common", "images/000.png", "overlapping views")


def test_one_photo_that_sees_nothing_in_common_is_named(folder):
    def change(frames):
        pose = np.array(frames[1]["transform_matrix"])
        pose[:3, [0, 2]] *= -1
        frames[1]["transform_matrix"] = pose.tolist()

    edit(folder, change)
    assert any("see nothing that another photo sees: images/001.png" in text for text in load_scene(folder).warnings)


@pytest.mark.parametrize(
    ("text", "position"),
    [('{"frames": [\n{"a": 1},,\n]}', "line 2, column 10"), ("", "line 1"), ('{"w": 4,', "line 1")],
)
def test_json_that_is_not_valid(tmp_path, text, position):
    (tmp_path / "transforms.json").write_text(text)
    refuse(tmp_path, "transforms.json: " + position, "not valid JSON")


@pytest.mark.parametrize("text", ["[]", "3", '{"frames": 3}', '{"frames": []}', "{}"])
def test_json_without_frames(tmp_path, text):
    (tmp_path / "transforms.json").write_text(text)
    refuse(tmp_path, "transforms.json", "non-empty list 'frames'")


def test_json_that_is_no_text(tmp_path):
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe\x00{")
    refuse(tmp_path, "transforms.json: cannot be read as text")


@pytest.mark.parametrize("downscale", [0.5, 0, -1, float("nan"), float("inf")])
def test_downscale_below_one(folder, downscale):
    refuse(folder, "downscale: expected a number >= 1", str(downscale), downscale=downscale)


@pytest.mark.parametrize("holdout", [-1, 1.5])
def test_holdout_that_is_no_count(folder, holdout):
    refuse(folder, "holdout: expected a whole number >= 0", str(holdout), holdout=holdout)


def test_holdout_that_leaves_too_few(folder):
    refuse(folder, "holdout: 1 leaves 0 of 4 photos for training, expected at least 2", holdout=1)
    assert len(load_scene(folder, holdout=2).views) == 2


def test_masks_option(folder):
    refuse(folder, "masks: expected 'auto' or 'off', got 'on'", masks="on")


def test_box_whose_min_is_not_below_its_max(folder):
    refuse(folder, "box: min y = 2 must be below max y = 1", box=[0, 2, 0, 1, 1, 1])
    refuse(folder, "box: min x = 1 must be below max x = 1", box=[1, 0, 0, 1, 1, 1])


def test_a_single_photo(tmp_path):
    write_nerfstudio(tmp_path, orbit(1))
    refuse(tmp_path, "only 1 photo can be used, expected at least 2")


def test_two_formats_in_one_folder_are_said(scene_of):
    folder = scene_of("idr")
    content = {"camera_angle_x": 0.8, "frames": []}
    for k, camera in enumerate(orbit(4)):
        content["frames"].append({"file_path": f"image/{k:06d}", "transform_matrix": opengl_pose(camera)})
    write_json(folder / "transforms.json", content)
    scene = load_scene(folder)
    assert scene.format == "transforms.json"
    assert any("also holds IDR/NeuS cameras.npz" in text for text in scene.warnings)


@pytest.mark.parametrize("name", ["nerfstudio", "idr", "middlebury", "strecha", "colmap"])
def test_a_binary_model_beside_another_format_is_passed_over(scene_of, name):
    folder = scene_of(name)
    expected = load_scene(folder).format
    for model in (folder / "sparse/0", folder / "colmap/sparse/0"):
        model.mkdir(parents=True, exist_ok=True)
        (model / "cameras.bin").write_bytes(b"")
    scene = load_scene(folder)
    assert scene.format == expected and len(scene.views) == 4 and scene.warnings == []


def test_principal_point_outside_of_the_photo(folder):
    edit(folder, lambda frames: frames[1].update(cx=400.0))
    text = "principal point (400.0, 14.6) lies outside of the photo (40x30)"
    assert any("frames[1]" in warning and text in warning for warning in load_scene(folder).warnings)


def test_damaged_test_photo_is_found_too(tmp_path):
    write_blender(tmp_path, orbit(3, centred=True))
    photo = tmp_path / "test/r_1.png"
    photo.write_bytes(photo.read_bytes()[:100])
    refuse(tmp_path, str(photo))


def test_wrong_cameras_of_masks(tmp_path):
    """Masks in which no point is common to all fall back to the cameras, with a warning."""
    write_idr(tmp_path, orbit(4))
    for k in range(4):
        mask = np.zeros((30, 40), np.uint8)
        mask[slice(0, 3) if k % 2 else slice(27, 30)] = 255
        save(tmp_path / f"mask/{k:03d}.png", mask)
    scene = load_scene(tmp_path)
    assert scene.box_source == "cameras" and any("do masks and cameras belong" in text for text in scene.warnings)
