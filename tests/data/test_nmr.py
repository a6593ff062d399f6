"""DVR / NMR: cameras.npz with projections to [-1, 1]."""

import numpy as np
import published
import pytest
from posed_files import on_white, orbit, render, save, write_idr

from uner3d.data import SceneError, load_scene


@pytest.fixture
def folder(tmp_path):
    cameras = orbit(4)
    published.write_nmr(tmp_path, cameras, [on_white(render(camera)) for camera in cameras])
    return tmp_path


def change(folder, **matrices):
    """Rewrites cameras.npz; None takes an entry away."""
    with np.load(folder / "cameras.npz") as archive:
        content = {**archive} | matrices
    np.savez(folder / "cameras.npz", **{key: matrix for key, matrix in content.items() if matrix is not None})


def test_a_ball_drawn_by_the_layouts_own_rays_is_where_the_camera_projects_it(tmp_path):
    """Drawn from the definition alone: image points in [-1, 1], (-1, -1) the upper left corner, the camera looks at
    (0, 0, 1), and a point of the image at depth 1 is world_mat_inv @ camera_mat_inv @ (u, v, 1, 1) in the world."""
    size, ball, radius = 64, np.array([0.22, -0.28, 0.1]), 0.12
    camera_mat = np.diag([1.8, 1.8, 1.0, 1.0])
    matrices = {}
    for k, azimuth in enumerate((0.0, 2.0, 4.0)):
        # The world's y is up, as in ShapeNet; the camera is 2.7 away, 30 degrees above.
        c, s = np.cos(azimuth), np.sin(azimuth)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        tilt = np.array([[1, 0, 0], [0, -np.cos(np.pi / 6), 0.5], [0, -0.5, -np.cos(np.pi / 6)]])
        world_mat = np.eye(4)
        world_mat[:3, :3], world_mat[2, 3] = tilt @ turn, 2.7
        matrices |= {f"world_mat_{k}": world_mat, f"camera_mat_{k}": camera_mat}
        to_world = np.linalg.inv(camera_mat @ world_mat)
        axis = (np.arange(size) + 0.5) / size * 2 - 1
        u, v = np.meshgrid(axis, axis)
        points = np.stack([u, v, np.ones_like(u), np.ones_like(u)], axis=-1) @ to_world.T
        eye = to_world[:3, 3]
        rays = points[..., :3] - eye
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        hit = np.linalg.norm(np.cross(rays, ball - eye), axis=-1)[..., None] < radius
        save(tmp_path / f"image/{k:04d}.png", np.where(hit, 0, 255).repeat(3, 2).astype(np.uint8))
        save(tmp_path / f"mask/{k:04d}.png", np.where(hit, 255, 0)[..., 0].astype(np.uint8))
        assert eye[1] > 1  # above the object
    np.savez(tmp_path / "cameras.npz", **matrices)
    scene = load_scene(tmp_path)
    assert scene.format == "DVR/NMR cameras.npz" and scene.has_masks and scene.warnings == []
    published.assert_ball_is_seen(scene, ball, radius)


def test_the_unit_cube_is_the_box_without_masks(folder):
    np.testing.assert_allclose(load_scene(folder, masks="off").box, [[-0.55] * 3, [0.55] * 3])


def test_idr_is_still_idr_with_a_camera_mat_of_its_own(tmp_path):
    write_idr(tmp_path, orbit(4))
    before = load_scene(tmp_path)
    to_unit = {f"camera_mat_{k}": np.array([[0.05, 0, -1, 0], [0, 0.07, -1, 0], [0, 0, 1, 0]]) for k in range(4)}
    with np.load(tmp_path / "cameras_sphere.npz") as archive:
        np.savez(tmp_path / "cameras.npz", **{**archive}, **to_unit)
    (tmp_path / "cameras_sphere.npz").unlink()
    scene = load_scene(tmp_path)
    assert scene.format == before.format == "IDR/NeuS cameras.npz"
    np.testing.assert_array_equal(scene.views[0].camera.K, before.views[0].camera.K)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({"camera_mat_2": None}, r"camera_mat_2 is missing"),
        ({"camera_mat_2": np.full((4, 4), np.nan)}, r"camera_mat_2: matrix\[0, 0\] is nan"),
        ({"camera_mat_2": np.ones(3)}, r"camera_mat_2: matrix must have shape \(3, 3\), got \(3,\)"),
        ({"camera_mat_2": np.ones((4, 4))}, r"camera_mat_2 is .*expected \[\[fx, 0, cx\]"),
        ({"camera_mat_2": np.diag([-1.0, 1, 1, 1])}, r"camera_mat_2: focal length fx is -20"),
        ({"world_mat_2": np.diag([1.0, 1.0, -1.0, 1.0])}, r"world_mat_2: its left 3 x 3 is not a rotation.*det = -1"),
        ({"world_mat_2": np.zeros((2, 4))}, r"world_mat_2: matrix must have shape \(3, 4\)"),
    ],
)
def test_what_is_wrong_is_named(folder, matrices, message):
    change(folder, **matrices)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "cameras.npz" in str(caught.value)


def test_no_photos(folder):
    for photo in (folder / "image").iterdir():
        photo.unlink()
    with pytest.raises(SceneError, match=r"cameras.npz is there, but no photos in image/"):
        load_scene(folder)


def test_a_damaged_archive_is_named(folder):
    content = (folder / "cameras.npz").read_bytes()
    (folder / "cameras.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match=r"cameras.npz: cannot be read as an npz archive"):
        load_scene(folder)
