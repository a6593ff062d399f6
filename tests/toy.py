"""A textured ball in the unit frame: its photos, masks, depths and density are known in closed form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uner3d.cloud.surface import SurfaceMaps, raster_rays
from uner3d.config import Config
from uner3d.data.scene import Camera
from uner3d.model.field import Sources
from uner3d.train.photos import PhotoSet, UnitFrame

RADIUS = 0.6
UNIT_BOX = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


@dataclass
class MemoryView:
    """A view whose photo lies in memory."""

    name: str
    camera: Camera
    pixels: np.ndarray
    coverage: np.ndarray | None = None

    def image(self) -> np.ndarray:
        return self.pixels

    def mask(self) -> np.ndarray | None:
        return self.coverage


def look_at_origin(center) -> np.ndarray:
    """cam_from_world (3, 4) of a camera at ``center`` that looks at the origin, y downwards."""
    center = np.asarray(center, dtype=np.float64)
    z = -center / np.linalg.norm(center)
    x = np.cross(z, [0.0, 1.0, 0.0])
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    return np.concatenate([rotation, -(rotation @ center)[:, None]], 1)


def ring(n_views: int, distance: float = 3.5, height: float = 0.8, arc: float = 2 * np.pi) -> list[np.ndarray]:
    """Poses around the vertical axis."""
    angles = np.arange(n_views) / n_views * arc
    flat = np.sqrt(distance**2 - height**2)
    return [look_at_origin([flat * np.sin(a), height, flat * np.cos(a)]) for a in angles]


def pinhole(width: int, height: int, focal: float) -> np.ndarray:
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def texture(x: Tensor) -> Tensor:
    """Smooth colours (..., 3) in [0.1, 0.7] that no two places of the ball share nearby."""
    phase = torch.stack([x @ torch.tensor(v) for v in ([7.0, 3.0, 5.0], [-4.0, 8.0, 2.0], [3.0, -6.0, 7.0])], -1)
    return 0.4 + 0.3 * torch.sin(2 * phase)


def ball_depth(K: Tensor, pose: Tensor, height: int, width: int, radius: float = RADIUS) -> tuple[Tensor, Tensor]:
    """z-depth (h, w), 0 beside the ball, and the points (h, w, 3)."""
    origins, directions = raster_rays(K, pose, height, width)
    a = directions.square().sum(-1)
    b = (origins * directions).sum(-1)
    under = b.square() - a * (origins.square().sum(-1) - radius**2)
    t = torch.where(under > 0, (-b - under.clamp_min(0).sqrt()) / a, torch.zeros_like(b))
    return t.view(height, width), (origins + t[:, None] * directions).view(height, width, 3)


def ball_photos(n_views: int = 6, width: int = 64, height: int = 48, focal: float = 90.0, masks: bool = True,
                poses: list[np.ndarray] | None = None) -> PhotoSet:  # fmt: skip
    """Photos of the ball before white."""
    K = pinhole(width, height, focal)
    views = []
    for number, pose in enumerate(poses if poses is not None else ring(n_views)):
        depth, x = ball_depth(torch.tensor(K).float(), torch.tensor(pose).float(), height, width)
        hit = depth > 0
        colour = torch.where(hit[..., None], texture(x), torch.ones(3))
        pixels = (colour * 255 + 0.5).to(torch.uint8).numpy()
        coverage = (hit * 255).to(torch.uint8).numpy() if masks else None
        views.append(MemoryView(f"{number:03d}", Camera(K, pose, width, height), pixels, coverage))
    return PhotoSet(views, UnitFrame(UNIT_BOX))


def ball_maps(photos: PhotoSet, stride: int = 1, radius: float = RADIUS) -> SurfaceMaps:
    """The exact surface as every view sees it."""
    height, width = photos.size[0] // stride, photos.size[1] // stride
    K = photos.K.clone()
    K[:, :2] /= stride
    depth = [ball_depth(K[v], photos.cam_from_unit[v], height, width, radius)[0] for v in range(len(photos))]
    return SurfaceMaps(torch.stack(depth), K, photos.cam_from_unit, stride)


def random_sources(n_views: int, channels: int = 5, seed: int = 0, arc: float = 2 * np.pi) -> Sources:
    """Sources with random maps at half the resolution of random photos."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(n_views, 12, 16, channels, generator=generator)
    images = torch.rand(n_views, 24, 32, 3, generator=generator)
    K = torch.tensor(pinhole(32, 24, 40.0)).float().repeat(n_views, 1, 1)
    half = torch.tensor([0.5, 0.5, 1.0])
    poses = torch.tensor(np.stack(ring(n_views, arc=arc))).float()
    return Sources(maps, images, K * half[:, None], K, poses)


class BallField:
    """A ball of constant density and colour; the sources are ignored."""

    def __init__(self, density: float = 200.0, radius: float = RADIUS, colour=(0.2, 0.5, 0.8)) -> None:
        self.value, self.radius, self.rgb = density, radius, torch.tensor(colour)

    def density(self, x: Tensor, rays: Tensor, sources, window: float) -> tuple[Tensor, Tensor]:
        return self.value * (x.norm(dim=-1) < self.radius).float(), torch.zeros(len(x), 1)

    def colour(self, x: Tensor, rays: Tensor, code: Tensor, sources) -> Tensor:
        return self.rgb.expand(len(x), 3)


def write_ball_scene(folder: Path, n_views: int = 5, width: int = 40, height: int = 30, radius: float = RADIUS) -> Path:
    """A folder with photos of the ball, as `load_scene` reads it; the alpha channel is the mask."""
    K = pinhole(width, height, 1.4 * width)
    content = {"fl_x": K[0, 0], "cx": K[0, 2], "cy": K[1, 2], "w": width, "h": height, "frames": []}
    folder.mkdir(parents=True)
    for number, pose in enumerate(ring(n_views)):
        depth, x = ball_depth(torch.tensor(K).float(), torch.tensor(pose).float(), height, width, radius)
        pixels = torch.cat([texture(x), (depth > 0)[..., None].float()], -1).clamp(0, 1) * 255 + 0.5
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{number:03d}.png")
        world_from_cam = np.linalg.inv(np.concatenate([pose, [[0.0, 0.0, 0.0, 1.0]]]))
        matrix = world_from_cam * [1.0, -1.0, -1.0, 1.0]  # the y and z axes of OpenGL
        content["frames"].append({"file_path": f"{number:03d}.png", "transform_matrix": matrix.tolist()})
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def small_config(**overrides) -> Config:
    """4 steps of next to nothing."""
    values = dict(steps=[2, 2], rays=32, samples=4, sources=2, octaves=3, grid=16, prior_loss=0.0, geometric_loss=0.0,
                  idw_loss=0.0, precision="float32", device="cpu")  # fmt: skip
    return Config(**(values | overrides))
