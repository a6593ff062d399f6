"""Geometry on the pixel rasters of surface maps: projection, lookup of depths, footprints, normals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .surface import SurfaceMaps


def project(K: Tensor, pose: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (N, 2) and z-depths (N,) of points (N, 3) in one camera."""
    in_camera = points @ pose[:, :3].T + pose[:, 3]
    z = in_camera[:, 2]
    return (in_camera @ K.T)[:, :2] / z.clamp_min(1e-6)[:, None], z


def unproject(K: Tensor, pose: Tensor, pixel: Tensor, depth: Tensor) -> Tensor:
    """Points (N, 3) at z-depths (N,) behind pixels (N, 2) of one camera: what ``project`` undoes."""
    in_camera = torch.cat([pixel, torch.ones_like(depth)[:, None]], 1) @ K.inverse().T * depth[:, None]
    return (in_camera - pose[:, 3]) @ pose[:, :3]


def raster_place(pixel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column (N,), (N,) of the raster pixels that pixels (N, 2) fall into, the nearest where that is none, and
    whether they lie inside (N,)."""
    column, row = pixel.nan_to_num(-1, -1, -1).floor().long().clamp(-1, max(height, width)).unbind(1)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    return row.clamp(0, height - 1), column.clamp(0, width - 1), inside


def lookup(depth: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear inverse depth at pixels where all four taps hold a surface and lie within 2 %; else the nearest tap."""
    height, width = depth.shape
    inside = (pixel >= 0).all(-1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    p = pixel.nan_to_num(0, 0, 0).clamp(min=-1, max=max(height, width) + 1) - 0.5
    low = p.floor()
    fraction = p - low
    taps, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column = (low[:, 0].long() + dx).clamp(0, width - 1)
            row = (low[:, 1].long() + dy).clamp(0, height - 1)
            taps.append(depth[row, column])
            across = fraction[:, 0] if dx else 1 - fraction[:, 0]
            weights.append(across * (fraction[:, 1] if dy else 1 - fraction[:, 1]))
    tap, weight = torch.stack(taps, 1), torch.stack(weights, 1)
    smooth = (tap > 0).all(1) & (tap.amax(1) < 1.02 * tap.amin(1))
    blended = 1 / (weight / tap.clamp_min(1e-6)).sum(1).clamp_min(1e-6)
    nearest = tap.gather(1, weight.argmax(1, keepdim=True))[:, 0]
    value = torch.where(smooth, blended, nearest)
    return value, inside & (value > 0)


def footprint(maps: SurfaceMaps, view: int) -> Tensor:
    """Width of a raster pixel on the surface (h * w,), unit frame."""
    return (maps.depth[view] / maps.K[view, 0, 0]).view(-1)


def raster_normals(points: Tensor, depth: Tensor, cam_from_unit: Tensor) -> Tensor:
    """Unit normals (h, w, 3) towards the camera from differences of neighbouring surface points, smoothed 3 x 3;
    across depth jumps the one-sided difference of the smoother side counts."""
    def difference(axis: int) -> Tensor:
        forward = torch.roll(points, -1, axis) - points
        backward = points - torch.roll(points, 1, axis)
        ok_f = (torch.roll(depth, -1, axis) > 0)[..., None]
        ok_b = (torch.roll(depth, 1, axis) > 0)[..., None]
        size_f = torch.where(ok_f, forward.norm(dim=-1, keepdim=True), torch.inf)
        size_b = torch.where(ok_b, backward.norm(dim=-1, keepdim=True), torch.inf)
        both = torch.maximum(size_f, size_b) < 2 * torch.minimum(size_f, size_b)
        return torch.where(both, forward + backward, torch.where(size_f < size_b, forward, backward))

    normal = F.normalize(torch.linalg.cross(difference(0), difference(1)), dim=-1)
    center = -cam_from_unit[:, :3].T @ cam_from_unit[:, 3]
    normal = normal * torch.where(((center - points) * normal).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    normal = torch.where((depth > 0)[..., None], normal, torch.zeros_like(normal))
    smooth = F.avg_pool2d(normal.permute(2, 0, 1)[None], 3, stride=1, padding=1)[0].permute(1, 2, 0)
    return F.normalize(smooth, dim=-1)
