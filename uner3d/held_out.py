"""Pictures of a fitted field: what any camera sees, and held-out photos beside their renderings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from uner3d.api import Fitted, Progress
from uner3d.render.image import render_image
from uner3d.train.fit import return_free_memory
from uner3d.train.photos import PhotoSet, nearest_views


@dataclass
class HeldOut:
    """One held-out view: the photo and its rendering (h, w, 3) uint8 and float, depth (h, w), PSNR and SSIM over the
    whole image, PSNR over the mask (None without one, and where it is empty), seconds."""

    name: str
    photo: Any
    rendering: Any
    depth: Any
    psnr: float
    ssim: float
    psnr_mask: float | None
    seconds: float


def render_camera(fitted: Fitted, K: Any, cam_from_unit: Any, height: int, width: int) -> tuple[Any, Any]:
    """Colours (h, w, 3) in [0, 1] and z-depths (h, w) in the unit frame that a camera K (3, 3), cam_from_unit (3, 4)
    sees, on the CPU; conditioned on the photos nearest to it."""
    few = () if fitted.world.sources is None else (fitted.config.sources,)
    near = nearest_views(cam_from_unit[None], fitted.photos, *few)[0][: fitted.config.sources]
    sources = fitted.model.encode_views(fitted.photos, near)
    camera = (K.to(fitted.world.device), cam_from_unit.to(fitted.world.device))
    picture = render_image(fitted.model.field, sources, fitted.grid, *camera, height, width, fitted.settings())
    return picture[0].clamp(0, 1).cpu(), picture[1].cpu()


def evaluate_images(fitted: Fitted, views, seconds: float | None = None,
                    progress: Progress | None = None) -> list[HeldOut]:  # fmt: skip
    """Render held-out views where the field lies and compare on the CPU; stops after ``seconds`` (at least one view is
    done)."""
    from uner3d.report.images import psnr, ssim

    return_free_memory()
    photos = PhotoSet(views, fitted.frame)
    out: list[HeldOut] = []
    begin = time.monotonic()
    for view in range(len(photos)):
        if seconds is not None and out and time.monotonic() - begin > seconds:
            break
        started = time.monotonic()
        colour, depth = render_camera(fitted, photos.K[view], photos.cam_from_unit[view], *photos.size)
        photo = photos.images[view].float() / 255
        mask = photos.masks[view] > 127 if photos.masks is not None else None
        out.append(HeldOut(photos.names[view], photos.images[view].numpy(), colour.numpy(), depth.numpy(),
                           psnr(colour, photo), ssim(colour, photo),
                           psnr(colour, photo, mask) if mask is not None and mask.any() else None,
                           time.monotonic() - started))  # fmt: skip
        if progress:
            progress((view + 1) / len(photos))
    return out
