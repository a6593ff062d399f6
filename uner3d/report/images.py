"""PSNR and SSIM between a rendering and a photo, over the whole image or over a mask (torchmetrics)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = Tensor | NDArray
_SSIM_WINDOW = 11  # torchmetrics' Gaussian of sigma 1.5; the border of half a window is not scored


def psnr(rendering: Image, photo: Image, mask: Image | None = None) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10(mean squared error), for colours in [0, 1].

    rendering, photo: (H, W, C) float tensors or arrays (or uint8, which are divided by 255).
    mask: (H, W) bool; only its pixels count. Infinite where the images are equal.
    Raises ValueError for shapes that differ and for a mask without a pixel.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b, inside = _checked(rendering, photo, mask)
    if inside is not None:
        a, b = a[inside], b[inside]
    return float(peak_signal_noise_ratio(a, b, data_range=1.0))


def ssim(rendering: Image, photo: Image, mask: Image | None = None) -> float:
    """Structural similarity (Wang et al. 2004, Gaussian window of 11 pixels, sigma 1.5), mean over pixels and channels.

    Arguments as in ``psnr``. Windows are whole: pixels nearer than 5 to the border are not scored. With a mask, the
    windows centred on its pixels count, which also see what surrounds it. Raises ValueError for images under 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b, inside = _checked(rendering, photo, mask)
    border = _SSIM_WINDOW // 2
    if min(a.shape[:2]) < _SSIM_WINDOW:
        raise ValueError(f"ssim: expected images of at least {_SSIM_WINDOW} x {_SSIM_WINDOW} pixels, got {_size(a)}")
    a, b = (image.permute(2, 0, 1)[None] for image in (a, b))
    result = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    full = result[1][0, :, border:-border, border:-border]
    if inside is None:
        return float(full.mean())
    inside = inside[border:-border, border:-border]
    if not bool(inside.any()):
        raise ValueError(f"mask: expected at least one pixel farther than {border} from the border")
    return float(full[:, inside].mean())


def _checked(rendering: Image, photo: Image, mask: Image | None) -> tuple[Tensor, Tensor, Tensor | None]:
    a, b = _as_float("rendering", rendering), _as_float("photo", photo)
    if a.shape != b.shape:
        raise ValueError(f"rendering and photo: expected one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if mask is None:
        return a, b, None
    inside = torch.as_tensor(mask)
    if inside.shape != a.shape[:2] or inside.dtype != torch.bool:
        raise ValueError(f"mask: expected bool {tuple(a.shape[:2])}, got {inside.dtype} {tuple(inside.shape)}")
    if not bool(inside.any()):
        raise ValueError("mask: expected at least one pixel inside, got none")
    return a, b, inside.to(a.device)


def _as_float(name: str, image: Image) -> Tensor:
    tensor = torch.as_tensor(np.ascontiguousarray(image) if isinstance(image, np.ndarray) else image).detach()
    if tensor.dim() != 3 or tensor.numel() == 0:
        raise ValueError(f"{name}: expected shape (H, W, C), got {tuple(tensor.shape)}")
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if not tensor.is_floating_point():
        raise ValueError(f"{name}: expected floats in [0, 1] or uint8, got {tensor.dtype}")
    return tensor.float()


def _size(image: Tensor) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
