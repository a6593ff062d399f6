"""Weights that were trained across scenes: files of them, and the start they give a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uner3d.config import WEIGHTS_FIT, Config
from uner3d.model.build import Model
from uner3d.model.feature_cache import FeatureCache

from .tensor_file import load_model, read_tensors, write_tensors

FORMAT = "uner3d weights 1"
OF_ONE_SCENE = "field.residual."  # begins the names of what no file of weights has, and what starts as it is made
SHIPPED = Path(__file__).parent.parent / "weights"


def weights_path(name: str | Path) -> Path:
    """The file that ``--weights`` names: "default" is the one that the package brings. FileNotFoundError says what was
    looked for."""
    path = SHIPPED / "base.safetensors" if str(name) == "default" else Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"--weights {name}: expected a .safetensors file of `uner3d train --scenes`, found none at {path}"
        )
    return path


def save_weights(path: Path, model: torch.nn.Module, config: Config, open_octaves: int, recipe: dict[str, Any]) -> None:
    """Write a model's weights atomically with the settings they fit and the recipe they come from.

    Octaves from ``open_octaves`` on were closed in training; their columns are stored as zero, so that opening them
    changes nothing until a fit has learnt to use them. Voxels belong to one scene and are left out.
    """
    tensors = {name: value for name, value in model.state_dict().items() if not name.startswith(OF_ONE_SCENE)}
    first = tensors["field.layer1.weight"] = tensors["field.layer1.weight"].clone()
    closed = 6 * (config.octaves - open_octaves)
    first[:, first.shape[1] - closed :] = 0
    metadata = {"format": FORMAT, "recipe": json.dumps(recipe),
                **{name: str(getattr(config, name)) for name in WEIGHTS_FIT}}  # fmt: skip
    write_tensors(path, tensors, metadata)


def start_model(config: Config, trunk_cache: FeatureCache | None = None, read_weights: bool = True) -> Model:
    """A model on the CPU with the weights that ``config`` names, if any; without ``read_weights`` all files are left
    alone, for one whose saved state replaces them."""
    model = Model(config, trunk_cache, read_weights)
    if config.weights and read_weights:
        load_weights(model, config)
    return model


def load_weights(model: torch.nn.Module, config: Config) -> dict[str, Any]:
    """Give a model the weights that ``config.weights`` names; returns their recipe. Raises FileNotFoundError and
    ValueError, which name the file, what was expected and what it holds."""
    path = weights_path(config.weights or "default")
    tensors, metadata = read_weights(path)
    for name in WEIGHTS_FIT:
        wanted = str(getattr(config, name))
        if metadata.get(name) != wanted:
            raise ValueError(f"{path}: {name}: expected weights for {wanted}, got {metadata.get(name)}")
    own = {name: value for name, value in model.state_dict().items() if name.startswith(OF_ONE_SCENE)}
    load_model(model, own | tensors, path)
    return json.loads(metadata.get("recipe", "{}"))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of weights. ValueError names one that is damaged or is another kind of file."""
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: format: expected {FORMAT!r}, got {metadata.get('format')!r}; "
                         "weights are written by `uner3d train --scenes`")  # fmt: skip
    return tensors, metadata
