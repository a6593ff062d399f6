"""The region that cameras have in common, and the box of points."""

import numpy as np
import pytest
from posed_files import look_at, orbit

from uner3d.data import Camera, SceneError
from uner3d.data.box import box_of_points, given_box
from uner3d.data.region import common_region, sees, tight_region

K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])


def row(n: int = 6, spacing: float = 1.0) -> list[Camera]:
    """Cameras side by side along x, all looking along z."""
    return [Camera(K, np.column_stack([np.eye(3), [-spacing * k, 0, 0]]), 64, 48) for k in range(n)]


def outward(n: int = 12) -> list[Camera]:
    """Cameras on a circle of radius 1, looking outwards, with overlap."""
    cameras = []
    for k in range(n):
        center = np.array([np.cos(2 * np.pi * k / n), np.sin(2 * np.pi * k / n), 0.0])
        cameras.append(Camera(K, look_at(center, 2 * center), 64, 48))
    return cameras


def moved(camera: Camera, scale: float, shift: np.ndarray) -> Camera:
    """The camera in the world x -> scale x + shift."""
    R = camera.cam_from_world[:, :3]
    return Camera(camera.K, np.column_stack([R, -R @ (scale * camera.center + shift)]), camera.width, camera.height)


def test_sees_respects_borders_and_depth():
    camera = row(1)[0]
    points = np.array([[0, 0, 2.0], [0, 0, -2.0], [1.3, 0, 2.0], [1.27, 0, 2.0], [0, 0, 9.0]])
    assert sees(camera, points, near=0.5, far=5.0).tolist() == [True, False, False, True, False]


def test_orbit_converges_and_its_region_holds_what_all_see():
    cameras = orbit(16)
    region = common_region(cameras)
    assert region.converges and 0.1 < region.share < 1
    inside = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 3))
    assert all(sees(camera, inside[np.linalg.norm(inside, axis=1) < 0.6]).all() for camera in cameras)
    assert (region.box[0] < -0.6).all() and (region.box[1] > 0.6).all()
    assert np.abs(region.box).max() < 3


def test_tight_region_lies_in_the_wide_one():
    wide, tight = common_region(orbit(40)), tight_region(orbit(40))
    assert (tight.box[0] < -0.6).all() and (tight.box[1] > 0.6).all()
    assert np.prod(tight.box[1] - tight.box[0]) <= np.prod(wide.box[1] - wide.box[0])


@pytest.mark.parametrize("stray", ["close-up", "away"])
def test_one_stray_camera_does_not_cut_the_region_down(stray):
    cameras = orbit(20)
    if stray == "close-up":
        cameras[3] = Camera(
            cameras[3].K * [[8], [8], [1]] - [[0, 0, 140], [0, 0, 105], [0, 0, 0]], cameras[3].cam_from_world, 40, 30
        )
    else:
        cameras[3] = Camera(K, look_at(np.array([3.0, 0, 0]), np.array([9.0, 0, 0])), 64, 48)
    region = tight_region(cameras)
    assert (region.box[0] < -0.6).all() and (region.box[1] > 0.6).all()


@pytest.mark.parametrize(("scale", "shift"), [(1e-3, [0, 0, 0]), (500.0, [1e5, -2e5, 3e4])])
def test_region_follows_the_units_and_the_origin(scale, shift):
    shift = np.array(shift)
    plain = tight_region(orbit(12)).box
    box = tight_region([moved(camera, scale, shift) for camera in orbit(12)]).box
    np.testing.assert_allclose((box - shift) / scale, plain, atol=0.05)


def test_cameras_side_by_side_give_the_depths_of_their_disparities():
    cameras = row()
    region = common_region(cameras)
    assert not region.converges
    # Disparity 50 % .. 4 % of the width between the two that are 5 apart: depths 50 / 64 * 5 / (0.5 .. 0.04).
    nearest, farthest = 50 / 64 * 5 / 0.5, 50 / 64 * 5 / 0.04
    # The box ends within two cells of the grid, 32 to the region.
    assert nearest - farthest / 16 < region.box[0, 2] <= nearest
    assert farthest * 0.98 < region.box[1, 2] < farthest * 17 / 16


def test_cameras_that_look_outwards_see_what_is_around_them():
    region = common_region(outward())
    assert not region.converges
    assert (region.box[0, :2] < -2).all() and (region.box[1, :2] > 2).all()


def test_points_behind_a_stray_camera_do_not_count():
    """One camera of four looks away: the others decide, and what lies behind it is not what it sees."""
    cameras = orbit(4)
    away = cameras[1]
    cameras[1] = Camera(away.K, np.diag([-1.0, 1, -1]) @ away.cam_from_world, 40, 30)
    region = tight_region(cameras)
    assert region.converges and (region.box[0] < -0.6).all() and (region.box[1] > 0.6).all()
    assert np.abs(region.box).max() < 6


def test_nothing_in_common():
    turned = Camera(K, look_at(np.array([0, 0, -5.0]), np.array([0, 0, -9.0]), (0, 1, 0)), 64, 48)
    assert common_region([row(1)[0], turned]) is None
    assert tight_region([row(1)[0], turned]) is None


def test_box_of_points_ignores_strays_and_follows_units():
    rng = np.random.default_rng(1)
    points = rng.uniform([-1, 0, 2], [1, 0.5, 2.2], (500, 3))
    with_strays = np.concatenate([points, rng.uniform(-1e4, 1e4, (15, 3))])
    box = box_of_points(with_strays)
    assert (box[0] < points.min(0)).all() and (box[1] > points.max(0)).all()
    np.testing.assert_allclose(box, [[-1.1, -0.1, 1.9], [1.1, 0.6, 2.3]], atol=0.1)
    np.testing.assert_allclose(box_of_points(with_strays * 1000), box * 1000)


def test_too_few_or_flat_points_are_no_box():
    assert box_of_points(np.eye(3)) is None
    assert box_of_points(np.zeros((100, 3))) is None


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0, 0, 0, 1, 1], "expected 6 numbers"),
        ("wide", "expected 6 numbers"),
        ([0, 0, 0, 1, np.nan, 1], "expected finite numbers"),
        ([0, 0, 0, 1, 0, 1], "min y = 0 must be below max y = 0"),
        ([0, 0, 3, 1, 1, 2], "min z = 3 must be below max z = 2"),
    ],
)
def test_wrong_boxes_are_refused(box, message):
    with pytest.raises(SceneError, match=f"box: {message}"):
        given_box(box)
