"""Camera: projection, scaling, checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posed_files import orbit

from uner3d.data import Camera


def test_projection_by_hand():
    camera = Camera([[100, 0, 50], [0, 110, 40], [0, 0, 1]], [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 2]], 100, 80)
    pixels, depth = camera.project(np.array([[0.5, 1.0, 2.0], [0.0, 0.0, -3.0]]))
    np.testing.assert_allclose(pixels[0], [50 + 100 * 1 / 4, 40 + 110 * 1 / 4])
    np.testing.assert_allclose(depth, [4, -1])
    np.testing.assert_allclose(camera.center, [-0.5, 0, -2])


def test_world_from_cam_is_the_inverse():
    for camera in orbit():
        both = np.vstack([camera.cam_from_world, [0, 0, 0, 1]]) @ np.vstack([camera.world_from_cam, [0, 0, 0, 1]])
        np.testing.assert_allclose(both, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(camera.world_from_cam[:, 3], camera.center)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.3, 45))
def test_scaled_cameras_see_the_same_share_of_the_photo(factor):
    camera = orbit(1, width=87, height=61)[0]
    small = camera.scaled(factor)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    np.testing.assert_allclose(
        small.project(points)[0] / [small.width, small.height], camera.project(points)[0] / [87, 61], rtol=1e-9
    )


def test_arrays_cannot_be_changed():
    camera = orbit(1)[0]
    with pytest.raises(ValueError, match="read-only"):
        camera.K[0, 0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(2), np.eye(3, 4), 4, 4), r"Camera.K must have shape \(3, 3\), got \(2, 2\)"),
        ((np.eye(3), np.eye(4), 4, 4), r"Camera.cam_from_world must have shape \(3, 4\), got \(4, 4\)"),
        ((np.eye(3), np.eye(3, 4), 0, 4), "Camera.width must be a whole number of pixels >= 1, got 0"),
        ((np.eye(3), np.eye(3, 4), 4, 2.5), "Camera.height must be a whole number of pixels >= 1, got 2.5"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Camera(*arguments)


def test_scaling_by_nothing_is_refused():
    with pytest.raises(ValueError, match="factor must be > 0, got 0"):
        orbit(1)[0].scaled(0)
