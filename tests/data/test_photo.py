"""Pixels: area means, alpha, masks, unusual files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uner3d.data import SceneError, View, photo
from uner3d.data.scene import Camera


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def area_mean(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """By repetition to the least common multiple, float64."""
    rows, columns = pixels.shape[:2]
    fine = pixels.astype(float).repeat(height, axis=0).repeat(width, axis=1)
    return fine.reshape(height, rows, width, columns, -1).mean(axis=(1, 3)).reshape(height, width, *pixels.shape[2:])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_area_resize_is_the_mean_of_the_covered_area(rows, columns, width, height, colour):
    pixels = noise(rows, columns, 3) if colour else noise(rows, columns)
    result = photo.area_resize(pixels, width, height)
    assert result.dtype == np.uint8 and result.shape == (height, width, *pixels.shape[2:])
    assert np.abs(result - area_mean(pixels, width, height)).max() <= 0.51


def view_of(path, mask=None, use_mask=False, size=(6, 4)) -> View:
    camera = Camera(np.eye(3), np.eye(3, 4), *size)
    return View("a", camera, path, mask, use_mask=use_mask)


def test_transparent_photos_are_composited_on_white_before_they_are_reduced(tmp_path):
    """A black pixel beside a fully transparent one gives grey, whatever colour lies under the transparency."""
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, ::2, 3] = 255
    rgba[:, 1::2, :3] = (255, 0, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = view_of(tmp_path / "a.png", size=(3, 2)).image()
    assert (np.abs(image.astype(int) - 127) <= 1).all()


def test_mask_file_whitens_the_background_only_in_use(tmp_path):
    Image.fromarray(np.full((4, 6, 3), 40, np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((4, 6), np.uint8)
    mask[:, :3] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    used = view_of(tmp_path / "a.png", tmp_path / "m.png", use_mask=True)
    assert (used.image()[:, :3] == 40).all() and (used.image()[:, 3:] == 255).all()
    np.testing.assert_array_equal(used.mask(), mask)
    unused = view_of(tmp_path / "a.png", tmp_path / "m.png")
    assert (unused.image() == 40).all() and unused.mask() is None


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "LA", "CMYK"])
def test_modes_of_files(tmp_path, mode):
    """A grey ramp comes out as itself."""
    ramp = np.tile(np.arange(0, 240, 40, dtype=np.uint8), (4, 1))
    suffix = "tif" if mode == "CMYK" else "png"
    if mode == "I;16":
        Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "a.png")
    elif mode == "P":
        Image.fromarray(ramp).quantize(16).save(tmp_path / "a.png")
    else:
        Image.fromarray(ramp).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(tmp_path / f"a.{suffix}")
    image = view_of(tmp_path / f"a.{suffix}").image()
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    if mode == "1":
        assert set(np.unique(image)) <= {0, 255}
    else:
        assert np.abs(image[..., 1].astype(int) - ramp).max() <= 1


def test_transparent_palette(tmp_path):
    Image.fromarray(np.eye(4, 6, dtype=np.uint8), "P").save(tmp_path / "a.png", transparency=0)
    assert photo.inspect(tmp_path / "a.png").transparent is True


def test_undistorted_constant_stays_constant():
    K = np.array([[30.0, 0, 20], [0, 30, 15], [0, 0, 1]])
    pixels = np.full((30, 40, 3), 77, np.uint8)
    assert (photo.undistort(pixels, K, (0.1, 0, 0, 0, 0, 0)) == 77).all()


def test_no_photo_at_all(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(SceneError, match=r"a\.png: not a complete, readable photo"):
        photo.inspect(tmp_path / "a.png")
    with pytest.raises(SceneError, match=r"a\.png: not a readable photo"):
        photo.read_size(tmp_path / "a.png")
