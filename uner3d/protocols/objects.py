"""The objects that a protocol is run on, found in the layout that the data set is published in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def srn_objects(root: Path) -> list[tuple[str, str, Path]]:
    """(category, object, folder) of SRN's test sets: `root` is one of them, holds them, or is their name without _test.

    The category is the name of the set (cars, chairs).
    """
    beside = root.with_name(f"{root.name}_test")
    if _srn_folders(root):
        sets = [root]
    elif beside.is_dir():
        sets = [beside]
    else:
        sets = sorted(root.glob("*_test")) if root.is_dir() else []
    found = [(_set_name(folder), path.name, path) for folder in sets for path in _srn_folders(folder)]
    if not found:
        raise FileNotFoundError(
            f"{root}: expected a test set of SRN: folders with intrinsics.txt, here, in *_test/ or in {beside.name}/"
        )
    return found


def _srn_folders(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob("*/intrinsics.txt"))


def _set_name(folder: Path) -> str:
    return folder.name.removesuffix("_test").removeprefix("srn_")


def nmr_objects(root: Path, list_name: str) -> list[tuple[str, str, Path]]:
    """(category, object, folder) of the objects that `root/<category>/<list_name>` names, by category."""
    lists = sorted(root.glob(f"*/{list_name}"))
    if not lists:
        raise FileNotFoundError(f"{root}: expected lists of test objects <category>/{list_name}, found none")
    found = []
    for file in lists:
        for name in file.read_text(encoding="utf-8").split():
            if not (file.parent / name).is_dir():
                raise FileNotFoundError(f"{file}: names {name}, but there is no folder {file.parent / name}")
            found.append((file.parent.name, name, file.parent / name))
    return found


def dtu_objects(root: Path, scans: Sequence[int]) -> list[tuple[str, str, Path]]:
    """("DTU", scan, folder) of each scan, in pixelNeRF's layout (`root/DTU/scan8`, `root/scan8`) or in MVSNet's
    (`root/Rectified/scan8_train`)."""
    found, absent = [], []
    for scan in scans:
        name = f"scan{scan}"
        places = (root / "DTU" / name, root / name, root / "Rectified" / f"{name}_train", root / "Rectified" / name)
        folder = next((place for place in places if place.is_dir()), None)
        found += [("DTU", name, folder)] if folder else []
        absent += [] if folder else [name]
    if absent:
        names = ", ".join(absent)
        raise FileNotFoundError(f"{root}: of the {len(scans)} scans of the test split, these are absent: {names}")
    return found


def read_view_list(file: Path) -> dict[str, tuple[int, ...]]:
    """Source views by "category/object" from lines `category object view...`, as pixelNeRF publishes them."""
    views: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 3 or not all(word.isdigit() for word in words[2:]):
            raise ValueError(f"{file}: line {number}: expected category, object and views, found {line[:60]!r}")
        views[f"{words[0]}/{words[1]}"] = tuple(sorted(int(word) for word in words[2:]))
    return views


def drawn_view(seed: int, key: str, n_views: int) -> int:
    """A view that depends on the seed and the object's own name alone, so that a part of a set gets the same ones."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % n_views
