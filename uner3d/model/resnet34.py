"""ResNet34 trunk to layer3 (He et al. 2016), with the parameter names of the common ImageNet checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (64, 64, 128, 256)  # stem, layer1, layer2, layer3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet34(nn.Module):
    """``forward(images (V, H, W, 3) in [0, 1]) -> (V, ceil(H / 2), ceil(W / 2), 512)``: the four scales upsampled
    bilinearly to the stem's resolution and concatenated. Batch norm runs on stored statistics always, so that a view's
    features do not depend on the others."""

    channels = sum(CHANNELS)
    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, 3, 1)
        self.layer2 = _layer(64, 128, 4, 2)
        self.layer3 = _layer(128, 256, 6, 2)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD), persistent=False)
        if weights is not None:
            load_imagenet(self, Path(weights))
        self.eval()

    def train(self, mode: bool = True) -> ResNet34:
        """Batch norm stays on its stored statistics."""
        return super().train(False)

    def scales(self, images: Tensor) -> list[Tensor]:
        """The four scales as they come, (V, C, h, w) with 64, 64, 128 and 256 channels at strides 2, 4, 8 and 16."""
        x = ((images - self.mean) / self.std).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        stem = F.relu(self.bn1(self.conv1(x)))
        one = self.layer1(F.max_pool2d(stem, 3, 2, 1))
        two = self.layer2(one)
        return [stem, one, two, self.layer3(two)]

    def forward(self, images: Tensor) -> Tensor:
        scales = self.scales(images)
        size = scales[0].shape[-2:]
        scales = [F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in scales]
        return torch.cat(scales, 1).permute(0, 2, 3, 1)


class FoldedResNet34(nn.Module):
    """ResNet34 with its 512 channels projected to ``channels``. A linear map of the channels commutes with bilinear
    sampling and upsampling, so each scale is projected where it is smallest: the same function as sampling all 512
    channels and then projecting, at a fifth of the products and a sixteenth of the memory traffic."""

    stride = 2

    def __init__(self, weights: str | Path | None = None, channels: int = 32, freeze: bool | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.trunk = ResNet34(weights)
        self.project = nn.Linear(ResNet34.channels, channels)
        frozen = weights is not None if freeze is None else freeze
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(not frozen)

    @property
    def frozen(self) -> bool:
        """Whether the trunk stays as it is, so that its scales of a photo can be kept."""
        return not any(parameter.requires_grad for parameter in self.trunk.parameters())

    def forward(self, images: Tensor) -> Tensor:
        return self.fold(self.trunk.scales(images))

    def fold(self, scales: list[Tensor]) -> Tensor:
        """Maps (V, h, w, channels) at the first scale's resolution from what ``ResNet34.scales`` returns."""
        size = scales[0].shape[-2:]
        weights = self.project.weight[..., None, None].split(CHANNELS, dim=1)
        maps = F.conv2d(scales[0], weights[0], self.project.bias)
        for scale, weight in zip(scales[1:], weights[1:], strict=True):
            small = F.conv2d(scale, weight)
            maps = maps + F.interpolate(small, size=size, mode="bilinear", align_corners=False)
        return maps.permute(0, 2, 3, 1).contiguous()


def load_imagenet(trunk: ResNet34, path: Path) -> None:
    """Load an ImageNet state dict (.safetensors, or .pth read with weights_only); layer4 and fc are left out.

    Raises FileNotFoundError or ValueError naming the file and the first tensor that is missing or has another shape.
    """
    if not path.is_file():
        raise FileNotFoundError(f"encoder weights {path}: not found")
    state = _read_state(path)
    own = trunk.state_dict()
    for name, value in own.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in state:
            raise ValueError(f"encoder weights {path}: {name} is missing; expected an ImageNet ResNet34 state dict")
        if not isinstance(state[name], Tensor):
            raise ValueError(f"encoder weights {path}: {name} expected a tensor, got {type(state[name]).__name__}")
        if state[name].shape != value.shape:
            got = tuple(state[name].shape)
            raise ValueError(f"encoder weights {path}: {name} expected {tuple(value.shape)}, got {got}")
    trunk.load_state_dict({name: state.get(name, value) for name, value in own.items()})


def _read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, from formats that cannot execute code alone."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes the libraries raise
        raise ValueError(f"encoder weights {path}: expected a plain state dict, got {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"encoder weights {path}: expected a plain state dict, got {type(state).__name__}")
    return state


def _layer(n_in: int, n_out: int, n_blocks: int, stride: int) -> nn.Sequential:
    rest = (BasicBlock(n_out, n_out, 1) for _ in range(n_blocks - 1))
    return nn.Sequential(BasicBlock(n_in, n_out, stride), *rest)
