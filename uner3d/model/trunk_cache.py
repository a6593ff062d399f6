"""Features of photos under a trunk that does not learn: computed once a photo, kept in half precision."""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

MAX_BYTES = 2 << 30


class TrunkCache:
    """The scales of a frozen ResNet34 by photo set and view; beyond ``max_bytes`` the least recently used go.

    A view's scales have the same bytes whether they were kept or not: views pass the trunk one at a time, in float32,
    and always through half precision.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._next_number = count()
        self._kept: OrderedDict[tuple[int, int], list[Tensor]] = OrderedDict()

    @torch.no_grad()
    def scales(self, trunk, photos, views: list[int]) -> list[Tensor]:
        """The scales, (len(views), C, h, w) float32 each, of views of a photo set."""
        if photos not in self._numbers:
            self._numbers[photos] = next(self._next_number)
        number = self._numbers[photos]
        parts = [self._view(trunk, photos, number, view) for view in views]
        return [torch.cat(scale).float() for scale in zip(*parts, strict=True)]

    def _view(self, trunk, photos, number: int, view: int) -> list[Tensor]:
        key = (number, view)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        image = photos.images[view : view + 1].float() / 255
        with torch.autocast(image.device.type, enabled=False):
            scales = [scale.half() for scale in trunk.scales(image)]
        self._kept[key] = scales
        self.n_bytes += _size(scales)
        while self.n_bytes > self.max_bytes and len(self._kept) > 1:
            self.n_bytes -= _size(self._kept.popitem(last=False)[1])
        return scales


def _size(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
