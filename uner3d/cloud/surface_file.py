"""Surface maps and what views agree on in one file, which holds the pixels with a surface alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import torch

from uner3d.train.tensor_file import read_tensors, write_tensors

from .agree import Agreed
from .surface import SurfaceMaps


def write_surfaces(path: Path, maps: SurfaceMaps, agreed: Agreed) -> None:
    """Write both to a safetensors file, atomically."""
    pixels = (maps.depth.reshape(-1) > 0).nonzero()[:, 0]
    tensors = {"pixels": pixels, "depth": maps.depth.reshape(-1)[pixels], "K": maps.K,
               "cam_from_unit": maps.cam_from_unit}  # fmt: skip
    for field in fields(Agreed):
        tensors[f"agreed.{field.name}"] = getattr(agreed, field.name).flatten(0, 2)[pixels]
    shape = ",".join(map(str, maps.depth.shape))
    write_tensors(path, tensors, {"stride": str(maps.stride), "shape": shape})


def read_surfaces(path: Path) -> tuple[SurfaceMaps, Agreed]:
    """What ``write_surfaces`` wrote; pixels without a surface hold zeros."""
    tensors, metadata = read_tensors(path)
    if not {"shape", "stride"} <= set(metadata):
        raise ValueError(f"{path}: shape and stride are missing; written by another version of uner3d? Delete it")
    shape = [int(size) for size in metadata["shape"].split(",")]
    pixels = tensors["pixels"]

    def spread(name: str) -> torch.Tensor:
        values = tensors[name]
        whole = values.new_zeros(shape[0] * shape[1] * shape[2], *values.shape[1:])
        whole[pixels] = values
        return whole.view(*shape, *values.shape[1:])

    maps = SurfaceMaps(spread("depth"), tensors["K"], tensors["cam_from_unit"], int(metadata["stride"]))
    return maps, Agreed(*(spread(f"agreed.{field.name}") for field in fields(Agreed)))
