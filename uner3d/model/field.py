"""The field of preset ``base``: fused image features and position to density, blended source pixels to colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uner3d import ops
from uner3d.ops.blend_views import N_ANGLES
from uner3d.render.grid import contract

from .voxels import VoxelResidual

DENSITY_SCALE = 50.0  # per unit of length: softplus is linear above, so a wrong surface can still be unlearnt


@dataclass
class Sources:
    """The views that condition a prediction, at one resolution, in the unit frame of the box.

    maps (V, h, w, C) encoder features; images (V, H, W, 3) photos in [0, 1]; K_maps, K (V, 3, 3) in pixels of each;
    cam_from_unit (V, 3, 4); depths (V, Hd, Wd) z-depths with K_depths for visibility, or None.
    """

    maps: Tensor
    images: Tensor
    K_maps: Tensor
    K: Tensor
    cam_from_unit: Tensor
    depths: Tensor | None = None
    K_depths: Tensor | None = None

    def detached(self) -> Sources:
        """The same with maps that are leaves of the graph, so that several steps can share one encoding."""
        return Sources(self.maps.detach().requires_grad_(), self.images, self.K_maps, self.K, self.cam_from_unit,
                       self.depths, self.K_depths)  # fmt: skip


def octave_factors(window: float, n_octaves: int) -> Tensor:
    """Factors (3 * (2 n_octaves + 1),) of an encoded position where ``window`` octaves are open (BARF, Lin et al. 2021,
    eq. 14): that number as a tensor, for steps that are replayed on a GPU."""
    opened = (window - torch.arange(n_octaves, dtype=torch.float64)).clamp(0, 1)
    factors = (1 - torch.cos(math.pi * opened)) / 2
    return torch.cat([torch.ones(3), factors.float().repeat_interleave(6)])


def encode_position(x: Tensor, n_octaves: int, window: float | Tensor) -> Tensor:
    """Positions (N, 3), contracted, as sines and cosines; ``window``: open octaves, or their ``octave_factors``."""
    contracted = contract(x) * 0.5
    if isinstance(window, Tensor):
        return ops.positional_encoding(contracted, n_octaves) * window
    return ops.positional_encoding(contracted, n_octaves, True, min(window, n_octaves))


@torch.no_grad()
def seen_from_cameras(x: Tensor, weights: Tensor, cam_from_unit: Tensor) -> Tensor:
    """Positions (N, 3), contracted, along the axes of the cameras that see them: right, down, away from the camera, the
    mean over the views by ``weights`` (N, V); 0 where none looks.

    The one thing that tells what lies behind what a lone photo shows, and where the ground is: photos are upright,
    where the axes of a scene may point anywhere.
    """
    x = contract(x)
    # One product gives the axes, column by column of the rotations, and in a last column the sum of the weights.
    columns = cam_from_unit[:, :, :3].transpose(1, 2).reshape(-1, 9)
    axes = weights @ torch.cat([columns, columns.new_ones(len(columns), 1)], 1)
    placed = axes[:, :3] * x[:, :1]
    placed.addcmul_(axes[:, 3:6], x[:, 1:2]).addcmul_(axes[:, 6:9], x[:, 2:])
    return placed.mul_(0.5).div_(axes[:, 9:].clamp_min_(1e-6))


class FieldModule(nn.Module):
    """What trainer and renderer ask of a field."""

    half_precision = False

    def precision(self, device: torch.device) -> torch.autocast:
        """Autocast of the matrix products to bfloat16 while training where that is faster."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.half_precision and self.training)

    def density_parameters(self) -> list[nn.Parameter]:
        """The parameters that only the density's rate moves; none where density and colour share all of them."""
        return []

    def voxel_parameters(self) -> list[nn.Parameter]:
        """Those that belong to places of one scene, with a rate of their own; none in most fields."""
        return []

    def colour_parameters(self) -> list[nn.Parameter]:
        """All others."""
        apart = {id(parameter) for parameter in [*self.density_parameters(), *self.voxel_parameters()]}
        return [parameter for parameter in self.parameters() if id(parameter) not in apart]

    def density(self, x: Tensor, rays: Tensor, sources: Sources, window: float | Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,) at x (N, 3) seen along unit directions ``rays`` (N, 3), and a code (N, G) for ``colour``."""
        raise NotImplementedError

    def colour(self, x: Tensor, rays: Tensor, code: Tensor, sources: Sources) -> Tensor:
        """Colour (N, 3) at x seen along ``rays``."""
        raise NotImplementedError


class BaseField(FieldModule):
    """[mean, var over the views, log n, x as the cameras see it, gamma(x)] -> 64 -> 64 -> density and a geometry code;
    colours of the source pixels, blended with learned weights. Any number of views; invariant to their order.

    Our reading of UNeR3D (Lin et al. 2023, arXiv 2312.06706), with the colour blending of IBRNet (Wang et al. 2021) and
    positions in the cameras' frames as in pixelNeRF (Yu et al. 2021). With ``voxels``, the density has a residual that
    belongs to the scene alone (voxels.py).
    """

    def __init__(self, channels: int, n_octaves: int, width: int = 64, geometry: int = 15,
                 voxels: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.n_octaves, self.geometry = n_octaves, geometry
        n_in = 2 * (channels + 3) + 1 + 3 + 3 * (2 * n_octaves + 1)
        self.layer1, self.layer2 = nn.Linear(n_in, width), nn.Linear(width, width)
        self.out = nn.Linear(width, 1 + geometry)
        self.blend1 = nn.Linear(channels + N_ANGLES + geometry, 16)
        self.blend2 = nn.Linear(16, 1, bias=False)  # one for all views would change nothing
        nn.init.zeros_(self.out.weight[:1])
        with torch.no_grad():
            self.out.bias[0] = math.log(0.3 / DENSITY_SCALE)  # the empty box starts almost transparent
        self.residual = VoxelResidual() if voxels else None

    def density_parameters(self) -> list[nn.Parameter]:
        return [*self.layer1.parameters(), *self.layer2.parameters(), *self.out.parameters()]

    def voxel_parameters(self) -> list[nn.Parameter]:
        return [] if self.residual is None else list(self.residual.parameters())

    def density(self, x: Tensor, rays: Tensor, sources: Sources, window: float | Tensor) -> tuple[Tensor, Tensor]:
        """Density at x (N, 3), seen along unit directions ``rays`` (N, 3): sigma (N,), geometry code (N, G)."""
        weights = source_weights(x, rays, sources)
        mean, var, n = ops.fuse_views(sources.maps, sources.K_maps, sources.cam_from_unit, x, weights)
        rgb_mean, rgb_var, _ = ops.fuse_views(sources.images, sources.K, sources.cam_from_unit, x, weights)
        # The standard deviation is the photo-consistency cue; as a variance it would vanish near agreement.
        placed = seen_from_cameras(x, weights, sources.cam_from_unit)
        inputs = [mean, (var + 1e-4).sqrt(), rgb_mean, 4 * (rgb_var + 1e-5).sqrt(), torch.log1p(n)[:, None],
                  placed, encode_position(x, self.n_octaves, window)]  # fmt: skip
        with self.precision(x.device):
            h = F.relu(self.layer1(torch.cat(inputs, -1)))
            h = self.out(F.relu(self.layer2(h)))
        h = h.float()
        raw = h[:, 0] if self.residual is None else h[:, 0] + self.residual(x)
        return DENSITY_SCALE * F.softplus(raw), h[:, 1:]

    def colour(self, x: Tensor, rays: Tensor, code: Tensor, sources: Sources) -> Tensor:
        """Colour (N, 3) at x seen along ``rays``: a convex combination of the pixels that the views show there."""
        # The first layer of [features, pixel and angles, code] in its parts: the last belongs to the point alone.
        n_features = sources.maps.shape[-1]
        seen, angles, own = self.blend1.weight.split([n_features, N_ANGLES, self.geometry], dim=1)
        # Not 0 where all views are hidden: the point has a colour none the less.
        weights = source_weights(x, rays, sources).clamp_min(1e-6) if sources.depths is not None else None
        with self.precision(x.device):
            hidden = F.linear(code, own, self.blend1.bias).float()
            return ops.blend_views(sources.maps, sources.K_maps, sources.images, sources.K, sources.cam_from_unit, x,
                                   rays, hidden, seen, angles, self.blend2.weight[0], weights)  # fmt: skip


def source_weights(x: Tensor, rays: Tensor, sources: Sources) -> Tensor:
    """Weights (N, V) of the views at points: ray angle times visibility, without gradient."""
    with torch.no_grad():
        if sources.depths is not None and sources.K_depths is not None:
            K, (height, width) = sources.K_depths, sources.depths.shape[1:]
        else:
            K, (height, width) = sources.K, sources.images.shape[1:3]
        return ops.view_weights(x, K, sources.cam_from_unit, height, width, depths=sources.depths, masks=None,
                                directions=rays, angle_power=4.0, depth_tolerance=0.02)  # fmt: skip
