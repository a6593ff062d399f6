"""Plain-torch twin of positional_encoding."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def positional_encoding(x: Tensor, n_octaves: int, include_input: bool = True, window: float | None = None) -> Tensor:
    """See :func:`uner3d.ops.positional_encoding`; evaluate in float64 where accuracy matters."""
    parts = [x] if include_input else []
    for octave in range(n_octaves):
        weight = 1.0
        if window is not None:
            weight = (1 - math.cos(math.pi * min(max(window - octave, 0.0), 1.0))) / 2
        angle = math.pi * 2.0**octave * x
        parts += [weight * torch.sin(angle), weight * torch.cos(angle)]
    return torch.cat(parts, -1) if parts else x.new_empty(*x.shape[:-1], 0)
