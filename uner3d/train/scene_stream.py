"""Many scenes, one after the other: read when they are needed, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .photos import PhotoSet, UnitFrame, background_of, refuse_tiny


@dataclass
class TrainingScene:
    """One scene of many: photos, half edges of the box (3,), and the colour (3,) behind the object, None where there is
    something beyond the box."""

    photos: PhotoSet
    extent: Tensor
    background: Tensor | None

    @property
    def n_bytes(self) -> int:
        """Memory that its photos and masks take."""
        masks = self.photos.masks
        return self.photos.images.nbytes + (0 if masks is None else masks.nbytes)


def training_scene(scene) -> TrainingScene:
    """A loaded scene as training across scenes needs it, on the CPU."""
    frame = UnitFrame(scene.box)
    refuse_tiny(scene.views)
    photos = PhotoSet(scene.views, frame)
    return TrainingScene(photos, torch.tensor(frame.extent, dtype=torch.float32), background_of(scene, photos))


class SceneStream:
    """Scenes in an order that the seed decides: every scene once before any comes again.

    ``load`` reads a folder; at most ``most_bytes`` of photos are kept, those used last, so that memory does not grow
    with the number of scenes. A scene that cannot be used raises ValueError (of ``load``) when its turn comes.
    """

    def __init__(self, folders: Sequence[Path], load: Callable[[Path], TrainingScene], seed: int,
                 most_bytes: int = 1 << 30) -> None:  # fmt: skip
        if not folders:
            raise ValueError("scenes: expected at least one folder of posed photos, got none")
        self.folders, self._load, self.seed, self.most_bytes = list(folders), load, seed, most_bytes
        self._kept: OrderedDict[int, TrainingScene] = OrderedDict()
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def at(self, turn: int) -> TrainingScene:
        """The scene of a turn (from 0): the same one whatever turns were asked for before."""
        round_number, place = divmod(turn, len(self.folders))
        if self._order[0] != round_number:
            order = np.random.default_rng([self.seed, round_number]).permutation(len(self.folders))
            self._order = (round_number, order)
        return self._scene(int(self._order[1][place]))

    def _scene(self, number: int) -> TrainingScene:
        if number not in self._kept:
            scene = self._load(self.folders[number])
            self._kept[number] = scene
            while len(self._kept) > 1 and sum(kept.n_bytes for kept in self._kept.values()) > self.most_bytes:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


def find_scenes(roots: Sequence[Path], is_scene: Callable[[Path], bool]) -> list[Path]:
    """The scenes that folders are or hold, one level down, in order of their names. Raises ValueError that names a
    folder with none."""
    found: list[Path] = []
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"--scenes {root}: no such folder")
        inside = [] if is_scene(root) else [path for path in sorted(root.iterdir()) if path.is_dir()]
        here = [path for path in inside if is_scene(path)] if inside else [root] * is_scene(root)
        if not here:
            raise ValueError(f"--scenes {root}: expected a scene, or a folder of scenes; found neither")
        found += here
    return found
