"""IDR / NeuS cameras.npz."""

import zipfile

import numpy as np
import pytest
from posed_files import orbit, render, save, write_idr

from uner3d.data import SceneError, load_scene
from uner3d.data.readers.idr import decompose


def rewrite(folder, change):
    """Rewrites cameras_sphere.npz after change(dict of matrices)."""
    file = folder / "cameras_sphere.npz"
    with np.load(file) as archive:
        matrices = dict(archive)
    change(matrices)
    np.savez(file, **matrices)


@pytest.fixture
def folder(tmp_path):
    write_idr(tmp_path, orbit(4))
    return tmp_path


@pytest.mark.parametrize("factor", [1.0, -1.0, 1e-4, -300.0])
def test_projection_matrices_are_taken_apart_at_any_scale_and_sign(factor):
    for camera in orbit(5):
        K_at_integers = camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        K, cam_from_world = decompose(factor * K_at_integers @ camera.cam_from_world, "here")
        np.testing.assert_allclose(K, camera.K, rtol=1e-9)
        np.testing.assert_allclose(cam_from_world, camera.cam_from_world, atol=1e-9)


def test_skew_is_refused_where_it_moves_pixels():
    camera = orbit(1)[0]
    K = np.array(camera.K)
    K[0, 1] = 1.0
    with pytest.raises(SceneError, match="here: K has skew 1"):
        decompose(K @ camera.cam_from_world, "here")


def test_other_names_of_files_and_folders(folder):
    (folder / "cameras_sphere.npz").rename(folder / "cameras.npz")
    (folder / "image").rename(folder / "images")
    (folder / "mask").rename(folder / "masks")
    scene = load_scene(folder)
    assert len(scene.views) == 4 and scene.has_masks


def test_cameras_without_photos_are_skipped_by_number(folder):
    (folder / "image/000001.png").unlink()
    scene = load_scene(folder)
    assert [view.name for view in scene.views] == ["000000.png", "000002.png", "000003.png"]
    np.testing.assert_allclose(scene.views[1].camera.center, orbit(4)[2].center, atol=1e-9)
    assert scene.views[1].mask_path == folder / "mask/002.png"
    assert any("1 of 4 cameras have no photo" in text for text in scene.warnings)


def test_photos_without_numbers_are_matched_by_rank(folder):
    for photo, name in zip(sorted((folder / "image").iterdir()), "abcd", strict=True):
        photo.rename(photo.with_name(f"{name}.png"))
    scene = load_scene(folder)
    np.testing.assert_allclose(scene.views[2].camera.center, orbit(4)[2].center, atol=1e-9)
    assert scene.views[2].mask_path == folder / "mask/002.png"


def test_photos_that_cannot_be_matched_are_refused(folder):
    save(folder / "image/000009.png", np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(SceneError, match="4 world_mat entries but 5 photos"):
        load_scene(folder)


def test_sphere_bounds_the_box_without_masks(folder):
    box = load_scene(folder, masks="off").box
    assert (box[0] >= [-1.4, -1.5, -1.5]).all() and (box[1] <= [1.6, 1.5, 1.5]).all()


def test_masks_of_zeros_and_ones(folder):
    for k, camera in enumerate(orbit(4)):
        save(folder / f"mask/{k:03d}.png", (render(camera)[..., 3] >= 128).astype(np.uint8))
    scene = load_scene(folder)
    assert set(np.unique(scene.views[0].mask())) == {0, 255} and scene.box_source == "masks"


def test_empty_mask_says_nothing_about_the_box(folder):
    save(folder / "mask/002.png", np.zeros((30, 40), np.uint8))
    scene = load_scene(folder)
    assert scene.box_source == "masks" and (scene.box[0] < -0.6).all() and (scene.box[1] > 0.6).all()
    assert any("1 of 4 masks are empty" in text for text in scene.warnings)


def test_all_masks_empty_falls_back_to_the_cameras(folder):
    for k in range(4):
        save(folder / f"mask/{k:03d}.png", np.zeros((30, 40), np.uint8))
    scene = load_scene(folder)
    assert scene.box_source == "cameras"
    assert any("do masks and cameras belong together" in text for text in scene.warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["world_mat_2"].__setitem__((1, 1), np.nan), r"world_mat_2: matrix\[1, 1\] is nan"),
        (lambda m: m["world_mat_1"][:3, :3].fill(1), "world_mat_1: the left 3 x 3 .* singular"),
        (lambda m: m.update(world_mat_0=np.eye(2)), r"world_mat_0: matrix must have shape \(3, 4\)"),
        (lambda m: m.update(scale_mat_0=np.full((4, 4), np.inf)), "scale_mat_0.* is inf"),
        (lambda m: [m.pop(f"world_mat_{k}") for k in range(4)], "expected entries world_mat_0"),
        (lambda m: m.update(world_mat_0=np.array("x")), "world_mat_0"),
    ],
)
def test_wrong_entries_are_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "cameras_sphere.npz" in str(caught.value)


def test_objects_are_not_unpickled(folder):
    np.savez(folder / "cameras_sphere.npz", world_mat_0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SceneError, match=r"cameras_sphere\.npz: cannot be read"):
        load_scene(folder)


def test_no_archive_at_all(folder):
    (folder / "cameras_sphere.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(SceneError, match=r"cameras_sphere\.npz: cannot be read"):
        load_scene(folder)


@pytest.mark.parametrize(
    ("entry", "offset", "damage"),
    [
        (b"PK\x01\x02", 10, b"\x63\x00"),  # a way of compression that nobody knows
        (b"PK\x01\x02", 8, b"\x01\x00"),  # said to be encrypted
        (b"PK\x03\x04", 65, b"\xff"),  # the first compressed byte, after the header, the name and its sizes
    ],
)
def test_damaged_archives_are_named(folder, entry, offset, damage):
    file = folder / "cameras_sphere.npz"
    with np.load(file) as archive:
        np.savez_compressed(file, **archive)
    content = bytearray(file.read_bytes())
    start = content.index(entry) + offset
    content[start : start + len(damage)] = damage
    file.write_bytes(content)
    with pytest.raises(SceneError, match=r"cameras_sphere\.npz: cannot be read as an npz archive"):
        load_scene(folder)


def test_an_array_that_is_no_archive(folder):
    np.save(folder / "one.npy", np.eye(4))
    (folder / "one.npy").rename(folder / "cameras_sphere.npz")
    with pytest.raises(SceneError, match=r"cameras_sphere\.npz: cannot be read as an npz archive"):
        load_scene(folder)


def test_entries_that_are_no_arrays_are_named(folder):
    rewrite(folder, lambda matrices: matrices.pop("world_mat_2"))
    with zipfile.ZipFile(folder / "cameras_sphere.npz", "a") as archive:
        archive.writestr("world_mat_2", b"some text")
    with pytest.raises(SceneError, match=r"cameras_sphere\.npz: world_mat_2: matrix must be \(3, 4\) numbers"):
        load_scene(folder)


def test_no_photos(tmp_path):
    np.savez(tmp_path / "cameras.npz", world_mat_0=np.eye(4))
    with pytest.raises(SceneError, match=r"no photos in image/ or images/"):
        load_scene(tmp_path)
