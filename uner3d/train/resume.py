"""What a run that goes on is held against: the scene and the settings that it began with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from uner3d.config import Config, preset_config

from .checkpoint import load_scene_record

SAME_BOX = 1e-4  # of its longest edge: what the same photos give on another machine
MAX_NAMED = 3  # views in a message


def check_scene(run: Path, scene) -> dict[str, Any]:
    """Refuse photos that are not the run's: ValueError. Returns scene.json; its path may be another one,
    since a scene may move."""
    saved, path = load_scene_record(run), run / "scene.json"
    names, theirs = [view.name for view in scene.views], saved["views"]
    if names != theirs:
        raise ValueError(
            f"{path}: expected {len(theirs)} views, those of {saved['path']}, got {len(names)} of "
            f"{scene.path} ({_difference(theirs, names)})"
        )
    box = np.array(saved["box"])
    if not np.allclose(scene.box, box, rtol=0, atol=SAME_BOX * (box[1] - box[0]).max()):
        raise ValueError(
            f"{path}: box: expected {saved['box']}, that of {saved['path']}, got {scene.box.tolist()} of "
            f"{scene.path}, which is another scene or has changed"
        )
    return saved


def resume_warnings(run: Path, scene, given: Config, used: Config) -> list[str]:
    """What is worth a warning where a run goes on with ``scene`` and its settings ``used`` although others are given, a
    sentence each. Raises what check_scene raises."""
    warnings = []
    before, now = (Path(path).resolve() for path in (check_scene(run, scene)["path"], scene.path))
    if before not in (now, now.parent) and now != before.parent:  # a folder may be named by its transforms.json
        warnings.append(f"the run began with {before} and goes on with {now}: "
                        "wrong if these are other photos with the same names")  # fmt: skip
    if unused := ignored_settings(given, used):
        warnings.append(f"--resume goes on with the settings of {run / 'config.json'}; not used: {', '.join(unused)}")
    return warnings


def ignored_settings(given: Config, used: Config) -> list[str]:
    """The settings that were given and are not those of the run, but for the device, which may change. What is as the
    given preset has it counts as not given: a command says nothing of most settings."""
    default = preset_config(given.preset).to_json() | {"preset": Config.preset}
    values, theirs = given.to_json(), used.to_json()
    return [f"{name} = {value!r} (the run has {theirs[name]!r})" for name, value in values.items()
            if name != "device" and value not in (default[name], theirs[name])]  # fmt: skip


def _difference(theirs: list[str], ours: list[str]) -> str:
    gone, new = (list((Counter(a) - Counter(b)).elements()) for a, b in ((theirs, ours), (ours, theirs)))
    parts = [f"{what}: {', '.join(names[:MAX_NAMED])}{', ...' if len(names) > MAX_NAMED else ''}"
             for what, names in (("only in the run", gone), ("not in the run", new)) if names]  # fmt: skip
    return "; ".join(parts) or "in another order"
