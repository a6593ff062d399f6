"""One step of training across scenes: which photos condition, which is to be predicted, and how wrong it is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from uner3d.device import upload
from uner3d.model.build import Model
from uner3d.render.fill import fill_grid
from uner3d.render.grid import DensityGrid
from uner3d.render.image import mean_colour
from uner3d.render.renderer import RenderSettings, render_rays

from . import losses
from .batch import Batch, draw_batch
from .photos import view_likeness
from .scene_stream import TrainingScene
from .trainer import PATCH

MOST_VIEWS = 8
RECOLOURED = 0.5  # of the masked scenes get another colour behind the object, so that white does not come to mean empty
TERMS = ("colour", "dssim", "mask", "distortion", "mse")


@dataclass
class StepSettings:
    """rays of a step and samples inside and outside the box; cells of the grid; open octaves; weights of the losses."""

    rays: int = 512
    samples: int = 32
    samples_outside: int = 16
    grid: int = 24
    window: int = 2
    dssim_loss: float = 0.2
    mask_loss: float = 0.2
    distortion_loss: float = 0.01


@dataclass
class Task:
    """Photos (V, H, W, 3) in [0, 1] with K (V, 3, 3) and poses (V, 3, 4) of the sources, rays of the target with its
    centre (3,), half edges (3,) of the box, the background (3,) or None; all in one, turned, unit frame."""

    images: Tensor
    K: Tensor
    cam_from_unit: Tensor
    batch: Batch
    centre: Tensor
    extent: Tensor
    background: Tensor | None
    seed: int

    def to(self, device: torch.device) -> Task:
        """The same on another device."""
        moved = replace(self, batch=replace(self.batch))
        for part in (moved, moved.batch):
            for f in fields(part):
                value = getattr(part, f.name)
                if isinstance(value, Tensor):
                    setattr(part, f.name, upload(value, device))
        return moved


def cube_rotations() -> Tensor:
    """The 24 rotations (24, 3, 3) that map the axes onto axes: a box stays one. What is learnt across scenes must not
    depend on which axis points up."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            matrix[range(3), order] = torch.tensor(signs)
            if torch.linalg.det(matrix) > 0:
                turns.append(matrix)
    return torch.stack(turns)


def draw_task(scene: TrainingScene, settings: StepSettings, generator: torch.Generator, device: torch.device) -> Task:
    """A random view to predict, 1 to MOST_VIEWS others to predict it from, and rays of it."""
    photos = scene.photos
    target, sources = draw_views(photos.cam_from_unit, generator)
    turn = cube_rotations()[int(torch.randint(24, (), generator=generator))]
    poses = photos.cam_from_unit[sources]
    poses = torch.cat([poses[:, :, :3] @ turn.T, poses[:, :, 3:]], -1)
    batch = draw_batch(photos, torch.tensor([target]), settings.rays, PATCH, generator, scene.background)
    images, background = photos.images[sources].float() / 255, scene.background
    if photos.masks is not None and batch.masks is not None and background is not None:
        change = torch.rand(3, generator=generator) - background
        change *= float(torch.rand((), generator=generator) < RECOLOURED)
        images = images + (1 - photos.masks[sources].float() / 255)[..., None] * change
        batch.colours = batch.colours + (1 - batch.masks)[:, None] * change
        background = background + change
    seed = int(torch.randint(2**31, (), generator=generator))
    batch.origins, batch.directions = batch.origins @ turn.T, batch.directions @ turn.T
    extent = (turn @ scene.extent).abs()
    return Task(images, photos.K[sources], poses, batch, batch.origins[0], extent, background, seed).to(device)


def draw_views(cam_from_unit: Tensor, generator: torch.Generator) -> tuple[int, Tensor]:
    """A target and its sources (n,), 1 to MOST_VIEWS of the other views: n random ones of the m that are most like the
    target, both numbers random, so that near and far sources, few and many, all occur. n is drawn in proportion to
    1 / n: with few photos most has to be guessed, and guessing takes longest to learn."""
    n_views = len(cam_from_unit)
    target = int(torch.randint(n_views, (), generator=generator))
    order = view_likeness(cam_from_unit[target, None], cam_from_unit)[0].argsort(descending=True, stable=True)
    others = order[order != target]
    shares = 1.0 / torch.arange(1, min(MOST_VIEWS, len(others)) + 1)
    n = 1 + int(torch.multinomial(shares, 1, generator=generator))
    m = int(torch.randint(n, len(others) + 1, (), generator=generator))
    return target, others[torch.randperm(m, generator=generator)[:n]]


class PredictView(nn.Module):
    """From a task to its loss terms: a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: Model, settings: StepSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, task: Task) -> Tensor:
        """Terms (len(TERMS),), weighted; the last is the squared error, which nothing is to be learnt from."""
        s, field, device = self.settings, self.model.field, task.extent.device
        generator = torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(task.seed)
        sources = self.model.encode(task.images, task.K, task.cam_from_unit)
        grid = DensityGrid(s.grid, task.extent, None, task.background is None)
        fill_grid(grid, field, [(sources, task.centre)], s.window, generator)
        outside = s.samples_outside if task.background is None else 0
        settings = RenderSettings(s.samples, outside, 0.4, task.background, s.window, device.type != "cpu",
                                  mean_colour(task.images))  # fmt: skip
        batch = task.batch
        seen = render_rays(field, sources, grid, batch.origins, batch.directions, settings, generator)
        weights, edges = seen.weights[:, : s.samples], seen.edges[:, : s.samples + 1]
        mask = losses.mask_loss(seen.opacity, batch.masks) if batch.masks is not None else seen.opacity.sum() * 0
        return torch.stack([
            losses.charbonnier(seen.colour, batch.colours),
            s.dssim_loss * losses.dssim(seen.colour, batch.colours, PATCH),
            s.mask_loss * mask,
            s.distortion_loss * losses.distortion(weights, edges),
            (seen.colour.detach() - batch.colours).square().mean(),
        ])  # fmt: skip
