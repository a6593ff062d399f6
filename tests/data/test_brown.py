"""Lens distortion: inverse, derivative, the inner pinhole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d.data import SceneError, brown

MILD = (0.08, -0.03, 0.004, 0.001, 0.002, -0.003)
K = np.array([[70.0, 0, 40.6], [0, 71, 29.7], [0, 0, 1]])


def grid(reach: float = 0.6) -> np.ndarray:
    axis = np.linspace(-reach, reach, 9)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(st.floats(-0.08, 0.08) for _ in range(2))),
    st.tuples(*(st.floats(-0.01, 0.01) for _ in range(4))),
)
def test_undistort_inverts_distort(k12, rest):
    coefficients = (*k12, *rest)
    xy = grid()
    np.testing.assert_allclose(brown.undistort(brown.distort(xy, coefficients), coefficients), xy, atol=1e-8)


def test_jacobian_is_the_derivative():
    xy, h = grid(), 1e-6
    J = brown.jacobian(xy, MILD)
    for axis in range(2):
        step = np.eye(2)[axis] * h
        numeric = (brown.distort(xy + step, MILD) - brown.distort(xy - step, MILD)) / (2 * h)
        np.testing.assert_allclose(J[:, :, axis], numeric, atol=1e-8)


def test_beyond_the_fold_there_is_no_inverse():
    """With k1 < 0 the radius of the photo has a maximum, which nothing reaches beyond."""
    strong = (-0.4, 0.0, 0.0, 0.0, 0.0, 0.0)
    largest = np.sqrt(1 / 1.2) * (1 - 0.4 / 1.2)
    xy = brown.undistort(np.array([[0.9 * largest, 0.0], [1.1 * largest, 0.0]]), strong)
    assert np.isfinite(xy[0]).all() and np.isnan(xy[1]).all()


@pytest.mark.parametrize("coefficients", [MILD, (-0.15, 0.02, 0, 0, 0.001, 0.001), (0.3, 0, 0, 0, 0, 0)])
def test_every_pixel_of_the_pinhole_lies_in_the_photo_and_reaches_its_border(coefficients):
    pinhole = brown.pinhole_inside(K, coefficients, 80, 60)
    x, y = brown.source_pixels(tuple(K.ravel()), coefficients, 80, 60)
    assert x.shape == y.shape == (60, 80)
    assert x.min() > 0.5 - 0.05 and x.max() < 79.5 + 0.05 and y.min() > 0.5 - 0.05 and y.max() < 59.5 + 0.05
    gaps = [x.min() - 0.5, 79.5 - x.max(), y.min() - 0.5, 59.5 - y.max()]
    assert max(map(abs, gaps)) < 0.05
    ray = np.linalg.inv(pinhole) @ [10.5, 20.5, 1]
    photo = K @ [*brown.distort(ray[None, :2], coefficients)[0], 1]
    np.testing.assert_allclose([x[20, 10], y[20, 10]], photo[:2], atol=1e-4)


def test_no_distortion_keeps_k():
    np.testing.assert_allclose(brown.pinhole_inside(K, (0,) * 6, 80, 60), K, atol=1e-9)


def test_distortion_that_folds_over_is_refused():
    with pytest.raises(SceneError, match=r"folds over inside a photo of 80x60"):
        brown.pinhole_inside(K, (-2.0, 0, 0, 0, 0, 0), 80, 60)
