"""Where the threads of the CPU kernels come from: PyTorch's runtime, or their own where that cannot be used."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from uner3d import ops


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def encode(seed: int) -> torch.Tensor:
    x = torch.rand(30_000, 3, generator=torch.Generator().manual_seed(seed))
    return ops.positional_encoding(x, 6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_does_not_wait_for_threads_it_does_not_have(two_threads):
    expected = encode(0)  # starts the runtime's threads here, which do not exist in the child
    x = torch.rand(30_000, 3, generator=torch.Generator().manual_seed(0))
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = ops.positional_encoding(x, 6).numpy().tobytes() == expected.numpy().tobytes()
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), "the child was stopped by its alarm"
    assert os.WEXITSTATUS(status) == 0


def test_several_callers_at_once(two_threads):
    expected = [encode(seed) for seed in range(4)]
    wrong: list[int] = []

    def call(seed: int) -> None:
        for _ in range(20):
            if not torch.equal(encode(seed), expected[seed]):
                wrong.append(seed)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_more_threads_than_cores_or_chunks(n_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        assert torch.equal(
            encode(0)[:600],
            ops.positional_encoding(torch.rand(30_000, 3, generator=torch.Generator().manual_seed(0))[:600], 6),
        )
    finally:
        torch.set_num_threads(before)
