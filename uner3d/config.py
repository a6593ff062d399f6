"""Settings of a run: one flat dataclass, written to config.json, and the presets. Imports nothing of ours."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"rays": 768, "samples": 24, "sources": 6, "minutes": 2.0},
    "base": {},
    "high": {"rays": 2048, "samples": 48, "minutes": 30.0, "extract_samples": 24},
    "paper": {"model": "paper", "encoder": "resnet34", "octaves": 10, "rays": 256, "samples": 32, "sources": 6,
              "refine": 0, "prior_loss": 0.0, "encoder_until": 1.0},
}


WEIGHTS_FIT = ("model", "encoder", "octaves")  # settings that a file of weights fits; ours fits their defaults


@dataclasses.dataclass
class Config:
    """Everything that decides a result. Lengths are in units of half the longest edge of the scene's box."""

    preset: str = "base"
    model: str = "base"  # base | paper
    encoder: str = "cnn"  # cnn | resnet34
    encoder_weights: str | None = None  # local .pth or .safetensors file with an ImageNet ResNet34 state dict
    weights: str | None = None  # the start: a file of `uner3d train --scenes`; "default": the package's; None: random
    seed: int = 0
    device: str = "auto"  # auto | cpu | cuda | cuda:N; auto is settled by the fit
    masks: str = "auto"  # auto | off
    downscale: float = 1.0
    holdout: int = 0
    views: list[int] | None = None  # of the scene's photos, those that are used; None: all
    box: list[list[float]] | list[float] | None = None  # as given by the user, world units; None: found

    minutes: float = 5.0  # budget of the whole command; steps are calibrated from it, and corrected under way
    steps: list[int] | None = None  # steps of the coarse and the fine stage; fixed by the calibration
    knots: list[list[float]] | None = None  # [step, progress] where the plan was corrected under way
    coarse_share: float = 0.35  # of the steps, at half resolution
    octaves: int = 9
    open_octaves: float = 0.4  # share of the steps over which the octaves open
    sources: int = 8  # views that condition one prediction
    rays: int = 1024
    samples: int = 32  # inside the box
    samples_outside: int = 16  # beyond it, where the scene does not end at the box
    reuse_maps: int = 2  # steps that share one encoding of the sources
    encoder_until: float = 0.35  # share of the steps after which the encoder stays as it is
    replay_steps: bool = True  # on a GPU: steps are recorded once and replayed (train/step_graphs.py)
    precision: str = "auto"  # auto | float32 | bfloat16 (matrix products only); auto is settled by the calibration
    learning_rate: float = 3e-3
    voxel_rate: float = 0.02  # learning rate of the density's own voxels; 0: none
    rate_held: int = 150  # steps before the learning rate falls, at most those of the coarse stage
    density_settles: int = 1600  # steps after which the density's rate has fallen, however long colours go on learning
    grid: int = 128

    mask_loss: float = 0.2
    dssim_loss: float = 0.2
    distortion_loss: float = 0.01
    geometric_loss: float = 0.05
    idw_loss: float = 0.2
    geometric_rays: int = 192
    geometric_from: int = 60  # steps that a field needs to have a surface; the geometric loss grows over as many more
    prior_loss: float = 0.2  # 0: no matching before the fit
    prior_until: float = 0.6  # share of the steps over which the window around the photos' first depths narrows
    visibility: bool = True  # views do not count behind the surfaces that the first matching has found in them
    idw_from: float = 0.8  # share of the steps after which the IDW colour loss joins

    extract_samples: int = 16
    extract_stride: int = 2
    refine: int = 3  # iterations of patch matching on the extracted surface; 0: the field's surface as it is
    outside: str = "auto"  # auto | on | off: whether anything beyond the box is rendered

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for json.dump."""
        return dataclasses.asdict(self)


def preset_config(preset: str, **overrides: Any) -> Config:
    """The settings of ``preset`` with ``overrides`` (None means: as the preset has it).

    A model that the weights of the package fit starts from them, unless ``weights`` says otherwise ("none": at random).

    Raises ValueError for an unknown preset or field.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    values: dict[str, Any] = {"preset": preset, **PRESETS[preset]}
    fields = {f.name for f in dataclasses.fields(Config)}
    for name, value in overrides.items():
        if name not in fields:
            raise ValueError(f"{name}: not a setting; expected one of {', '.join(sorted(fields))}")
        if value is not None:
            values[name] = value
    config = Config(**values)
    if "weights" not in values and all(getattr(config, name) == getattr(Config, name) for name in WEIGHTS_FIT):
        config.weights = "default"
    elif config.weights == "none":
        config.weights = None
    return config


def setting_from_text(text: str) -> tuple[str, Any]:
    """Name and value of a setting written as ``name=value``, the value as in config.json (a text may go unquoted).

    Raises ValueError for an unknown setting and a value of another type.
    """
    name, _, written = text.partition("=")
    kinds = get_type_hints(Config)
    if name not in kinds:
        raise ValueError(f"{text}: expected name=value with a name among {', '.join(sorted(kinds))}")
    try:
        value = json.loads(written, parse_constant=str)  # NaN and Infinity are no settings
    except json.JSONDecodeError:
        value = written
    if not _is_a(value, kinds[name]) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{text}: {name} is {written[:60]!r}, expected {Config.__annotations__[name]}")
    return name, _whole(value, kinds[name])


def read_json(path: Path) -> Any:
    """The content of a file of a run; ValueError names one that is damaged."""
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not readable as JSON (line {error.lineno}: {error.msg})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not readable as text ({error})") from error


def read_config(path: Path) -> Config:
    """Read config.json; ValueError names the file, the field that is wrong, its value and what was expected."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object of settings, found {str(values)[:60]}")
    unknown = set(values) - {f.name for f in dataclasses.fields(Config)}
    if unknown:
        raise ValueError(f"{path}: unknown setting {sorted(unknown)[0]!r}; written by another version of uner3d?")
    kinds = get_type_hints(Config)
    for field in dataclasses.fields(Config):
        if field.name in values and not _is_a(values[field.name], kinds[field.name]):
            raise ValueError(f"{path}: {field.name} is {repr(values[field.name])[:60]}, expected {field.type}")
        if field.name in values:
            values[field.name] = _whole(values[field.name], kinds[field.name])
    return Config(**values)


def _whole(value: Any, kind: Any) -> Any:
    """A whole number written as 3.0, where one is expected that counts."""
    return int(value) if kind is int else value


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of the type that a field is declared with; a whole number may be written as either
    kind of number."""
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(item, get_args(kind)[0]) for item in value)
    if get_args(kind):
        return any(_is_a(value, one) for one in get_args(kind))
    if kind is int and type(value) is float:
        return value.is_integer()
    return type(value) is kind or (kind is float and type(value) is int)
