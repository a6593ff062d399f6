"""Adam for the field and, where it learns, for the encoder; learning rates that a replayed step can follow."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d.config import Config
from uner3d.model.build import Model


def make_optimizers(config: Config, model: Model) -> list[torch.optim.Optimizer]:
    """Adam for the field and, where the encoder learns, a slower one for it. Of a group of parameters, ``base_lr`` is
    what schedules scale, and ``settles`` says whether by the rate of the density."""
    rate = config.learning_rate
    density, colour = model.field.density_parameters(), model.field.colour_parameters()
    groups = [[(some, rate, some is density) for some in (density, colour) if some]]
    trainable = [p for p in model.encoder.parameters() if p.requires_grad]
    if trainable:
        groups.append([(trainable, rate / 3, False)])
    on_cuda = trainable[0].is_cuda if trainable else next(model.field.parameters()).is_cuda
    fused = on_cuda or None  # one kernel instead of a dozen; None is torch's choice for the CPU
    optimizers: list[torch.optim.Optimizer] = []
    for parts in groups:
        # A step that is replayed reads its rate from the device.
        each = [{"params": parameters, "lr": torch.tensor(lr, device=parameters[0].device) if on_cuda else lr,
                 "base_lr": lr, "settles": settles} for parameters, lr, settles in parts]  # fmt: skip
        optimizers.append(torch.optim.Adam(each, betas=(0.9, 0.99), eps=1e-12, fused=fused, capturable=on_cuda))
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
