"""The fit: photos in, a trained model and its density grid out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from uner3d import ops
from uner3d.config import Config
from uner3d.device import upload
from uner3d.model.build import Model
from uner3d.model.feature_cache import FeatureCache
from uner3d.render.grid import DensityGrid
from uner3d.render.renderer import Rendering, RenderSettings, pixel_rays, render_rays

from . import losses
from .batch import Batch, draw_batch, draw_group, draw_true
from .optimizers import make_optimizers, prepare_optimizers
from .photos import PhotoSet
from .prior import prior_loss
from .schedule import Schedule, Stage
from .step_graphs import StepGraphs, StepInputs, StepResult
from .weights import start_model
from .world import World

PATCH = 4
GEOMETRIC_GATE = 3.0  # pixels
LEAST_OPAQUE = 8  # rays of a batch that must meet a surface before the geometric loss counts
PRIOR_DENSITY = 20.0  # of the grid where matching has found a surface, so that samples go there
TIGHTEN_FROM = 80  # steps after which the grid knows which cells are empty
TIGHTEN_EVERY = 16


@dataclass
class Trainer:
    """Holds the state of a fit; ``run_group`` advances it by the steps that share one encoding of the sources.

    A step never waits for a GPU: no shape in it depends on values there, and what it reports stays there. Two streams
    of random numbers: ``host_generator`` chooses views, ``generator`` draws all else on the device. On the CPU both
    are one.
    """

    config: Config
    world: World
    model: Model
    grid: DensityGrid
    generator: torch.Generator
    host_generator: torch.Generator
    step: int = 0
    cloud: tuple[ops.KnnIndex, Tensor] | None = None
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    graphs: StepGraphs | None = None

    @staticmethod
    def create(config: Config, world: World, trunk_cache: FeatureCache | None = None,
               read_weights: bool = True) -> Trainer:  # fmt: skip
        """A fresh trainer, its weights drawn from the seed and, with ``read_weights``, the encoder's from their file;
        one with the same seed may share its trunk's features."""
        torch.manual_seed(config.seed)
        model = start_model(config, trunk_cache, read_weights).to(world.device)
        grid = DensityGrid(config.grid, world.extent, world.allowed, world.outside)
        if world.prior is not None:
            points = world.prior.points(world.photos[world.prior.reduction])
            grid.update(points, torch.full((len(points),), PRIOR_DENSITY, device=world.device))
        generator = host_generator = torch.Generator().manual_seed(config.seed)
        graphs = None
        if world.device.type == "cuda":
            generator = torch.Generator(world.device).manual_seed(config.seed)
            graphs = StepGraphs(generator, config.octaves) if config.replay_steps else None
        optimizers = make_optimizers(config, model)
        return Trainer(config, world, model, grid, generator, host_generator, optimizers=optimizers, graphs=graphs)

    def settings(self, stage: Stage) -> RenderSettings:
        """How training rays are rendered at a stage."""
        outside = self.config.samples_outside if self.world.outside else 0
        return RenderSettings(self.config.samples, outside, stage.uniform, self.world.background, stage.window,
                              fixed_shapes=self.world.device.type != "cpu")  # fmt: skip

    def run_group(self, schedule: Schedule, n_steps: int) -> dict[str, Tensor]:
        """Run up to ``reuse_maps`` steps on one encoding; the encoder steps once, on their summed gradient.

        ``n_steps`` is at least 1. Returns the mean of each loss term and of the squared error, float64 scalars on the
        device.
        """
        stage = schedule.at(self.step)
        photos = self.world.photos[stage.reduction]
        group = draw_group(self.world.ranking, self.config.sources, self.host_generator)
        targets = upload(group.targets, self.world.device)
        prepare_optimizers(self.optimizers, stage.rate, stage.density_rate)
        if not stage.encoder_learns:
            self.model.freeze_encoder()
        encoded = self.model.encode_views(photos, group.sources)
        shared = encoded.detached() if encoded.maps.requires_grad else encoded
        if self.step >= TIGHTEN_FROM and self.step % TIGHTEN_EVERY < self.config.reuse_maps:
            self.grid.tighten()
        active = self.active_terms(stage, len(targets))
        if "idw" in active and self.cloud is None:
            self.cloud = self.generate_points(photos, stage)
        inputs = StepInputs(photos, targets, shared, stage, active)
        used, run = self.graphs.begin(inputs, self.run_step) if self.graphs else (shared, lambda: self.run_step(inputs))
        count = min(self.config.reuse_maps, n_steps)
        totals = torch.zeros((), dtype=torch.float64, device=targets.device)
        for _ in range(count):
            names, values = run()
            totals = totals + values.double() / count
            self.step += 1
        if encoded.maps.requires_grad and used.maps.grad is not None:
            encoded.maps.backward(used.maps.grad / count)
            self.optimizers[1].step()
        return dict(zip(names, totals.unbind(), strict=True))

    def run_step(self, inputs: StepInputs) -> StepResult:
        """One step of the field: its loss terms and squared error, names and values (n,) on the device."""
        self.optimizers[0].zero_grad()
        terms, mse = self.losses(inputs)
        values = torch.stack(list(terms.values()))
        values.sum().backward()
        self.optimizers[0].step()
        return (*terms, "mse"), torch.cat([values.detach(), mse[None]])

    def active_terms(self, stage: Stage, n_targets: int) -> frozenset[str]:
        """Names of the loss terms that count at a stage."""
        c, world = self.config, self.world
        weights = {
            "dssim": c.dssim_loss,
            "mask": c.mask_loss * (world.photos[stage.reduction].masks is not None),
            "distortion": c.distortion_loss,
            "prior": c.prior_loss * (world.prior is not None),
            "geometric": c.geometric_loss * float(stage.geometric) * (n_targets > 1),
            "idw": c.idw_loss * stage.idw,
        }
        return frozenset({"colour"} | {name for name, weight in weights.items() if weight > 0})

    def losses(self, inputs: StepInputs) -> tuple[dict[str, Tensor], Tensor]:
        """One step's loss terms, already weighted, on rays of the target views; and the mean squared error."""
        c, stage, active, n_inside = self.config, inputs.stage, inputs.active, self.config.samples
        batch = draw_batch(inputs.photos, inputs.targets, c.rays, PATCH, self.generator, self.world.background)
        rendering = render_rays(self.model.field, inputs.sources, self.grid, batch.origins, batch.directions,
                                self.settings(stage), self.generator)  # fmt: skip
        self.observe(rendering)
        weights, edges = rendering.weights[:, :n_inside], rendering.edges[:, : n_inside + 1]
        terms = {"colour": losses.charbonnier(rendering.colour, batch.colours)}
        if "dssim" in active:
            terms["dssim"] = c.dssim_loss * losses.dssim(rendering.colour, batch.colours, PATCH)
        if "mask" in active and batch.masks is not None:
            terms["mask"] = c.mask_loss * losses.mask_loss(rendering.opacity, batch.masks)
        if "distortion" in active:
            terms["distortion"] = c.distortion_loss * losses.distortion(weights, edges)
        if "prior" in active and self.world.prior is not None:
            depth, weight = self.world.prior.at(batch.views, batch.pixels, stage.reduction)
            terms["prior"] = c.prior_loss * prior_loss(weights, edges, depth, weight, stage.prior_width)
        if "geometric" in active:
            terms["geometric"] = c.geometric_loss * stage.geometric * self.geometric(inputs, batch, rendering)
        if "idw" in active:
            terms["idw"] = c.idw_loss * self.idw(batch, rendering)
        return terms, (rendering.colour.detach() - batch.colours).square().mean()

    def observe(self, rendering: Rendering) -> None:
        """Let the density grid follow the samples that were just evaluated."""
        n_inside = self.config.samples
        points = rendering.points[:, :n_inside].reshape(-1, 3)
        sigma = rendering.sigma.detach()
        self.grid.update(points, sigma[:, :n_inside].reshape(-1))
        self.grid.update_outside(rendering.points[:, n_inside:].reshape(-1, 3), sigma[:, n_inside:].reshape(-1))

    def geometric(self, inputs: StepInputs, batch: Batch, rendering: Rendering) -> Tensor:
        """Depths of two target views must carry a pixel forth and back to where it was (reprojection, gated)."""
        photos, targets = inputs.photos, inputs.targets
        opaque = rendering.opacity.detach() > 0.6
        enough = opaque.sum() >= LEAST_OPAQUE
        if enough.device.type == "cpu" and not enough:  # a GPU goes on and drops the result: asking would be waiting
            return rendering.depth.sum() * 0.0
        ray = draw_true(opaque, self.config.geometric_rays, self.generator)
        views = batch.views[ray]
        other = torch.randint(len(targets), (len(ray),), generator=self.generator, device=ray.device)
        other = torch.where(targets[other] == views, (other + 1) % len(targets), other)
        other = targets[other]
        x = batch.origins[ray] + rendering.depth[ray, None] * batch.directions[ray]
        pixel, depth = losses.project(photos.K[other], photos.cam_from_unit[other], x)
        height, width = photos.size
        inside = enough & (depth.detach() > 0) & (pixel.detach() >= 0.5).all(-1)
        inside &= (pixel.detach()[:, 0] < width - 0.5) & (pixel.detach()[:, 1] < height - 0.5)
        origins, directions = pixel_rays(photos.K[other], photos.cam_from_unit[other], pixel.detach())
        seen = render_rays(self.model.field, inputs.sources, self.grid, origins, directions,
                           self.settings(inputs.stage), self.generator, with_colour=False)  # fmt: skip
        y = origins + seen.depth[:, None] * directions
        back, back_depth = losses.project(photos.K[views], photos.cam_from_unit[views], y)
        valid = inside & (seen.opacity.detach() > 0.6) & (back_depth.detach() > 0)
        return losses.reprojection(batch.pixels[ray] + 0.5, back, valid, GEOMETRIC_GATE)

    def idw(self, batch: Batch, rendering: Rendering) -> Tensor:
        """Colour of the generated points nearest the rendered surface, against the photo."""
        if self.cloud is None:
            raise ValueError("cloud: expected the points of generate_points, got None")
        opaque = (rendering.opacity.detach() > 0.5).float()
        x = batch.origins + rendering.depth[:, None] * batch.directions
        return losses.idw_colour(self.cloud[0], self.cloud[1], x, batch.colours, opaque)

    @torch.no_grad()
    def generate_points(self, photos: PhotoSet, stage: Stage, per_view: int = 1500) -> tuple[ops.KnnIndex, Tensor]:
        """A sparse cloud of the present surface: random rays of every view, with the photo's colours."""
        points, colours = [], []
        for view in range(len(photos)):
            sources = self.model.encode_views(photos, self.world.ranking[view][: self.config.sources])
            target = torch.full((1,), view, device=self.world.device)
            batch = draw_batch(photos, target, per_view, 1, self.generator, self.world.background)
            seen = render_rays(self.model.field, sources, self.grid, batch.origins, batch.directions,
                               self.settings(stage), None, with_colour=False)  # fmt: skip
            x = batch.origins + seen.depth[:, None] * batch.directions
            keep = (seen.opacity > 0.5) & (x.abs() <= self.world.extent).all(-1)
            points.append(x[keep])
            colours.append(batch.colours[keep])
        if sum(map(len, points)) == 0:
            points = colours = [torch.zeros(1, 3, device=self.world.device)]
        return ops.KnnIndex(torch.cat(points)), torch.cat(colours)
