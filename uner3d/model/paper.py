"""The plainest reading of UNeR3D (Lin et al. 2023, arXiv 2312.06706): per-view MLP, mean over views, second MLP."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uner3d import ops

from .field import DENSITY_SCALE, FieldModule, Sources, encode_position
from .resnet34 import FoldedResNet34

WIDTH = 64


class PaperEncoder(FoldedResNet34):
    """The 512 channels of ResNet34, already multiplied by the first layer of f1: a linear map of the features, which
    commutes with bilinear sampling, so the field is the same function at an eighth of the memory traffic."""

    def __init__(self, weights: str | Path | None = None) -> None:
        # Without pretrained weights the trunk still stays fixed: random features, at a cost that a fit can pay.
        super().__init__(weights, channels=WIDTH, freeze=True)


class ResidualBlock(nn.Module):
    """x + W2 relu(W1 relu(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.relu(self.one(F.relu(x))))


class PaperField(FieldModule):
    """h_v = f1([gamma(x), F_v(pi_v x), direction in view v]); h = mean over the views that see x; (sigma, rgb) = f2(h).
    """

    def __init__(self, channels: int, n_octaves: int) -> None:
        super().__init__()
        if channels != WIDTH:
            raise ValueError(f"channels: expected the encoder's {WIDTH}, got {channels}")
        self.n_octaves = n_octaves
        self.position = nn.Linear(3 * (2 * n_octaves + 1) + 3, WIDTH)
        self.f1, self.f2 = ResidualBlock(WIDTH), ResidualBlock(WIDTH)
        self.out = nn.Linear(WIDTH, 4)
        with torch.no_grad():
            self.out.weight[:1].zero_()
            self.out.bias[0] = math.log(0.3 / DENSITY_SCALE)

    def density(self, x: Tensor, rays: Tensor, sources: Sources, window: float | Tensor) -> tuple[Tensor, Tensor]:
        """sigma (N,) and the colour's logits (N, 3) as the code."""
        features, valid = ops.sample_views(sources.maps, sources.K_maps, sources.cam_from_unit, x)
        gamma = encode_position(x, self.n_octaves, window)
        in_view = torch.einsum("vij,nj->nvi", sources.cam_from_unit[:, :, :3], rays)
        weight = self.position.weight
        split = gamma.shape[1]
        h = features + F.linear(gamma, weight[:, :split], self.position.bias)[:, None]
        h = h + F.linear(in_view, weight[:, split:])
        h = self.f1(h) * valid[..., None]
        h = h.sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
        out = self.out(F.relu(self.f2(h)))
        return DENSITY_SCALE * F.softplus(out[:, 0]), out[:, 1:]

    def colour(self, x: Tensor, rays: Tensor, code: Tensor, sources: Sources) -> Tensor:
        """rgb (N, 3): the sigmoid of the code."""
        return torch.sigmoid(code)
