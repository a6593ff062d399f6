"""The Python API: load, fit, generate; and what the command line shares with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from uner3d.cloud.agree import Agreed, agree
from uner3d.cloud.generate import CloudResult, write_cloud
from uner3d.cloud.ply import Cloud, read_ply
from uner3d.cloud.refine import refine_surfaces
from uner3d.cloud.surface import SurfaceMaps, render_surfaces
from uner3d.cloud.surface_file import read_surfaces, write_surfaces
from uner3d.config import Config, preset_config
from uner3d.data import load_scene
from uner3d.device import resolve_device
from uner3d.model.build import Model
from uner3d.render.grid import DensityGrid
from uner3d.render.image import mean_colour
from uner3d.render.renderer import RenderSettings
from uner3d.train.checkpoint import check_own_folder, load_run_config, load_scene_record
from uner3d.train.fit import before_training, prepare, return_free_memory
from uner3d.train.fit import fit as fit_world
from uner3d.train.photos import PhotoSet, SeenDepths, UnitFrame
from uner3d.train.resume import check_scene
from uner3d.train.tensor_file import load_model, read_tensors
from uner3d.train.untrained import is_untrained, untrained_config
from uner3d.train.world import World

Progress = Callable[[float], None]


@dataclass
class Fitted:
    """A trained field together with the photos that condition it.

    config, model, grid: what training made; world, frame: the scene as the model sees it; run: its folder. Model, grid
    and world lie on one device, where the field is evaluated.
    """

    config: Config
    model: Model
    grid: DensityGrid
    world: World
    frame: UnitFrame
    run: Path

    @property
    def photos(self) -> PhotoSet:
        """The training photos at the working resolution."""
        return self.world.photos[1]

    @cached_property
    def host(self) -> World:
        """The world on the CPU, where surfaces are compared and sampled; the same one for a fit on the CPU."""
        return self.world.to("cpu")

    def settings(self) -> RenderSettings:
        """How finished images are rendered."""
        outside = self.config.samples_outside if self.world.outside else 0
        return RenderSettings(self.config.samples, outside, 0.1, self.world.background, float(self.config.octaves),
                              unseen=self._unseen)  # fmt: skip

    @cached_property
    def _unseen(self) -> Tensor | None:
        """Colour (3,) of what no photo shows: a fit sees to it that they leave nothing out, a field that was never
        fitted is asked for it."""
        return mean_colour(self.photos.images) / 255 if is_untrained(self.config) else None


def fit(scene, preset: str = "base", *, run: Path | str | None = None, resume: bool = False,
        config: Config | None = None, deadline: float | Callable[[World], float] | None = None,
        progress: Callable[[int, int, dict[str, float]], None] | None = None,
        **settings: Any) -> Fitted:  # fmt: skip
    """Fit a field to a scene's photos.

    Args:
        scene: from :func:`load_scene`.
        preset: "quick", "base", "high" or "paper"; any field of Config can be given as a keyword.
        run: folder for checkpoints and logs (default: a temporary one). An earlier run in it is replaced when training
            begins.
        resume: go on from what ``run`` holds, with its settings but for ``device``, which is the one given now.
        deadline: time.monotonic() by which the steps should be done, or a function of the prepared photos that says
            it; overrides ``minutes``.

    Raises:
        Interrupted: after Ctrl-C, with everything saved; KeyboardInterrupt where it came before the first step.
        ValueError: the run to go on with began with other photos, or its files are damaged; ``run`` is the scene's.
        RuntimeError: ``device`` asks for CUDA, which cannot be used here; the message says why.
    """
    device = resolve_device(config.device if config else settings.get("device") or "auto")
    run = Path(run) if run is not None else Path(tempfile.mkdtemp(prefix="uner3d-"))
    run.mkdir(parents=True, exist_ok=True)
    if resume:
        config = load_run_config(run)
        check_scene(run, scene)
    else:
        check_own_folder(run, scene.path)
    config = config or preset_config(preset, **settings)
    if len(scene.views) < 2 and not is_untrained(config):
        raise ValueError(f"{scene.path}: expected at least 2 photos to fit to, got {len(scene.views)}")
    config.views = scene.chosen if scene.chosen is not None else config.views
    config.device = str(device)
    with before_training():
        world, frame = prepare(scene, config, device)
    record = {
        "path": str(Path(scene.path).resolve()), "format": scene.format, "box": scene.box.tolist(),
        "box_source": scene.box_source, "views": [view.name for view in scene.views],
    }  # fmt: skip
    if callable(deadline):
        deadline = deadline(world)
    trainer = fit_world(world, config, run, deadline=deadline, resume=resume, scene=record, progress=progress)
    return Fitted(config, trainer.model, trainer.grid, world, frame, run)


def load_fitted(run: Path | str, scene=None, device: str = "auto") -> Fitted:
    """A fitted field from its run folder; the photos are read again from where they lay (or from ``scene``).

    ``device`` (auto, cpu, cuda or cuda:N) is where it is evaluated, wherever it was fitted.
    """
    place = resolve_device(device)
    run = Path(run)
    config = load_run_config(run)
    scene = scene or load_run_scene(run, config)
    world, frame = prepare(scene, config, place)
    tensors, _ = read_tensors(run / "model.safetensors")
    model = Model(config, read_weights=False)
    grid = DensityGrid(config.grid, world.extent, None, world.outside)
    grid.load_state(tensors)
    if "seen.depth" in tensors:
        world.show(SeenDepths(tensors.pop("seen.depth"), tensors.pop("seen.K")).to(place))
    load_model(model, tensors, run / "model.safetensors")
    model.freeze_encoder()
    return Fitted(config, model.to(place).eval(), grid, world, frame, run)


def load_run_scene(run: Path, config: Config):
    """The scene that a run was trained on, with the box it had then."""
    saved = load_scene_record(run)
    scene = load_config_scene(saved["path"], config, saved["box"])
    check_scene(run, scene)
    return scene


def load_config_scene(path: Path | str, config: Config, box: Any = None):
    """The scene as the settings of a run have it: photos, split, masks; ``box`` where theirs is not to be used."""
    return load_scene(path, downscale=config.downscale, holdout=config.holdout, masks=config.masks,
                      box=config.box if box is None else box, chosen=config.views,
                      least_views=1 if is_untrained(config) else 2)  # fmt: skip


def predict(scene, weights: Path | str = "default", *, run: Path | str | None = None, **settings: Any) -> Fitted:
    """A field for a scene without fitting it: weights trained across scenes, conditioned on the scene's photos (one is
    enough). Takes seconds.

    Args:
        scene: from :func:`load_scene`, with ``chosen`` for some of its photos and ``least_views=1`` for a single one.
        weights: file of ``uner3d train --scenes``, or "default", the one that the package brings.
        run: folder to write the run to (default: a temporary one).
        settings: any field of Config.

    Raises:
        FileNotFoundError, ValueError: weights that are not there, are damaged or fit another model.
    """
    return fit(scene, config=untrained_config("base", weights=str(weights), **settings), run=run)


def surfaces(fitted: Fitted, progress: Progress | None = None) -> tuple[SurfaceMaps, Agreed]:
    """Surface maps of all training views and what they agree on; computed once per run, then read from its folder.

    The field is evaluated and the photos are matched where it was fitted; the surface maps then come to the CPU, once,
    and stay there.
    """
    path = fitted.run / "surface.safetensors"
    if path.is_file() and path.stat().st_mtime >= (fitted.run / "model.safetensors").stat().st_mtime:
        return read_surfaces(path)
    c, host = fitted.config, fitted.host
    return_free_memory()
    maps = render_surfaces(fitted.model, fitted.photos, fitted.world.conditioning, fitted.grid, c.sources,
                           c.extract_samples, c.extract_stride, float(c.octaves), _part(progress, 0.0, 0.6),
                           certain=is_untrained(c))  # fmt: skip
    if c.refine:
        maps = refine_surfaces(maps, fitted.world.photos, fitted.world.ranking, c.refine, _part(progress, 0.6, 0.4))
    maps = maps.to("cpu")
    agreed = agree(maps, host.photos[1], host.ranking, host.background)
    write_surfaces(path, maps, agreed)
    return maps, agreed


def generate(fitted: Fitted, scene=None, *, points: int | None = None, spacing: float | None = None,
             path: Path | str | None = None, progress: Progress | None = None) -> Cloud:  # fmt: skip
    """The cloud of a fitted field at any density, in the user's frame.

    ``points`` (exact) or ``spacing`` (world units) choose the density; by default half a photo pixel's footprint.
    ``path`` streams it to a PLY file as well. ``scene`` is accepted for symmetry: the fitted field holds its photos.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(path) if path is not None else Path(folder) / "cloud.ply"
        write_to(fitted, target, points=points, spacing=spacing, progress=progress)
        return read_ply(target)


def write_to(fitted: Fitted, path: Path, *, points: int | None = None, spacing: float | None = None,
             progress: Progress | None = None) -> CloudResult:  # fmt: skip
    """Like generate, but only to the file, in bounded memory."""
    if points is not None and points < 1:
        raise ValueError(f"points: expected at least 1, got {points}")
    if spacing is not None and not spacing > 0:
        raise ValueError(f"spacing: expected a positive length in scene units, got {spacing}")
    maps, agreed = surfaces(fitted, progress)
    host = fitted.host
    return write_cloud(path, maps, agreed, host.photos[1], host.ranking, fitted.frame, n_points=points,
                       spacing=spacing, progress=progress)  # fmt: skip


def _part(progress: Progress | None, begin: float, share: float) -> Progress | None:
    """Progress of a part of the work, as progress of the whole."""
    return None if progress is None else lambda done: progress(begin + share * done)
