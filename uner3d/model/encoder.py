"""Image encoders: photos to feature maps, channels last, for projection and fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PyramidEncoder(nn.Module):
    """Small convolutional pyramid: 16 channels at 1, 32 at 1/2, 64 at 1/4, joined by laterals at half resolution.

    ``forward(images (V, H, W, 3) in [0, 1]) -> (V, ceil(H / 2), ceil(W / 2), channels)``, float32, differentiable in
    the weights. A map pixel covers two photo pixels, so intrinsics scale by the ratio of the sizes.
    """

    stride = 2

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.conv_full = nn.Conv2d(3, 16, 3, padding=1)
        self.conv_half = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv_quarter = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.conv_quarter2 = nn.Conv2d(64, 64, 3, padding=1)
        self.lateral_half = nn.Conv2d(32, channels, 1)
        self.lateral_quarter = nn.Conv2d(64, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = (images.permute(0, 3, 1, 2) - 0.5).contiguous(memory_format=torch.channels_last)
        full = F.leaky_relu(self.conv_full(x), 0.1)
        half = F.leaky_relu(self.conv_half(full), 0.1)
        quarter = F.leaky_relu(self.conv_quarter(half), 0.1)
        quarter = F.leaky_relu(self.conv_quarter2(quarter), 0.1)
        up = F.interpolate(self.lateral_quarter(quarter), size=half.shape[-2:], mode="bilinear", align_corners=False)
        return (self.lateral_half(half) + up).permute(0, 2, 3, 1).contiguous()
