"""Adam for the field and, where it learns, for the encoder; learning rates that a replayed step can follow."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d.config import Config
from uner3d.model.build import Model

EPS = 1e-12
VOXEL_EPS = 1e-8  # a voxel that next to nothing has touched stays where it is


def make_optimizers(config: Config, model: Model) -> list[torch.optim.Optimizer]:
    """Adam for the field and, where the encoder learns, a slower one for it. Of a group of parameters, ``base_lr`` is
    what schedules scale, and ``settles`` says whether by the rate of the density."""
    rate = config.learning_rate
    density, colour = model.field.density_parameters(), model.field.colour_parameters()
    voxels = model.field.voxel_parameters()
    field = ((density, rate, True), (colour, rate, False), (voxels, config.voxel_rate, True))
    groups = [[part for part in field if part[0]]]
    trainable = [p for p in model.encoder.parameters() if p.requires_grad]
    if trainable:
        groups.append([(trainable, rate / 3, False)])
    place = next(model.field.parameters()).device.type
    on_cuda = place == "cuda"
    # One kernel instead of a dozen; half the time on a CPU too, where the voxels have millions of values.
    fused = place in ("cuda", "cpu") or None
    optimizers: list[torch.optim.Optimizer] = []
    for parts in groups:
        # A step that is replayed reads its rate from the device.
        each = [{"params": parameters, "lr": torch.tensor(lr, device=parameters[0].device) if on_cuda else lr,
                 "base_lr": lr, "settles": settles,
                 "eps": VOXEL_EPS if parameters is voxels else EPS} for parameters, lr, settles in parts]  # fmt: skip
        optimizers.append(torch.optim.Adam(each, betas=(0.9, 0.99), fused=fused, capturable=on_cuda))
    return optimizers


def prepare_optimizers(optimizers: list[torch.optim.Optimizer], factor: float, settling: float) -> None:
    """Learning rates for a stage, in place where they are tensors, ``settling`` being the factor of the density's; and
    no gradients."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["base_lr"] * (settling if group["settles"] else factor)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        optimizer.zero_grad()
