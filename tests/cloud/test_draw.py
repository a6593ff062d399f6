"""Pictures of clouds: where a point lands, what hides what, and the turntable's path."""

import numpy as np
import pytest

from uner3d.cloud.draw import draw_cloud
from uner3d.cloud.turntable import _common_up, cloud_spacing, turntable
from uner3d.cloud.types import Cloud

K = np.array([[10.0, 0, 8], [0, 10, 6], [0, 0, 1]])
POSE = np.eye(3, 4)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def draw(xyz, rgb, **options):
    return draw_cloud(np.array(xyz, np.float32), np.array(rgb, np.uint8), K, POSE, 16, 12, **options)


def test_a_point_lands_in_its_pixel():
    picture = draw([[0.25, -0.15, 1.0]], [RED])  # u = 10.5, v = 4.5: the centre of column 10, line 4
    assert (picture[4, 10] == RED).all()
    assert (picture != 255).any(-1).sum() == 1


def test_the_nearer_point_hides_the_farther_one():
    for order in ([0, 1], [1, 0]):
        xyz, rgb = np.array([[0.05, 0.05, 1.0], [0.1, 0.1, 2.0]]), np.array([RED, BLUE])
        assert (draw(xyz[order], rgb[order])[6, 8] == RED).all()


def test_points_at_one_depth_are_averaged():
    assert draw([[0.05, 0.05, 1.0]] * 2, [(200, 0, 0), (100, 0, 50)])[6, 8].tolist() == [150, 0, 25]


def test_footprint_widens_a_point_in_proportion_to_its_nearness():
    def covered(z):
        return (draw([[0.0, 0.0, z]], [RED], footprint=0.6) != 255).any(-1).sum()

    assert covered(1.0) == pytest.approx(np.pi * 3**2, rel=0.25)  # 6 pixels across
    assert covered(1.0) > 2.5 * covered(2.0)


def test_what_is_behind_or_beside_is_not_drawn():
    assert (draw([[0, 0, -1.0], [100, 0, 1.0], [0, 0, 0.0]], [RED] * 3) == 255).all()
    assert (draw(np.zeros((0, 3)), np.zeros((0, 3)), background=(1, 2, 3)) == (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"xyz": np.zeros((2, 2))}, r"xyz: expected shape \(n, 3\), got \(2, 2\)"),
     ({"rgb": np.zeros((2, 3), np.float32)}, "rgb: expected uint8"),
     ({"K": np.full((3, 3), np.nan)}, "K: expected"),
     ({"cam_from_world": np.eye(4)}, r"cam_from_world: expected \(3, 4\)"),
     ({"width": 0}, "at least one pixel, got 0 x 12")],
)  # fmt: skip
def test_bad_arguments(change, words):
    arguments = {"xyz": np.zeros((2, 3)), "rgb": np.zeros((2, 3), np.uint8), "K": K, "cam_from_world": POSE,
                 "width": 16, "height": 12}  # fmt: skip
    with pytest.raises(ValueError, match=words):
        draw_cloud(**(arguments | change))


def two_sided_ball() -> Cloud:
    """A unit sphere at (5, 5, 5): red where y < 5, blue elsewhere."""
    xyz = np.random.default_rng(0).normal(size=(4000, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    rgb = np.where(xyz[:, 1:2] < 0, np.array(RED), np.array(BLUE)).astype(np.uint8)
    return Cloud((xyz + 5).astype(np.float32), rgb=rgb)


def share(frame, colour):
    return (np.abs(frame.astype(int) - colour).sum(-1) < 60).mean()


def camera(azimuth: float) -> np.ndarray:
    """cam_from_world of a camera 4 units from the ball's centre, z up."""
    outward = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    right = np.cross(-outward, [0, 0, 1.0])
    rotation = np.stack([right, np.cross(-outward, right), -outward])
    return np.concatenate([rotation, -rotation @ (5 + 4 * outward)[:, None]], 1)


def test_turntable_shows_both_sides():
    frames = turntable(two_sided_ball(), 8, (64, 48))
    assert len(frames) == 8 and frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8
    assert max(share(f, RED) for f in frames) > 0.15 and max(share(f, BLUE) for f in frames) > 0.15
    assert all(share(f, (255, 255, 255)) > 0.3 for f in frames)


def test_turntable_starts_at_the_first_camera_and_circles_where_photos_do():
    poses = np.stack([camera(a) for a in (-np.pi / 2 + np.arange(6) * np.pi / 3)])  # the first sees the red side
    frames = turntable(two_sided_ball(), 8, (64, 48), cam_from_world=poses)
    assert share(frames[0], RED) > 0.15 and share(frames[0], BLUE) < 0.02
    assert share(frames[4], BLUE) > 0.15 and share(frames[4], RED) < 0.02


def test_turntable_stays_on_the_side_that_was_photographed():
    poses = np.stack([camera(-np.pi / 2 + a) for a in (-0.5, 0.0, 0.5)])
    for frame in turntable(two_sided_ball(), 8, (64, 48), cam_from_world=poses):
        assert share(frame, RED) > 0.15 and share(frame, RED) > 2 * share(frame, BLUE)


def looking_down(azimuth: float, elevation: float) -> np.ndarray:
    """Rotation of a level camera, z up, that looks at the centre from the given angles."""
    outward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross(-outward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(-outward, right), -outward])


@pytest.mark.parametrize("arc", [0.8, 1.6, 6.0])
def test_up_is_level_however_far_the_cameras_look_down(arc):
    rotations = np.stack([looking_down(a, 0.6 + 0.1 * np.sin(5 * a)) for a in np.linspace(0, arc, 9)])
    np.testing.assert_allclose(_common_up(rotations), [0, 0, 1], atol=1e-9)


def test_up_of_one_camera_and_of_rolled_ones_is_their_mean():
    one = looking_down(0.3, 0.5)[None]
    np.testing.assert_allclose(_common_up(one), -one[0, 1])
    turned = np.linalg.qr(np.random.default_rng(4).normal(size=(40, 3, 3)))[0]
    np.testing.assert_allclose(_common_up(turned), -turned[:, 1].mean(0))


def test_turntable_is_not_moved_by_a_floater():
    ball = two_sided_ball()
    with_floater = Cloud(np.concatenate([ball.xyz, [[500.0, 5, 5]]]).astype(np.float32),
                         rgb=np.concatenate([ball.rgb, [[0, 255, 0]]]).astype(np.uint8))  # fmt: skip
    before, after = (turntable(cloud, 2, (64, 48), up=(0, 0, 1)) for cloud in (ball, with_floater))
    assert np.mean([np.abs(a.astype(int) - b).max(-1) > 40 for a, b in zip(before, after, strict=True)]) < 0.05


def test_turntable_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match="expected points with colours, got 0 points"):
        turntable(Cloud(np.zeros((0, 3)), rgb=np.zeros((0, 3), np.uint8)))
    with pytest.raises(ValueError, match="rgb False"):
        turntable(Cloud(np.zeros((5, 3))))
    with pytest.raises(ValueError, match="up: expected a direction"):
        turntable(two_sided_ball(), up=(0, 0, 0))


def test_spacing_of_a_plane():
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(60), [0]), -1).reshape(-1, 3) * 0.5
    assert cloud_spacing(grid) == pytest.approx(0.5, rel=0.2)
    assert cloud_spacing(grid[:1]) == 0
