"""A GPU that is not there: tensors that claim to lie on another device, with values that the CPU computes.

Within ``pretended_gpu`` a program runs as it would on a GPU, kernels of uner3d.ops included, and what a GPU would not
let pass, or would be waited for, is noticed: operations that mix devices always, copies to the host, counts of rows and
the like where ``Watch.no_waiting`` says so. The device is called "meta", because a PyTorch without CUDA cannot run the
backward of tensors that claim to be on "cuda".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
COPIES = ("_to_copy", "copy_")
# CUDA reads from the device inside these: the number of rows they return, a value, or whether a matrix was singular.
WAITING = ("nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "equal", "is_nonzero", "histc",
           "_local_scalar_dense", "repeat_interleave", "linalg_solve", "_linalg_solve_ex", "linalg_inv",
           "linalg_inv_ex", "inverse", "linalg_lu_factor_ex", "linalg_cholesky_ex")  # fmt: skip
MASKS = (torch.bool, torch.uint8)
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")


class OnGpu(Tensor):
    """A tensor of the pretended device; ``values`` is the CPU's tensor behind it."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=DEVICE,
        )  # fmt: skip
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: a tensor of the pretended GPU outside `with pretended_gpu()`")


class Watch(TorchDispatchMode):
    """Runs operations on the values, and keeps the rules. uploads: copies to the device that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = self.n_operations = 0
        self._may_wait = True

    @contextlib.contextmanager
    def no_waiting(self) -> Iterator[None]:
        """Refuses what makes the host wait for the device."""
        self._may_wait, before = False, self._may_wait
        try:
            yield
        finally:
            self._may_wait = before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        there = [t for t in given if isinstance(t, OnGpu)]
        if there:
            self._check(name, args, given)
        asked = kwargs.pop("device", None)
        if asked is not None:
            kwargs |= {"device": torch.device("cpu")}
        goes = bool(there) if asked is None else torch.device(asked) == DEVICE
        if name == "copy_":
            goes = isinstance(args[0], OnGpu)
        self.uploads += name in COPIES and goes and len(there) < len(given)
        if there and not goes and not self._may_wait:
            raise RuntimeError(f"{name}: copies from the device to the host")
        out = func(*tree_map(_values, args), **tree_map(_values, kwargs))
        if name == "_to_copy" and any(out is t for t in given):
            out = out.clone()  # the CPU had nothing to do, but devices share no memory
        same = {id(t.values): t for t in there}  # what an operation in place returns
        return tree_map(lambda t: _wrapped(t, same) if goes else t, out)

    def _check(self, name: str, args: tuple, given: list[Tensor]) -> None:
        self.n_operations += 1
        # A scalar on the CPU is an argument of a CUDA kernel; anything larger is copied there first.
        if name not in COPIES and any(not isinstance(t, OnGpu) and t.dim() > 0 for t in given):
            raise RuntimeError(f"{name}: mixes a tensor on the CPU with one on the device")
        if self._may_wait:
            return
        if name in WAITING:
            raise RuntimeError(f"{name}: CUDA waits for the device here")
        if name in INDEXING and any(t.dtype in MASKS for t in tree_leaves(args[1]) if t is not None):
            raise RuntimeError(f"{name}: by a mask, whose true entries CUDA waits for")


@contextlib.contextmanager
def pretended_gpu() -> Iterator[Watch]:
    """The pretended GPU exists within this block, and its tensors work there alone."""
    tensor, to, autocast = torch.tensor, nn.Module.to, torch.autocast
    torch.tensor = _tensor(tensor)  # type: ignore[assignment]
    nn.Module.to = _module_to(to)  # type: ignore[method-assign]
    torch.autocast = _autocast(autocast)  # type: ignore[misc,assignment]
    try:
        with Watch() as watch:
            yield watch
    finally:
        torch.tensor, nn.Module.to, torch.autocast = tensor, to, autocast  # type: ignore[method-assign,misc]


def _values(t: Any) -> Any:
    return t.values if isinstance(t, OnGpu) else t


def _wrapped(t: Any, same: dict[int, OnGpu]) -> Any:
    if not isinstance(t, Tensor):
        return t
    return same[id(t)] if id(t) in same else OnGpu(t)


def _tensor(original: Callable) -> Callable:
    """torch.tensor makes tensors of "meta" out of the dispatcher's sight, and loses their values."""
    def tensor(data: Any, *, device: torch.device | str | None = None, **options: Any) -> Tensor:
        made = original(data, **options)
        return made if device is None else made.to(device)

    return tensor


def _module_to(original: Callable) -> Callable:
    """Module.to cannot replace parameters by those of another class."""
    def to(module: nn.Module, device: torch.device | str) -> nn.Module:
        if torch.device(device) != DEVICE:
            return original(module, device)
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    part._parameters[name] = nn.Parameter(value.detach().to(DEVICE), value.requires_grad)
            for name, buffer in part._buffers.items():
                part._buffers[name] = None if buffer is None else buffer.to(DEVICE)
        return module

    return to


def _autocast(original: type) -> Callable:
    """Autocast knows no pretended devices; it is the same there as on the CPU."""
    return lambda kind, **options: original("cpu" if kind == DEVICE.type else kind, **options)
