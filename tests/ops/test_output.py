"""Memory of large CPU outputs: taken from freed ones, given back, and no different from other tensors."""

from __future__ import annotations

import io
import os
import sys

import pytest
import torch

from uner3d import ops
from uner3d.ops import _native
from uner3d.ops._output import POOLED_FROM, empty_cpu

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="outputs are pooled on Linux alone")
pooled = pytest.mark.skipif(not _native.memory.output_pooled, reason="AddressSanitizer is to see each allocation")
MIB = 1 << 20
LIKE = torch.empty(0)


@pytest.fixture(autouse=True)
def nothing_kept():
    ops.release_memory()
    yield
    ops.release_memory()


def kept() -> int:
    return _native.memory.output_kept()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_is_a_tensor_as_any_other(dtype):
    shape = (3, POOLED_FROM // 8, 5)
    out = empty_cpu(LIKE, shape, dtype)
    assert out.shape == shape and out.dtype == dtype and out.is_contiguous() and out.device.type == "cpu"
    assert out.data_ptr() % 64 == 0
    out.copy_(torch.arange(out.numel()).view(shape) % 1000)
    saved = io.BytesIO()
    torch.save(out, saved)
    saved.seek(0)
    assert torch.equal(torch.load(saved), out)
    assert torch.equal(torch.from_numpy(out.numpy().copy()), out.clone())


@pooled
def test_freed_memory_is_used_again():
    first = empty_cpu(LIKE, (4 * MIB,))
    assert kept() == 0
    last = first[-10:]  # a view keeps it
    del first
    assert kept() == 0
    del last
    assert kept() >= 16 * MIB
    second = empty_cpu(LIKE, (4 * MIB,))
    assert kept() == 0
    del second


@pooled
def test_arrays_do_not_start_at_the_same_place_of_a_page():
    starts = [empty_cpu(LIKE, (MIB,)) for _ in range(4)]
    offsets = sorted(t.data_ptr() % 4096 for t in starts)
    assert min(b - a for a, b in zip(offsets, offsets[1:], strict=False)) >= 256


def test_a_block_much_too_large_is_left():
    del_me = empty_cpu(LIKE, (16 * MIB,))
    del del_me
    before = kept()
    small = empty_cpu(LIKE, (MIB,))
    assert kept() == before
    del small


@pooled
def test_what_is_kept_has_a_limit():
    tensors = [empty_cpu(LIKE, (40 * MIB,)) for _ in range(5)]  # 800 MiB, never touched
    tensors.clear()
    assert 0 < kept() <= 512 * MIB


@pooled
def test_one_large_block_is_kept_besides():
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    if memory < 8 << 30:
        pytest.skip("a sixteenth of this machine's memory is less than the blocks of this test")
    first, second = (empty_cpu(LIKE, (n * MIB,)) for n in (80, 90))  # never touched
    address = first.data_ptr() // (2 * MIB)
    del second, first
    assert 320 * MIB <= kept() <= 330 * MIB  # the last alone
    small = [empty_cpu(LIKE, (40 * MIB,)) for _ in range(5)]
    small.clear()
    assert empty_cpu(LIKE, (80 * MIB,)).data_ptr() // (2 * MIB) == address
    enormous = empty_cpu(LIKE, (memory // 16 // LIKE.itemsize + 16 * MIB,))  # never touched either
    del enormous
    assert kept() <= 842 * MIB


@pooled
def test_releasing_leaves_tensors_alone():
    x = torch.rand(20_000, 3)
    encoded = ops.positional_encoding(x, 10)
    expected = encoded.clone()
    ops.positional_encoding(x, 10)
    assert ops.release_memory() > 0
    assert ops.release_memory() == 0
    assert torch.equal(encoded, expected)


def test_small_outputs_are_not_pooled():
    small = empty_cpu(LIKE, (POOLED_FROM // 4 - 1,))
    del small
    assert kept() == 0


def test_gradients_survive_the_graph():
    x = torch.rand(100_000, 3, requires_grad=True)
    ops.positional_encoding(x, 4).square().sum().backward()
    grad = x.grad.clone()
    for _ in range(3):  # would overwrite it, had its memory been given to another
        y = torch.rand(100_000, 3, requires_grad=True)
        ops.positional_encoding(y, 4).sum().backward()
    assert torch.equal(x.grad, grad)


def test_opcheck_of_large_outputs():
    x = torch.rand(POOLED_FROM // 4 // 20, 3, requires_grad=True)
    torch.library.opcheck(torch.ops.uner3d.positional_encoding.default, (x, 10, True, None))
