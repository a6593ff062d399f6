"""Running a protocol: every object predicted from its source views and scored on its targets, resumably."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from ..data.scene import Scene, View
from ..files import atomic_file
from .metrics import psnr, ssim, to_8_bits
from .published import NMR_CATEGORIES, Item, Protocol, protocol
from .views import object_scene, photo_of

_SAVE_SECONDS = 5.0  # at most so much work is lost by a kill


class Predictor(Interface):
    """What was made of the source views of one object."""

    def render(self, view: View) -> NDArray:
        """The picture that the camera of `view` takes, (h, w, 3) in [0, 1]. The photo of `view` must not be used."""


# From an object's scene, whose `views` are the source views alone, and these views themselves.
Predict = Callable[[Scene, Sequence[View]], Predictor]


def run_protocol(
    name: str | Protocol, root: str | Path, predict: Predict, progress: Callable[[float], None] | None = None, *,
    out: str | Path | None = None, objects: Sequence[str] | None = None, about: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Score a model that predicts views, by a published protocol.

    Args:
        name: srn, nmr, nmr-unseen or dtu-images, or a Protocol.
        root: the data set in the layout that it is published in.
        predict: called once an object with its scene and source views (see `Predict`). The scene's test_views are the
            targets, to be rendered one by one; its box is found from all cameras, and from no photo; background is the
            protocol's.
        progress: called with the share of objects done.
        out: a JSON file that takes the results, every few seconds and at the end. Objects in it are not done again.
        objects: do these alone, named category/object or object.
        about: what the results depend on besides, such as the weights' name: results of others are not gone on with.
        options: views, view_list and seed of `protocol`.

    Returns:
        protocol, sources, about; mean and categories.<category>, each with objects, psnr (dB) and ssim; objects.<key>
        with category, sources, views (targets scored), psnr, ssim and seconds; complete: whether no object is left.

    Raises:
        FileNotFoundError, ValueError: for data that is not the protocol's, renderings of another shape or not finite,
            and a file `out` of another protocol or model. SceneError for what cannot be read.
    """
    chosen = protocol(name, **options) if isinstance(name, str) else name
    items = chosen.objects(Path(root))
    wanted = _wanted(items, objects)
    header = {"protocol": chosen.name, "sources": chosen.sources(Path(root)), "about": dict(about or {})}
    done = _earlier(Path(out), header, items) if out is not None else {}
    left = [item for item in wanted if item.key not in done]
    saved = time.monotonic()
    try:
        for count, item in enumerate(left, len(wanted) - len(left) + 1):
            done[item.key] = _score(chosen, item, predict)
            if progress:
                progress(count / len(wanted))
            if out is not None and time.monotonic() - saved > _SAVE_SECONDS:
                _write(Path(out), header, items, done)
                saved = time.monotonic()
    finally:
        if out is not None and done:
            _write(Path(out), header, items, done)
    return _result(header, items, done)


def table(result: Mapping[str, Any]) -> str:
    """The result of `run_protocol` as lines of text: a category each, and the mean over all objects."""
    rows = [(row["label"], row) for row in result["categories"].values()]
    lines = [f"{'':14}{'PSNR':>8}{'SSIM':>8}{'objects':>9}"]
    for label, row in [*(rows if len(rows) > 1 else []), ("mean", result["mean"])]:
        lines.append(f"{label:14}{row['psnr']:8.2f}{row['ssim']:8.4f}{row['objects']:9d}")
    lines += [] if result["complete"] else ["not all objects of the protocol are done"]
    return "\n".join(lines)


def _wanted(items: list[Item], names: Sequence[str] | None) -> list[Item]:
    if names is None:
        return items
    unknown = [name for name in names if not any(name in (item.key, item.name) for item in items)]
    if unknown:
        raise ValueError(f"objects: {unknown[0]!r} is not one of the {len(items)} objects, such as {items[0].key}")
    return [item for item in items if item.key in names or item.name in names]


def _score(chosen: Protocol, item: Item, predict: Predict) -> dict[str, Any]:
    begin = time.monotonic()
    scene = object_scene(chosen, item)
    predictor = predict(scene, scene.views)
    scores = []
    for view in scene.test_views:
        rendering = _checked(predictor.render(view), view, item)
        photo = photo_of(view)
        scores.append((psnr(rendering, photo), ssim(rendering, photo)))
    means = np.mean(scores, axis=0)
    return {
        "category": item.category, "sources": list(item.sources), "views": len(scores),
        "psnr": float(means[0]), "ssim": float(means[1]), "seconds": round(time.monotonic() - begin, 3),
    }  # fmt: skip


def _checked(rendering: Any, view: View, item: Item) -> NDArray[np.uint8]:
    pixels = np.asarray(rendering)
    expected = (view.camera.height, view.camera.width, 3)
    what = f"{item.key}: rendering of {view.name}"
    if pixels.shape != expected or not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"{what}: expected floats {expected} in [0, 1], got {pixels.dtype} {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError(f"{what}: {int((~np.isfinite(pixels)).sum())} values are not finite")
    return to_8_bits(pixels)


def _earlier(out: Path, header: dict[str, Any], items: list[Item]) -> dict[str, dict[str, Any]]:
    """The objects done in an earlier run of the same thing."""
    if not out.is_file():
        return {}
    try:
        before = json.loads(out.read_text(encoding="utf-8"))
        done, was = dict(before["objects"]), {key: before[key] for key in header}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{out}: not results of a protocol to go on with: {error!r}") from error
    for key, value in json.loads(json.dumps(header)).items():
        if was[key] != value:
            raise ValueError(f"{out}: holds results of {key} {was[key]!r}, expected {value!r}; choose another file")
    sources = {item.key: list(item.sources) for item in items}
    for key, record in done.items():
        if sources.get(key) != record.get("sources"):
            raise ValueError(f"{out}: {key} was done from views {record.get('sources')}, expected {sources.get(key)}")
    return done


def _write(out: Path, header: dict[str, Any], items: list[Item], done: dict[str, dict[str, Any]]) -> None:
    with atomic_file(out) as file:
        file.write((json.dumps(_result(header, items, done), indent=1) + "\n").encode())


def _result(header: dict[str, Any], items: list[Item], done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    records = {item.key: done[item.key] for item in items if item.key in done}
    categories: dict[str, dict[str, Any]] = {}
    for category in sorted({record["category"] for record in records.values()}):
        of_it = [record for record in records.values() if record["category"] == category]
        categories[category] = {"label": NMR_CATEGORIES.get(category, category)} | _mean(of_it)
    mean = _mean(list(records.values()))
    complete = len(records) == len(items)
    return {**header, "mean": mean, "categories": categories, "objects": records, "complete": complete}


def _mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    means = {key: float(np.mean([record[key] for record in records])) for key in ("psnr", "ssim")} if records else {}
    return {"objects": len(records)} | means
