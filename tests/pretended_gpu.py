"""A GPU that is not there: torch runs a program on tensors without values, and what would wait for a GPU fails.

Torch's FakeTensorMode knows shapes, types and devices alone. It refuses operations that mix devices, numbers read from
tensors and shapes that depend on values; ``Watch`` adds what CUDA does silently. The device is called "meta", because a
PyTorch without CUDA cannot run the backward of tensors that claim to be on "cuda".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")
# CUDA reads from the device inside these: the number of rows they return, or whether a matrix was singular.
WAITING = ("nonzero", "masked_select", "unique", "_unique2", "bincount", "equal", "is_nonzero", "repeat_interleave",
           "linalg_solve", "_linalg_solve_ex", "linalg_inv", "linalg_inv_ex", "inverse", "linalg_lu_factor_ex",
           "linalg_cholesky_ex", "histc")  # fmt: skip


class Watch(TorchDispatchMode):
    """Refuses hidden copies between host and device; counts those that are asked for, to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = 0
        self.n_operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        on_device = any(t.device == DEVICE for t in given)
        name = func.overloadpacket.__name__
        copies = name in ("_to_copy", "copy_", "copy")
        self.n_operations += on_device
        if on_device and name in WAITING and func._overloadname != "self_int":
            raise RuntimeError(f"{name}: CUDA waits for the device here")
        if on_device and name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            indices = [t for t in tree_leaves(args[1]) if isinstance(t, Tensor)]
            if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
                raise RuntimeError(f"{name}: by a mask, whose true entries CUDA waits for")
        # A scalar on the CPU is an argument of a CUDA kernel; anything larger is copied there first.
        if on_device and not copies and any(t.device != DEVICE and t.dim() > 0 for t in given):
            raise RuntimeError(f"{name}: a tensor on the CPU would be copied to the device unasked")
        out = func(*args, **(kwargs or {}))
        for result in (t for t in tree_leaves(out) if isinstance(t, Tensor)):
            if on_device and result.device != DEVICE:
                raise RuntimeError(f"{name}: copies from the device to the host")
            self.uploads += copies and not on_device and result.device == DEVICE
        return out


@contextlib.contextmanager
def pretended_gpu() -> Iterator[Watch]:
    """Within it every tensor is a fake; ``on_gpu`` brings real ones in."""
    with FakeTensorMode(allow_non_fake_inputs=False), Watch() as watch:
        yield watch


def on_gpu(value: Tensor | None) -> Tensor | None:
    """A tensor of the pretended device with the shape and type of ``value``."""
    return None if value is None else torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
