"""SRN: intrinsics.txt, rgb/, pose/."""

import numpy as np
import published
import pytest
from posed_files import on_white, orbit, render, save

from uner3d.data import SceneError, load_scene


def photos_of(cameras):
    return [on_white(render(camera)) for camera in cameras]


@pytest.fixture
def folder(tmp_path):
    cameras = orbit(4, centred=True)
    published.write_srn(tmp_path, cameras, photos_of(cameras))
    return tmp_path


def rewrite(file, change):
    """Rewrites a file's lines after change(lines)."""
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("\n".join(lines) + "\n")


def test_a_ball_drawn_by_the_layouts_own_rays_is_where_the_camera_projects_it(tmp_path):
    """Drawn from the definition alone: the ray of image position (x, y) is pose @ ((x - cx) / f, (y - cy) / f, 1)."""
    size, f, ball, radius = 64, 70.0, np.array([0.25, -0.15, 0.3]), 0.12
    (tmp_path / "pose").mkdir()
    (tmp_path / "intrinsics.txt").write_text(f"{2 * f} {size} {size} 0.\n0. 0. 0.\n1.\n{2 * size} {2 * size}\n")
    for k, eye in enumerate(np.array([[1.3, 0, 0], [0, 1.2, 0.5], [-0.6, -1.0, 0.6]])):
        forward = -eye / np.linalg.norm(eye)
        right = np.cross(forward, [0, 0, 1]) / np.linalg.norm(np.cross(forward, [0, 0, 1]))
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)  # x right, y down, z forward
        np.savetxt(tmp_path / f"pose/{k:06d}.txt", pose)
        x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
        rays = np.stack([(x - size / 2) / f, (y - size / 2) / f, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        nearest = np.linalg.norm(np.cross(rays, ball - eye), axis=-1)
        save(tmp_path / f"rgb/{k:06d}.png", np.where(nearest[..., None] < radius, 0, 255).repeat(3, 2).astype(np.uint8))
    scene = load_scene(tmp_path)
    assert scene.format == "SRN intrinsics.txt" and len(scene.views) == 3
    assert [text for text in scene.warnings if "64x64" in text and "128x128" in text]
    published.assert_ball_is_seen(scene, ball, radius)


def test_height_comes_before_width_and_the_size_scales_k(tmp_path):
    cameras = orbit(4, centred=True)
    published.write_srn(tmp_path, cameras, photos_of(cameras), factor=2.0)
    scene = load_scene(tmp_path)
    for view, camera in zip(scene.views, cameras, strict=True):
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-9)


def test_poses_in_four_lines_and_world_to_camera(folder):
    expected = [view.camera.cam_from_world for view in load_scene(folder).views]
    for file in (folder / "pose").iterdir():
        np.savetxt(file, np.linalg.inv(np.loadtxt(file).reshape(4, 4)), fmt="%.12f")
    rewrite(folder / "intrinsics.txt", lambda lines: lines.append("1"))
    for view, pose in zip(load_scene(folder).views, expected, strict=True):
        np.testing.assert_allclose(view.camera.cam_from_world, pose, atol=1e-9)


def test_the_box_is_the_cars_cube_at_the_cars_distance(tmp_path):
    cameras = orbit(6, 64, 64, focal=65.6, centred=True)
    published.write_srn(tmp_path, cameras, photos_of(cameras))
    for file in (tmp_path / "pose").iterdir():
        pose = np.loadtxt(file).reshape(4, 4)
        pose[:3, 3] *= 1.3 / np.linalg.norm(pose[:3, 3])
        np.savetxt(file, pose)
    np.testing.assert_allclose(load_scene(tmp_path).box, [[-0.5] * 3, [0.5] * 3], atol=1e-6)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("intrinsics.txt", lambda lines: lines.__setitem__(0, "44 20 15"), r"line 1: expected 4 numbers .* found 3"),
        ("intrinsics.txt", lambda lines: lines.__setitem__(0, "0 20 15 0"), r"line 1: focal length fx is 0"),
        ("intrinsics.txt", lambda lines: lines.pop(), r"expected lines .*found 3 lines, none of them of two"),
        ("intrinsics.txt", lambda lines: lines.__setitem__(3, "0 40"), r"line 4: height and width are 0 40"),
        ("intrinsics.txt", lambda lines: lines.append("yes"), r"line 5: world-to-camera is 'yes', expected 0 or 1"),
        ("pose/000001.txt", lambda lines: lines.__setitem__(0, "1 2 3"), r"expected 16 numbers .* found 3"),
        ("pose/000001.txt", lambda lines: lines.__setitem__(0, lines[0][:-1] + "2"), r"last row is .*0.0, 2.0\]"),
        ("pose/000001.txt", lambda lines: lines.__setitem__(0, "2 " + lines[0].split(" ", 1)[1]), "not a rotation"),
        ("pose/000001.txt", lambda lines: lines.__setitem__(0, "nan " + lines[0].split(" ", 1)[1]), "nan.*finite"),
    ],
)
def test_what_is_wrong_is_named(folder, file, change, message):
    rewrite(folder / file, change)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert file in str(caught.value)


def test_photos_and_poses_belong_together(folder):
    (folder / "rgb/000002.png").unlink()
    scene = load_scene(folder)
    assert len(scene.views) == 3 and any("000002.png" in text for text in scene.warnings)
    (folder / "pose/000001.txt").unlink()
    with pytest.raises(SceneError, match=r"rgb/000001.png: expected its pose in .*pose, found none"):
        load_scene(folder)
