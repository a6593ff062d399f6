"""From the frames of a format to views: which photos exist, whether they are whole, and their cameras at working size."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from . import brown
from .errors import SceneError
from .photo import PhotoInfo, inspect
from .readers import Frame
from .scene import Camera, View

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def parallel_map(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """`function` over `items` in threads (decoding releases the interpreter lock), results in order."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def existing(frames: list[Frame], index_file: Path, warnings: list[str]) -> list[Frame]:
    """The frames whose photo is there; the others are named in a warning."""
    present = [frame for frame in frames if frame.image_path.is_file()]
    absent = [frame.name for frame in frames if not frame.image_path.is_file()]
    if absent:
        names = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        warnings.append(f"{index_file.name}: {len(absent)} of {len(frames)} photos are missing and skipped: {names}")
    return present


def masks_are_complete(frames: list[Frame], infos: dict[Path, PhotoInfo], warnings: list[str]) -> bool:
    """Whether each training photo has a mask: a file of its own, or an alpha channel that is in use in the set."""
    alpha_in_use = any(infos[frame.image_path].transparent for frame in frames)
    n_masks = sum(_has_mask(frame, infos, alpha_in_use) for frame in frames)
    if 0 < n_masks < len(frames):
        without = next(frame.name for frame in frames if not _has_mask(frame, infos, alpha_in_use))
        warnings.append(f"only {n_masks} of {len(frames)} photos have a mask ({without} has none): masks are not used")
    return n_masks == len(frames)


def _has_mask(frame: Frame, infos: dict[Path, PhotoInfo], alpha_in_use: bool) -> bool:
    return frame.mask_path is not None or (alpha_in_use and infos[frame.image_path].transparent is not None)


def inspect_files(frames: list[Frame], with_masks: bool) -> dict[Path, PhotoInfo]:
    """Decodes each photo (and mask) once. A mask must exist and have the size of its photo."""
    paths = [frame.image_path for frame in frames]
    if with_masks:
        for frame in frames:
            if frame.mask_path is not None and not frame.mask_path.is_file():
                raise SceneError(f"{frame.where}: mask {frame.mask_path} does not exist (masks='off' does without)")
        paths += [frame.mask_path for frame in frames if frame.mask_path is not None]
    unique = sorted(set(paths))
    infos = dict(zip(unique, parallel_map(inspect, unique), strict=True))
    for frame in frames:
        mask = infos.get(frame.mask_path) if frame.mask_path is not None else None
        photo = infos[frame.image_path]
        if mask is not None and (mask.width, mask.height) != (photo.width, photo.height):
            raise SceneError(
                f"{frame.mask_path}: the mask is {mask.width}x{mask.height}, expected {photo.width}x{photo.height}, "
                f"the size of {frame.image_path.name}"
            )
    return infos


def _fit_to_photo(frame: Frame, info: PhotoInfo, rescaled: list[str]) -> np.ndarray:
    """K for the photo's real size. Where the file states another size of the same shape, K is scaled with a warning."""
    width, height = frame.width or info.width, frame.height or info.height
    if (width, height) == (info.width, info.height):
        return frame.K
    ratio_x, ratio_y = info.width / width, info.height / height
    if abs(info.width - width * ratio_y) > 1.0 + 0.01 * info.width:
        raise SceneError(
            f"{frame.image_path}: the photo is {info.width}x{info.height}, but {frame.where} states "
            f"{width:g}x{height:g}; expected the same size or the same shape"
        )
    rescaled.append(f"{frame.name} is {info.width}x{info.height}, its camera is for {width:g}x{height:g}")
    return frame.K * np.array([[ratio_x], [ratio_y], [1.0]])


def make_views(
    frames: list[Frame], infos: dict[Path, PhotoInfo], use_masks: bool, downscale: float, warnings: list[str]
) -> list[View]:
    """Views at working resolution, distortion removed."""
    rescaled: list[str] = []
    views = []
    alpha_in_use = any(info.transparent for info in infos.values())
    for frame in frames:
        info = infos[frame.image_path]
        K = _fit_to_photo(frame, info, rescaled)
        if not (0 <= K[0, 2] <= info.width and 0 <= K[1, 2] <= info.height):
            warnings.append(
                f"{frame.where}: principal point ({K[0, 2]:.1f}, {K[1, 2]:.1f}) lies outside of the photo "
                f"({info.width}x{info.height}): are the cameras for another size?"
            )
        photo_camera = Camera(K, frame.cam_from_world, info.width, info.height)
        pinhole = photo_camera
        if frame.distortion is not None:
            try:
                K = brown.pinhole_inside(K, frame.distortion, info.width, info.height)
            except SceneError as error:
                raise SceneError(f"{frame.where}: {error}") from error
            pinhole = Camera(K, frame.cam_from_world, info.width, info.height)
        views.append(
            View(
                name=frame.name,
                camera=pinhole.scaled(downscale),
                image_path=frame.image_path,
                mask_path=frame.mask_path,
                photo_camera=photo_camera,
                distortion=frame.distortion,
                use_mask=use_masks and _has_mask(frame, infos, alpha_in_use),
            )
        )
    if rescaled:
        warnings.append(f"{len(rescaled)} photos differ in size from their cameras, which are scaled: {rescaled[0]}")
    return views
