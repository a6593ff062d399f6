"""PSNR and SSIM against their formulas."""

import math

import numpy as np
import pytest
import torch

from uner3d.report.images import psnr, ssim


def sample_images(height: int = 40, width: int = 50, seed: int = 0):
    rng = np.random.default_rng(seed)
    photo = rng.random((height, width, 3), np.float32)
    return np.clip(photo + rng.normal(0, 0.1, photo.shape), 0, 1).astype(np.float32), photo


def gaussian_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The formula of Wang et al. 2004 in float64, for whole windows: (H - 10, W - 10, C)."""
    t = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(t, t) / np.outer(t, t).sum()

    def blur(image):
        return np.einsum("hwcij,ij->hwc", np.lib.stride_tricks.sliding_window_view(image, (11, 11), (0, 1)), window)

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def sample_mask():
    mask = np.zeros((40, 50), bool)
    mask[3:20, 10:50] = True
    return mask


def test_psnr_is_its_formula():
    a, b = sample_images()
    mask = sample_mask()
    assert psnr(a, b) == pytest.approx(-10 * math.log10(((a - b) ** 2).mean()), abs=1e-4)
    assert psnr(a, b, mask) == pytest.approx(-10 * math.log10(((a - b)[mask] ** 2).mean()), abs=1e-4)
    assert psnr(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(mask)) == psnr(a, b, mask)
    assert psnr(a, a) == math.inf


def test_outside_of_the_mask_nothing_counts():
    a, b = sample_images()
    mask = sample_mask()
    changed = np.where(mask[..., None], a, 1 - a)
    assert psnr(changed, b, mask) == psnr(a, b, mask) and psnr(changed, b) != psnr(a, b)


def test_uint8_and_one_channel():
    a, b = sample_images()
    a8, b8 = (np.rint(image * 255).astype(np.uint8) for image in (a, b))
    assert psnr(a8, b8) == pytest.approx(psnr(a8 / 255.0, b8 / 255.0), abs=1e-5)
    assert psnr(a[..., :1], b[..., :1]) == pytest.approx(-10 * math.log10(((a - b)[..., 0] ** 2).mean()), abs=1e-4)
    assert psnr(a[:, ::-1], b[:, ::-1]) == pytest.approx(psnr(a, b), abs=1e-5)  # negative strides


def test_ssim_is_its_formula():
    a, b = sample_images()
    expected = gaussian_ssim(a, b)
    inner = sample_mask()[5:-5, 5:-5]
    assert ssim(a, b) == pytest.approx(expected.mean(), abs=1e-4)
    assert ssim(a, b, sample_mask()) == pytest.approx(expected[inner].mean(), abs=1e-4)
    assert ssim(a, b, np.ones((40, 50), bool)) == pytest.approx(ssim(a, b), abs=1e-6)
    assert ssim(a, a) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((4, 4, 3)), np.zeros((4, 5, 3))), r"one shape, got \(4, 4, 3\) and \(4, 5, 3\)"),
        ((np.zeros((4, 4)), np.zeros((4, 4))), r"rendering: expected shape \(H, W, C\)"),
        ((np.zeros((4, 4, 3), int), np.zeros((4, 4, 3))), r"rendering: expected floats .* got torch.int64"),
        ((np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((4, 5), bool)), r"mask: expected bool \(4, 4\)"),
        ((np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((4, 4))), r"mask: expected bool"),
        ((np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), np.zeros((4, 4), bool)), r"mask: .*got none"),
    ],
)
def test_bad_arguments(arguments, words):
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match=words):
            measure(*arguments)


def test_ssim_needs_whole_windows():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 12 x 10"):
        ssim(np.zeros((10, 12, 3)), np.zeros((10, 12, 3)))
    mask = np.zeros((20, 20), bool)
    mask[0] = True
    with pytest.raises(ValueError, match="farther than 5 from the border"):
        ssim(np.zeros((20, 20, 3)), np.zeros((20, 20, 3)), mask)
