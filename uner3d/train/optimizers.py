"""Adam for the field and, where it learns, for the encoder; learning rates that a replayed step can follow."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d.config import Config
from uner3d.model.build import Model


def make_optimizers(config: Config, model: Model) -> list[torch.optim.Optimizer]:
    """Adam for the field and, where the encoder learns, a slower one for it; ``base_lr`` is what schedules scale."""
    rate = config.learning_rate
    groups = [(list(model.field.parameters()), rate)]
    trainable = [p for p in model.encoder.parameters() if p.requires_grad]
    if trainable:
        groups.append((trainable, rate / 3))
    on_cuda = groups[0][0][0].is_cuda
    fused = on_cuda or None  # one kernel instead of a dozen; None is torch's choice for the CPU
    optimizers: list[torch.optim.Optimizer] = []
    for parameters, lr in groups:
        # A step that is replayed reads its rate from the device.
        given = torch.tensor(lr, device=parameters[0].device) if on_cuda else lr
        optimizers.append(
            torch.optim.Adam(parameters, lr=given, betas=(0.9, 0.99), eps=1e-12, fused=fused, capturable=on_cuda)
        )
        for group in optimizers[-1].param_groups:
            group["base_lr"] = lr
    return optimizers


def prepare_optimizers(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Learning rates for a stage, in place where they are tensors; and no gradients."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["base_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        optimizer.zero_grad()
