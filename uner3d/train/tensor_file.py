"""Tensors in safetensors files: models and optimizers to named tensors and back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from uner3d.files import atomic_file


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically, from any device; it is read on the CPU."""
    from safetensors.torch import save

    with atomic_file(path) as file:
        file.write(save({name: value.cpu().contiguous() for name, value in tensors.items()}, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; FileNotFoundError and ValueError name the file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; is {path.parent} the run folder of a finished training?")
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def load_model(model: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Give a model its weights, read from ``path``. Raises ValueError, naming it, where they are another model's."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected this model's weights; written by another version? ({reason})") from error


def model_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a model, each name after "model."."""
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """What an optimizer keeps of each parameter, as <prefix><number>.<slot>."""
    return {f"{prefix}{index}.{slot}": torch.as_tensor(value)
            for index, slots in optimizer.state_dict()["state"].items() for slot, value in slots.items()}  # fmt: skip


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take back what ``optimizer_tensors`` gave, without the prefix; the parameter groups stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, slot = name.split(".")
        state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
