"""Surfaces on disk: the same tensors come back, at the size of the surface."""

from dataclasses import fields

import pytest
import torch
from safetensors.torch import save_file
from toy import ball_maps, ball_photos

from uner3d.cloud.agree import Agreed, agree
from uner3d.cloud.surface_file import read_surfaces, write_surfaces
from uner3d.train.photos import neighbours


def test_round_trip(tmp_path):
    photos = ball_photos(4, masks=False)
    maps = ball_maps(photos)
    agreed = agree(maps, photos, neighbours(photos))
    path = tmp_path / "surface.safetensors"
    write_surfaces(path, maps, agreed)
    maps_back, back = read_surfaces(path)
    assert torch.equal(maps_back.depth, maps.depth) and maps_back.stride == maps.stride
    assert torch.equal(maps_back.K, maps.K) and torch.equal(maps_back.cam_from_unit, maps.cam_from_unit)
    for field in fields(Agreed):
        a, b = getattr(back, field.name), getattr(agreed, field.name)
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    whole = sum(getattr(agreed, field.name).nbytes for field in fields(Agreed)) + maps.depth.nbytes
    share = float((maps.depth > 0).float().mean())
    assert path.stat().st_size < 1.3 * share * whole + 5000


def test_a_file_of_another_version_is_named(tmp_path):
    path = tmp_path / "surface.safetensors"
    save_file({"depth": torch.zeros(1, 2, 2)}, path)
    with pytest.raises(ValueError, match=r"surface\.safetensors: shape and stride are missing"):
        read_surfaces(path)
