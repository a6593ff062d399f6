"""Features of photos under a network that does not learn: computed once a photo, kept in half precision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

Network = Callable[[Tensor], list[Tensor]]  # photos (V, H, W, 3) in [0, 1] to tensors (V, ...)

MAX_BYTES = 2 << 30


class FeatureCache:
    """What a frozen network makes of photos, by photo set and view; beyond ``max_bytes`` the least recently used go.

    A view's features have the same bytes whether they were kept or not: views pass the network one at a time, in
    float32, and always through half precision.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._next_number = count()
        self._kept: OrderedDict[tuple[int, int], list[Tensor]] = OrderedDict()

    @torch.no_grad()
    def features(self, network: Network, photos, views: list[int]) -> list[Tensor]:
        """Each of the network's outputs for the views of a photo set, (len(views), ...) float32."""
        if photos not in self._numbers:
            self._numbers[photos] = next(self._next_number)
        number = self._numbers[photos]
        parts = [self._view(network, photos, number, view) for view in views]
        return [torch.cat(output).float() for output in zip(*parts, strict=True)]

    def _view(self, network: Network, photos, number: int, view: int) -> list[Tensor]:
        key = (number, view)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        image = photos.images[view : view + 1].float() / 255
        with torch.autocast(image.device.type, enabled=False):
            outputs = [output.half() for output in network(image)]
        self._kept[key] = outputs
        self.n_bytes += _size(outputs)
        while self.n_bytes > self.max_bytes and len(self._kept) > 1:
            self.n_bytes -= _size(self._kept.popitem(last=False)[1])
        return outputs


def _size(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
