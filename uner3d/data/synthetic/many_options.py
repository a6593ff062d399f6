"""What a training set is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uner3d.data.synthetic.recipe import SPLITS


@dataclass
class ManyOptions:
    """Make a training set: scenes of random objects, each as `synth` makes one, in folders 00000, 00001, ..."""

    output: Path
    """Folder to write the scenes to. Scenes that are there already are kept."""
    many: int
    """Number of scenes."""
    split: str = "train"
    """train, val or test: their random streams are disjoint, so that none shows an object of another."""
    seed: int = 0
    """Seed of everything that is drawn. Scene k depends on split, seed and k alone, not on how many are made."""
    n_train: int = 12
    """Number of photos to reconstruct from, per scene."""
    n_test: int = 4
    """Number of held-out photos, per scene."""
    width: int = 128
    """Width of a photo in pixels."""
    height: int = 128
    """Height of a photo in pixels."""
    supersampling: int = 2
    """Rays per pixel and axis."""
    n_points: int = 20_000
    """Number of true points, per scene."""
    processes: int = 2
    """Number of processes, each making scenes of its own. The bytes do not depend on it."""
    overwrite: bool = False
    """Make scenes again that are there already."""


def check_many(options: ManyOptions) -> None:
    """Raise a ValueError that names the first option that is out of range."""
    ranges: list[tuple[str, int, int]] = [
        ("many", 1, 100_000),
        ("seed", 0, 2**63),
        ("n_train", 2, 10_000),
        ("n_test", 1, 10_000),
        ("width", 16, 16_384),
        ("height", 16, 16_384),
        ("supersampling", 1, 16),
        ("n_points", 1, 100_000_000),
        ("processes", 1, 1024),
    ]
    for name, low, high in ranges:
        value = getattr(options, name)
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: expected between {low:g} and {high:g}")
    if options.split not in SPLITS:
        raise ValueError(f"split = {options.split!r}: expected one of {', '.join(SPLITS)}")


def scene_args(options: ManyOptions, index: int) -> dict[str, Any]:
    """The options that decide the bytes of a scene."""
    fields = asdict(options)
    names = ("split", "seed", "n_train", "n_test", "width", "height", "supersampling", "n_points")
    return {name: fields[name] for name in names} | {"index": index}
