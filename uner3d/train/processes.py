"""Training in several processes, as ``torchrun`` starts them."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


def begin_processes(device: torch.device) -> tuple[int, torch.device]:
    """Join the processes that ``torchrun`` started, if it did: how many there are, and the device of this one."""
    if "LOCAL_RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 1, device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return dist.get_world_size(), device


def process_number() -> int:
    """The number of this process under ``torchrun``, else 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def in_any_process(flag: bool) -> bool:
    """Whether it holds in any process: all must stop at the same step."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag))
    if dist.get_backend() == "nccl":
        value = value.cuda()
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)
