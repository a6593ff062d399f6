"""The protocols themselves, as data.

All of them are those of pixelNeRF (Yu et al., CVPR 2021) and of its published evaluation: every view that is not a
source is a target; an object's score is the mean over its targets, a table's the mean over its objects, not over
categories.

| name | objects | sources | targets | size | background |
|---|---|---|---|---|---|
| srn | SRN's test cars or chairs (Sitzmann et al. 2019) | 64, or 64 and 104 | the others of 251 | 128 x 128 | white |
| nmr | 13 categories, softras_test.lst (Kato et al. 2018) | one each, by a list | the other 23 | 64 x 64 | white |
| nmr-unseen | categories not trained on, gen_test.lst | one each, by a list | the other 23 | 64 x 64 | white |
| dtu-images | 15 scans | 1, 3, 6 or 9 of 49 | the others but 15 in bad light | 400 x 300 | as it is |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .objects import drawn_view, dtu_objects, nmr_objects, read_view_list, srn_objects

SRN_SOURCES = {1: (64,), 2: (64, 104)}
DTU_SOURCES = {
    1: (25,),
    3: (22, 25, 28),
    6: (22, 25, 28, 40, 44, 48),
    9: (0, 8, 13, 22, 25, 28, 40, 44, 48),
}
DTU_BAD_LIGHT = (3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 36, 37, 38, 39)
DTU_TEST_SCANS = (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114)
NMR_CATEGORIES = {
    "02691156": "airplane", "02828884": "bench", "02933112": "cabinet", "02958343": "car", "03001627": "chair",
    "03211117": "display", "03636649": "lamp", "03691459": "loudspeaker", "04090263": "rifle", "04256520": "sofa",
    "04379243": "table", "04401088": "telephone", "04530566": "vessel",
}  # fmt: skip
# Lists of test objects, and of their source views where these lie beside the categories.
_NMR_LISTS = {"nmr": ("softras_test.lst", "src_dvr.txt"), "nmr-unseen": ("gen_test.lst", "src_gen.txt")}
NAMES = ("srn", "nmr", "nmr-unseen", "dtu-images")
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Item:
    """One object of a protocol: its folder and the numbers of its source views, which count from 0."""

    category: str
    name: str
    path: Path
    sources: tuple[int, ...]

    @property
    def key(self) -> str:
        """category/name."""
        return f"{self.category}/{self.name}"


@dataclass(frozen=True)
class Protocol:
    """What is compared with what. Numbers of views count from 0.

    objects: finds the objects of the test split under a root folder; raises FileNotFoundError or ValueError. n_views:
    of each object. size: width and height in pixels at which images are compared; larger photos are reduced by area
    averaging. excluded: views that are no targets. background: behind the objects, None where the photos have one of
    their own. sources: where the source views of the objects under a root folder come from, in words.
    """

    name: str
    objects: Callable[[Path], list[Item]]
    n_views: int
    size: tuple[int, int]
    excluded: tuple[int, ...]
    background: tuple[float, float, float] | None
    sources: Callable[[Path], str]

    def targets(self, sources: tuple[int, ...]) -> tuple[int, ...]:
        """The views that are scored, ascending."""
        return tuple(n for n in range(self.n_views) if n not in sources and n not in self.excluded)


def protocol(name: str, views: int | None = None, view_list: Path | None = None, seed: int = 0) -> Protocol:
    """A published protocol.

    Args:
        name: srn, nmr, nmr-unseen or dtu-images.
        views: number of source views: 1 (default) or 2 for srn, 1 for nmr, 1, 3 (default), 6 or 9 for dtu-images.
        view_list: for nmr, a file with lines `category object view...`: pixelNeRF's src_dvr.txt (src_gen.txt for
            nmr-unseen). By default the file of that name in the root folder or, where there is none, views drawn by
            `seed`; the numbers are then close to, but not those of the published views.
        seed: for views that are drawn.

    Raises:
        ValueError: for other names and numbers of views.
    """
    if name not in NAMES:
        raise ValueError(f"protocol: expected one of {', '.join(NAMES)}, got {name!r}")
    if view_list is not None and name not in _NMR_LISTS:
        raise ValueError(f"view_list: expected none for {name}, whose source views are the same for all objects")
    if name == "srn":
        return _srn(_known("srn", views or 1, SRN_SOURCES))
    if name == "dtu-images":
        return _dtu(_known("dtu-images", views or 3, DTU_SOURCES))
    _known(name, views or 1, {1: ()})
    return _nmr(name, view_list, seed)


def _known(name: str, views: int, published: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    if views not in published:
        raise ValueError(f"views: {name} is published for {', '.join(map(str, published))}, got {views}")
    return published[views]


def _srn(sources: tuple[int, ...]) -> Protocol:
    def objects(root: Path) -> list[Item]:
        return [Item(*found, sources) for found in srn_objects(root)]

    words = " ".join(map(str, sources))
    return Protocol(f"srn, {len(sources)} view", objects, 251, (128, 128), (), WHITE, lambda root: words)


def _dtu(sources: tuple[int, ...]) -> Protocol:
    def objects(root: Path) -> list[Item]:
        return [Item(*found, sources) for found in dtu_objects(root, DTU_TEST_SCANS)]

    words = " ".join(map(str, sources))
    name = f"dtu-images, {len(sources)} view"
    return Protocol(name, objects, 49, (400, 300), DTU_BAD_LIGHT, None, lambda root: words)


def _nmr(name: str, view_list: Path | None, seed: int) -> Protocol:
    list_name, default = _NMR_LISTS[name]
    n_views = 24

    def list_file(root: Path) -> Path | None:
        return view_list or (root / default if (root / default).is_file() else None)

    def sources(root: Path) -> str:
        file = list_file(root)
        return file.name if file else f"drawn with seed {seed}"

    def objects(root: Path) -> list[Item]:
        file = list_file(root)
        listed = read_view_list(file) if file else None
        items = []
        for category, thing, path in nmr_objects(root, list_name):
            key = f"{category}/{thing}"
            if listed is not None and key not in listed:
                raise ValueError(f"{file}: expected the source view of {key}, found none")
            items.append(Item(category, thing, path, listed[key] if listed else (drawn_view(seed, key, n_views),)))
        return items

    return Protocol(f"{name}, 1 view", objects, n_views, (64, 64), (), WHITE, sources)
