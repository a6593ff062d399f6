"""What `uner3d synth` takes: the options of one scene and, with --many, those of a training set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uner3d.data.synthetic import ManyOptions, SynthOptions


def _default(text: str) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


@dataclasses.dataclass
class SynthArguments:
    """The options, as the command takes them. What is None was not given: the two forms differ in defaults."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write the scene to; with --many, the folder that holds the scenes."""
    mesh: tyro.conf.Positional[str | None] = None
    """A mesh file, or the name of a shape: the same as --shape."""
    many: Annotated[int | None, _default("one scene")] = None
    """Make a training set instead: that many scenes of random objects, in OUTPUT/00000, 00001, ... Shape, textures,
    light, gloss, background, cameras, noise and exposure are drawn from split, seed and number. Scenes that are there
    already are kept, so that more can be made later, and a run that was stopped goes on."""
    split: Annotated[str | None, _default("train")] = None
    """With --many: train, val or test. No split shows an object of another."""
    processes: Annotated[int | None, _default("2")] = None
    """With --many: number of processes."""
    shape: Annotated[str | None, _default("totem")] = None
    """totem, mug, bowl, torus, box, sphere, or a mesh file (obj, ply, glb, gltf, stl, off; needs Open3D)."""
    n_train: Annotated[int | None, _default("32; with --many 12")] = None
    """Number of photos to reconstruct from."""
    n_test: Annotated[int | None, _default("8; with --many 4")] = None
    """Number of held-out photos."""
    width: Annotated[int | None, _default("400; with --many 128")] = None
    """Width of a photo in pixels."""
    height: Annotated[int | None, _default("300; with --many 128")] = None
    """Height of a photo in pixels."""
    fov_degrees: Annotated[float | None, _default("38")] = None
    """Horizontal field of view."""
    supersampling: Annotated[int | None, _default("3; with --many 2")] = None
    """Rays per pixel and axis: 3 means 9 rays a pixel."""
    specular: Annotated[float | None, _default("0")] = None
    """Strength of the gloss, 0 (matt) to 1. Gloss moves with the viewpoint; the truth's colours leave it out."""
    table: bool = False
    """Stand the object on a textured table in a textured room, without masks. Otherwise the photos have alpha."""
    texture_seed: Annotated[int | None, _default("0")] = None
    """Seed of the textures' noise."""
    seed: int = 0
    """Seed of the camera placement and of the drawing of the true points; with --many, of everything."""
    n_points: Annotated[int | None, _default("120000; with --many 20000")] = None
    """Number of true points."""
    scale: Annotated[float | None, _default("about two units tall; a mesh file keeps its units")] = None
    """Longest edge of the object's box in scene units."""
    up: Annotated[Literal["y", "z"] | None, _default("y")] = None
    """Axis that points up in a mesh file. The scene's own is y."""
    overwrite: bool = False
    """Replace the output folder if it holds a generated scene; with --many, make its scenes again."""

    def options(self) -> SynthOptions | ManyOptions:
        """The options of one scene, or of a training set. Raises ValueError for an option of the other."""
        given = {name: value for name, value in vars(self).items() if value is not None and value is not False}
        if self.many is not None:
            return ManyOptions(**_only(given, ManyOptions, "with --many, which draws it"))
        if self.mesh is not None and self.shape not in (None, self.mesh):
            raise ValueError(f"--shape: expected the shape once, got {self.mesh} and {self.shape}")
        if "mesh" in given:
            given["shape"] = given.pop("mesh")
        return SynthOptions(**_only(given, SynthOptions, "without --many"))


def _only(given: dict[str, Any], options: type, where: str) -> dict[str, Any]:
    """What was given, none of which may be unknown to the options."""
    for name in given.keys() - {field.name for field in dataclasses.fields(options)}:
        raise ValueError(f"{name} = {given[name]}: expected no {name} {where}")
    return given
