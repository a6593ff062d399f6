"""From settings to a model: encoder and field."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uner3d.config import Config

from .encoder import PyramidEncoder
from .field import BaseField, FieldModule, Sources


class Model(nn.Module):
    """An encoder and a field. ``encode`` makes the sources that condition every prediction."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder: nn.Module
        self.field: FieldModule
        self.half_precision = False
        if config.model == "paper":
            from .paper import PaperEncoder, PaperField

            self.encoder = PaperEncoder(config.encoder_weights)
            self.field = PaperField(self.encoder.channels, config.octaves)
        elif config.encoder == "resnet34":
            from .resnet34 import FoldedResNet34

            self.encoder = FoldedResNet34(config.encoder_weights)
            self.field = BaseField(self.encoder.channels, config.octaves)
        else:
            self.encoder = PyramidEncoder()
            self.field = BaseField(self.encoder.channels, config.octaves)
        self.use_half_precision(config.precision == "bfloat16")

    def use_half_precision(self, on: bool) -> None:
        """Whether matrix products and convolutions run in bfloat16 while training (accumulation stays float32)."""
        self.half_precision = self.field.half_precision = on

    def encode(self, images: Tensor, K: Tensor, cam_from_unit: Tensor) -> Sources:
        """Sources from photos (V, H, W, 3) in [0, 1] with K (V, 3, 3) in their pixels and poses (V, 3, 4)."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half_precision and self.training):
            maps = self.encoder(images)
        maps = maps.float()
        ratio = torch.tensor([maps.shape[2] / images.shape[2], maps.shape[1] / images.shape[1], 1.0], device=K.device)
        return Sources(maps, images, K * ratio[:, None], K, cam_from_unit)
