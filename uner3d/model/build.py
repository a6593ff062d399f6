"""From settings to a model: encoder and field."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uner3d.config import Config
from uner3d.device import upload

from .encoder import PyramidEncoder
from .feature_cache import FeatureCache
from .field import BaseField, FieldModule, Sources
from .resnet34 import FoldedResNet34


class Model(nn.Module):
    """An encoder and a field. ``encode`` makes the sources that condition every prediction; ``encode_views`` does so
    for views of a photo set, and keeps what a frozen encoder, or its frozen trunk, makes of them.

    Without ``read_weights`` the file of encoder weights is left alone: for a model whose saved state holds them.
    """

    def __init__(self, config: Config, trunk_cache: FeatureCache | None = None, read_weights: bool = True) -> None:
        super().__init__()
        weights = config.encoder_weights if read_weights else None
        self.encoder: nn.Module
        self.field: FieldModule
        if config.model == "paper":
            from .paper import PaperEncoder, PaperField

            self.encoder = PaperEncoder(weights)
            self.field = PaperField(self.encoder.channels, config.octaves)
        elif config.encoder == "resnet34":
            self.encoder = FoldedResNet34(weights, freeze=config.encoder_weights is not None)
            self.field = BaseField(self.encoder.channels, config.octaves, voxels=config.voxel_rate > 0)
        else:
            self.encoder = PyramidEncoder()
            self.field = BaseField(self.encoder.channels, config.octaves, voxels=config.voxel_rate > 0)
        self.trunk_cache = trunk_cache or FeatureCache()
        self.map_cache = FeatureCache()
        self.use_half_precision(config.precision == "bfloat16")

    def use_half_precision(self, on: bool) -> None:
        """Whether matrix products and convolutions run in bfloat16 while training (accumulation stays float32)."""
        self.field.half_precision = on

    def encode(self, images: Tensor, K: Tensor, cam_from_unit: Tensor) -> Sources:
        """Sources from photos (V, H, W, 3) in [0, 1] with K (V, 3, 3) in their pixels and poses (V, 3, 4)."""
        with self.field.precision(images.device):
            return _sources(self.encoder(images), images, K, cam_from_unit)

    def freeze_encoder(self) -> None:
        """From now on the encoder stays as it is, and the maps of every view are kept."""
        self.encoder.requires_grad_(False)

    @property
    def encoder_learns(self) -> bool:
        """Whether anything in the encoder can still change."""
        return any(parameter.requires_grad for parameter in self.encoder.parameters())

    def encode_views(self, photos, views: Tensor) -> Sources:
        """Sources from the views (V,), numbers on the CPU, of a PhotoSet, on its device, with the depths of their
        surfaces where it knows them."""
        index = upload(views, photos.images.device)
        sources = self._encoded(photos, views, index)
        if photos.seen is not None:
            sources.depths, sources.K_depths = photos.seen.depth[index].float(), photos.seen.K[index]
        return sources

    def _encoded(self, photos, views: Tensor, index: Tensor) -> Sources:
        images, K, poses = photos.images[index].float() / 255, photos.K[index], photos.cam_from_unit[index]
        if not self.encoder_learns:
            return _sources(self._kept_maps(photos, views.tolist()), images, K, poses)
        learning = self._above_frozen_trunk()
        if learning is None:
            return self.encode(images, K, poses)
        scales = self.trunk_cache.features(learning.trunk.scales, photos, views.tolist())
        with self.field.precision(images.device):
            return _sources(learning.fold(scales), images, K, poses)

    def remember_views(self, photos) -> None:
        """Compute what is kept of all views of a PhotoSet; nothing to do where all of the encoder learns."""
        learning = self._above_frozen_trunk()
        for view in range(len(photos)):
            if not self.encoder_learns:
                self._kept_maps(photos, [view])
            elif learning is not None:
                self.trunk_cache.features(learning.trunk.scales, photos, [view])

    def _kept_maps(self, photos, views: list[int]) -> Tensor:
        return self.map_cache.features(lambda images: [self.encoder(images)], photos, views)[0]

    def _above_frozen_trunk(self) -> FoldedResNet34 | None:
        return self.encoder if isinstance(self.encoder, FoldedResNet34) and self.encoder.frozen else None


def _sources(maps: Tensor, images: Tensor, K: Tensor, cam_from_unit: Tensor) -> Sources:
    ratio = torch.tensor([maps.shape[2] / images.shape[2], maps.shape[1] / images.shape[1], 1.0])
    return Sources(maps.float(), images, K * upload(ratio, K.device)[:, None], K, cam_from_unit)
