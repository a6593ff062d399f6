"""From settings to a model: encoder and field."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uner3d.config import Config
from uner3d.device import upload

from .encoder import PyramidEncoder
from .field import BaseField, FieldModule, Sources
from .resnet34 import FoldedResNet34
from .trunk_cache import TrunkCache


class Model(nn.Module):
    """An encoder and a field. ``encode`` makes the sources that condition every prediction; ``encode_views`` does so
    for views of a photo set, and keeps what a frozen trunk makes of them."""

    def __init__(self, config: Config, trunk_cache: TrunkCache | None = None) -> None:
        super().__init__()
        self.encoder: nn.Module
        self.field: FieldModule
        if config.model == "paper":
            from .paper import PaperEncoder, PaperField

            self.encoder = PaperEncoder(config.encoder_weights)
            self.field = PaperField(self.encoder.channels, config.octaves)
        elif config.encoder == "resnet34":
            self.encoder = FoldedResNet34(config.encoder_weights)
            self.field = BaseField(self.encoder.channels, config.octaves)
        else:
            self.encoder = PyramidEncoder()
            self.field = BaseField(self.encoder.channels, config.octaves)
        self.trunk_cache = trunk_cache or TrunkCache()
        self.use_half_precision(config.precision == "bfloat16")

    def use_half_precision(self, on: bool) -> None:
        """Whether matrix products and convolutions run in bfloat16 while training (accumulation stays float32)."""
        self.field.half_precision = on

    def encode(self, images: Tensor, K: Tensor, cam_from_unit: Tensor) -> Sources:
        """Sources from photos (V, H, W, 3) in [0, 1] with K (V, 3, 3) in their pixels and poses (V, 3, 4)."""
        with self.field.precision(images.device):
            return _sources(self.encoder(images), images, K, cam_from_unit)

    def encode_views(self, photos, views: Tensor) -> Sources:
        """Sources from the views (V,), numbers on the CPU, of a PhotoSet, on its device."""
        index = upload(views, photos.images.device)
        images, K, poses = photos.images[index].float() / 255, photos.K[index], photos.cam_from_unit[index]
        frozen = self._frozen_encoder()
        if frozen is None:
            return self.encode(images, K, poses)
        scales = self.trunk_cache.scales(frozen.trunk, photos, views.tolist())
        with self.field.precision(images.device):
            return _sources(frozen.fold(scales), images, K, poses)

    def remember_views(self, photos) -> None:
        """Run a frozen trunk over all views of a PhotoSet; nothing to do for an encoder that learns."""
        frozen = self._frozen_encoder()
        if frozen is not None:
            for view in range(len(photos)):
                self.trunk_cache.scales(frozen.trunk, photos, [view])

    def _frozen_encoder(self) -> FoldedResNet34 | None:
        return self.encoder if isinstance(self.encoder, FoldedResNet34) and self.encoder.frozen else None


def _sources(maps: Tensor, images: Tensor, K: Tensor, cam_from_unit: Tensor) -> Sources:
    ratio = torch.tensor([maps.shape[2] / images.shape[2], maps.shape[1] / images.shape[1], 1.0])
    return Sources(maps.float(), images, K * upload(ratio, K.device)[:, None], K, cam_from_unit)
