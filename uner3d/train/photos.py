"""The photos of a scene as tensors in the unit frame of its box, and which views condition which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
LEAST_SIDE = 12  # pixels: the windows of matching and of SSIM, of up to 11, fit into that
BARE = 0.06  # difference from a uniform background's colour up to which a pixel shows nothing


class UnitFrame:
    """The model's own frame: the box's centre at the origin, half its longest edge as the unit.

    center (3,) float64 and half (float) in world units; extent (3,) half edges of the box in the unit frame.
    """

    def __init__(self, box: np.ndarray) -> None:
        box = np.asarray(box, dtype=np.float64)
        self.center = box.mean(0)
        half = (box[1] - box[0]) / 2
        self.half = float(half.max())
        self.extent = half / self.half

    def to_unit(self, cam_from_world: np.ndarray) -> np.ndarray:
        """cam_from_unit (3, 4), up to the scale of the camera's frame, which becomes the unit's."""
        rotation, shift = cam_from_world[:, :3], cam_from_world[:, 3]
        return np.concatenate([rotation, ((rotation @ self.center + shift) / self.half)[:, None]], 1)

    def to_world(self, xyz_in_unit: np.ndarray) -> np.ndarray:
        """Points (N, 3) in the user's frame and units, float64."""
        return np.asarray(xyz_in_unit, dtype=np.float64) * self.half + self.center


def refuse_tiny(views: Sequence) -> None:
    """Raise ValueError where photos are too small to be compared with anything."""
    for view in views:
        width, height = view.camera.width, view.camera.height
        if min(width, height) < LEAST_SIDE:
            raise ValueError(f"{view.name}: expected at least {LEAST_SIDE} pixels on a side, got {width} x {height} as "
                             "it is used; a smaller --downscale leaves more")  # fmt: skip


@dataclass
class SeenDepths:
    """How far photos see where that is known: z-depths (V, h, w) in the unit frame, 0 elsewhere, in half precision; K
    (V, 3, 3) in their pixels."""

    depth: Tensor
    K: Tensor

    def to(self, device: torch.device | str) -> SeenDepths:
        """The same on another device."""
        return SeenDepths(self.depth.to(device), self.K.to(device))


class PhotoSet:
    """Photos of equal size: images (V, H, W, 3) uint8, masks (V, H, W) uint8 or None, K (V, 3, 3),
    cam_from_unit (V, 3, 4) float32. Photos of another size are resampled to the most common one, their K with them.
    seen: where their surfaces are known to lie, which hide from them what lies behind; None: nowhere.
    """

    seen: SeenDepths | None = None

    def __init__(self, views: Sequence, frame: UnitFrame, device: torch.device | str = "cpu") -> None:
        sizes = [(v.camera.height, v.camera.width) for v in views]
        height, width = max(set(sizes), key=sizes.count)
        images, masks, Ks = [], [], []
        for view in views:
            ratio = np.array([[width / view.camera.width], [height / view.camera.height], [1.0]])
            images.append(_resized(torch.from_numpy(np.array(view.image())), height, width))
            mask = view.mask()
            if mask is not None:
                masks.append(_resized(torch.from_numpy(np.array(mask))[..., None], height, width)[..., 0])
            Ks.append(view.camera.K * ratio)
        self.names = [view.name for view in views]
        self.images = torch.stack(images).to(device)
        self.masks = torch.stack(masks).to(device) if len(masks) == len(views) else None
        self.K = torch.tensor(np.stack(Ks), dtype=torch.float32, device=device)
        poses = np.stack([frame.to_unit(view.camera.cam_from_world) for view in views])
        self.cam_from_unit = torch.tensor(poses, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the photos and cameras lie."""
        return self.images.device

    def to(self, device: torch.device | str) -> PhotoSet:
        """The same photos on another device; itself where they lie there already."""
        if self.device == torch.device(device):
            return self
        other = object.__new__(PhotoSet)
        other.names = self.names
        other.images, other.K = self.images.to(device), self.K.to(device)
        other.masks = None if self.masks is None else self.masks.to(device)
        other.cam_from_unit = self.cam_from_unit.to(device)
        other.seen = None if self.seen is None else self.seen.to(device)
        return other

    def reduced(self, factor: int) -> PhotoSet:
        """The same views with photos averaged over ``factor`` x ``factor`` pixels (the last rows may be dropped)."""
        if factor == 1:
            return self
        other = object.__new__(PhotoSet)
        other.names, other.cam_from_unit, other.seen = self.names, self.cam_from_unit, self.seen
        other.images = torch.stack([_pooled(image, factor) for image in self.images])
        other.masks = None
        if self.masks is not None:
            other.masks = torch.stack([_pooled(mask[..., None], factor)[..., 0] for mask in self.masks])
        other.K = self.K.clone()
        other.K[:, :2] /= factor
        return other

    def grey(self) -> Tensor:
        """Luma (V, H, W) in [0, 1]."""
        luma = torch.tensor(LUMA, device=self.device)
        return torch.stack([(image.float() @ luma) / 255 for image in self.images])

    def pixels(self, views: Tensor, pixels: Tensor) -> Tensor:
        """Colours (N, 3) in [0, 1] of whole pixels (N, 2) (column, row) of views (N,)."""
        return self.images[views, pixels[:, 1], pixels[:, 0]].float() / 255


# Views farther apart than this see little in common; the nearest few stay whatever their angle.
LEAST_LIKENESS, ALWAYS_NEAR = 0.45, 3

Ranking = list[Tensor]
"""For each view the numbers of others, on the CPU whatever the photos' device: the host looks views up by them."""


def neighbours(photos: PhotoSet) -> Ranking:
    """For each view the others that see much in common with it, most alike first."""
    likeness = view_likeness(photos.cam_from_unit, photos.cam_from_unit).fill_diagonal_(float("inf"))
    return [row[1:] for row in _ranked(likeness, ALWAYS_NEAR + 1)]


def nearest_views(cam_from_unit: Tensor, photos: PhotoSet, at_least: int = ALWAYS_NEAR) -> Ranking:
    """For other cameras (M, 3, 4), the views of ``photos`` that see much in common with them, most alike first; never
    fewer than ``at_least`` where there are so many."""
    return _ranked(view_likeness(cam_from_unit.to(photos.device), photos.cam_from_unit), at_least)


def _ranked(likeness: Tensor, at_least: int) -> Ranking:
    likeness = likeness.cpu()
    order = likeness.argsort(dim=1, descending=True, stable=True)
    useful = (likeness >= 2 * LEAST_LIKENESS).sum(1).clamp_min(at_least)
    return [row[:n] for row, n in zip(order, useful.tolist(), strict=True)]


def camera_centres(cam_from_unit: Tensor) -> Tensor:
    """Where cameras (V, 3, 4) stand in the unit frame: (V, 3)."""
    return -torch.einsum("vji,vj->vi", cam_from_unit[:, :, :3], cam_from_unit[:, :, 3])


def view_likeness(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the cosines between the directions from the box's centre to the cameras and between the optical axes, so
    that it serves rings as well as facades: (A, 3, 4), (B, 3, 4) -> (A, B)."""
    towards = [F.normalize(camera_centres(poses), dim=-1) for poses in (a, b)]
    return towards[0] @ towards[1].T + a[:, 2, :3] @ b[:, 2, :3].T


def background_of(scene, photos: PhotoSet) -> Tensor | None:
    """Colour (3,) behind the object: the scene's, white where there are masks, else what the photos' borders agree on;
    None where that is nothing."""
    known = scene.background or ((1.0, 1.0, 1.0) if photos.masks is not None else None)
    return border_colour(photos) if known is None else torch.tensor(known, device=photos.device)


def border_colour(photos: PhotoSet, tolerance: float = BARE, share: float = 0.85) -> Tensor | None:
    """Colour (3,) of a uniform background: what ``share`` of all border pixels agree on to ``tolerance``, else None."""
    images = photos.images
    border = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1).float().reshape(-1, 3) / 255
    colour = border.median(0).values
    close = ((border - colour).abs().amax(-1) < tolerance).float().mean()
    return colour if close >= share else None


def shows(colours: Tensor, background: Tensor, tolerance: float = BARE) -> Tensor:
    """Whether colours (..., 3) in [0, 1] differ from that of a uniform background (3,): (...) bool."""
    return (colours - background).abs().amax(-1) > tolerance


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[:2] == (height, width):
        return image
    x = image.permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return x[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _pooled(image: Tensor, factor: int) -> Tensor:
    x = F.avg_pool2d(image.permute(2, 0, 1)[None].float(), factor)
    return x[0].permute(1, 2, 0).round().to(torch.uint8)
