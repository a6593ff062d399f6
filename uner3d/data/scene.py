"""What every reader delivers: `Camera`, `View` and `Scene`, all in the conventions of the project.

Cameras are pinholes in the OpenCV convention (x right, y down, z forward); pixel (row i, column j) has its centre at
(j + 0.5, i + 0.5). Lens distortion is removed when a photo is read, so `View.camera` is exact for `View.image()`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from . import photo
from .errors import SceneError

__all__ = ["Camera", "Scene", "SceneError", "View"]


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    K (3, 3) float64, in pixels; cam_from_world (3, 4) float64, a rotation and a translation: a point x of the world is
    projected by `K (R x + t)`. width and height in pixels.
    """

    K: np.ndarray
    cam_from_world: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, shape in (("K", (3, 3)), ("cam_from_world", (3, 4))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"Camera.{name} must have shape {shape}, got {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name in ("width", "height"):
            size = getattr(self, name)
            if int(size) != size or size < 1:
                raise ValueError(f"Camera.{name} must be a whole number of pixels >= 1, got {size}")
            object.__setattr__(self, name, int(size))

    @property
    def center(self) -> np.ndarray:
        """Optical centre in the world, (3,)."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]

    @property
    def world_from_cam(self) -> np.ndarray:
        """The inverse of cam_from_world, (3, 4)."""
        return np.concatenate([self.cam_from_world[:, :3].T, self.center[:, None]], axis=1)

    def scaled(self, factor: float) -> Camera:
        """This camera for a photo reduced by `factor` (2 halves width and height; below 1 enlarges).

        The size is rounded to whole pixels and K follows the exact ratio of new to old size, axis by axis. Since pixel
        centres lie at +0.5 no other term is needed.
        """
        if not factor > 0:
            raise ValueError(f"Camera.scaled: factor must be > 0, got {factor}")
        width = max(1, round(self.width / factor))
        height = max(1, round(self.height / factor))
        ratio = np.array([[width / self.width], [height / self.height], [1.0]])
        return Camera(self.K * ratio, self.cam_from_world, width, height)

    def project(self, xyz_in_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths along the optical axis (N,) of points (N, 3); pixels are void where depth <= 0."""
        xyz_in_cam = xyz_in_world @ self.cam_from_world[:, :3].T + self.cam_from_world[:, 3]
        depth = xyz_in_cam[:, 2]
        safe = np.where(depth > 0, depth, 1.0)
        return (xyz_in_cam @ self.K.T)[:, :2] / safe[:, None], depth


@dataclass(frozen=True, eq=False)
class View:
    """One photo with its camera. Pixels are read from the files each time they are asked for, never kept.

    camera: the pinhole of `image()`: working resolution, distortion removed. image_path, mask_path: the files.
    photo_camera: the camera of the file itself (full resolution; its K is the one that the distortion belongs to).
    distortion: Brown coefficients (k1, k2, k3, k4, p1, p2), or None. use_mask: whether `mask()` is in use.
    """

    name: str
    camera: Camera
    image_path: Path
    mask_path: Path | None = None
    photo_camera: Camera | None = None
    distortion: tuple[float, ...] | None = None
    use_mask: bool = False

    def image(self) -> np.ndarray:
        """The photo, uint8 (height, width, 3).

        Transparent photos are composited on white always; photos with a mask file only where masks are in use.
        """
        return self._render(photo.read_colour(self.image_path, self.mask_path if self.use_mask else None))

    def mask(self) -> np.ndarray | None:
        """How much of each pixel the object covers, uint8 (height, width), 0 to 255; None without masks in use."""
        if not self.use_mask:
            return None
        return self._render(photo.read_mask(self.image_path, self.mask_path))

    def _render(self, pixels: np.ndarray) -> np.ndarray:
        original = self.photo_camera
        if self.distortion is not None and original is not None:
            pixels = photo.undistort(pixels, original.K, self.distortion)
        return photo.area_resize(pixels, self.camera.width, self.camera.height)


@dataclass(frozen=True, eq=False)
class Scene:
    """Posed photos and the region to reconstruct, in the user's own world frame and units.

    views: for training. test_views: never trained on (the set's own test split, or every K-th photo).
    box (2, 3) float64: lower and upper corner in the world; box_source says where it comes from: "given", "masks",
    "points" or "cameras". background: the colour behind the object where masks are in use, else None.
    sparse_points (P, 3) float64, where the set has them. warnings: what was tolerated, a sentence each. chosen: the
    numbers of the views among all training photos, where not all of them are kept.
    """

    path: Path
    format: str
    views: list[View]
    test_views: list[View]
    box: np.ndarray
    box_source: str
    background: tuple[float, float, float] | None = None
    sparse_points: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)
    chosen: list[int] | None = None

    @cached_property
    def has_masks(self) -> bool:
        """Whether every training view has a mask in use."""
        return bool(self.views) and all(view.use_mask for view in self.views)
