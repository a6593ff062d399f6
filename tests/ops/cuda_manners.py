"""What every CUDA op must do beside computing: obey the current stream, be capturable, take any storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def to_cuda(inputs: Sequence, device: str = "cuda") -> tuple:
    return tuple(t.to(device) if isinstance(t, torch.Tensor) else t for t in inputs)


def with_grads(function: Callable, inputs: Sequence, wanted: Sequence[int]) -> list[torch.Tensor]:
    """Outputs and the gradients of ``wanted`` inputs, of a loss that weighs every float output element differently."""
    inputs = [t.detach().requires_grad_() if i in wanted else t for i, t in enumerate(inputs)]
    outputs = function(*inputs)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    if not wanted:
        return outputs
    loss = sum((o * weigh(o)).sum() for o in outputs if o.is_floating_point())
    grads = torch.autograd.grad(loss, [inputs[i] for i in wanted], allow_unused=True)
    return [o.detach() for o in outputs] + [g for g in grads if g is not None]


def weigh(like: torch.Tensor) -> torch.Tensor:
    return 0.2 + torch.arange(like.numel(), device=like.device).view(like.shape).remainder(7).to(like.dtype) / 7


def check_close(ours: Sequence[torch.Tensor], want: Sequence[torch.Tensor], rtol: float = 2e-4, atol: float = 2e-5):
    """``atol`` is relative to the largest element."""
    assert len(ours) == len(want)
    for a, b in zip(ours, want, strict=True):
        scale = max(1e-6, b.double().abs().max().item()) if b.numel() else 1.0
        torch.testing.assert_close(a.double().cpu(), b.double().cpu(), rtol=rtol, atol=atol * scale)


def check_stream(function: Callable, inputs: Sequence, wanted: Sequence[int], **tolerance: float) -> None:
    """The inputs are written late on a side stream: a kernel on any other stream would read what was there before."""
    expected = with_grads(function, inputs, wanted)
    late = [torch.zeros_like(t) if isinstance(t, torch.Tensor) else t for t in inputs]
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        for t, source in zip(late, inputs, strict=True):
            if isinstance(t, torch.Tensor):
                t.copy_(source)
        results = with_grads(function, late, wanted)
    torch.cuda.synchronize()
    check_close(results, expected, **tolerance)


def check_capture(
    function: Callable, inputs: Sequence, others: Sequence, wanted: Sequence[int], **tolerance: float
) -> None:
    """Forward and backward in a graph, replayed on ``others``; capture fails where an op synchronises or allocates."""
    static = [t.clone() if isinstance(t, torch.Tensor) else t for t in inputs]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        with_grads(function, static, wanted)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = with_grads(function, static, wanted)
    for t, source in zip(static, others, strict=True):
        if isinstance(t, torch.Tensor):
            t.detach().copy_(source)
    graph.replay()
    torch.cuda.synchronize()
    check_close(results, with_grads(function, others, wanted), **tolerance)


def unaligned(t: object, offset: int = 1) -> object:
    """A copy whose storage starts ``offset`` elements off."""
    if not isinstance(t, torch.Tensor):
        return t
    return t.new_empty(t.numel() + offset)[offset:].view(t.shape).copy_(t)


def check_repeats(function: Callable, inputs: Sequence, wanted: Sequence[int], times: int = 5) -> None:
    """The same bits each time under torch.use_deterministic_algorithms."""
    torch.use_deterministic_algorithms(True)
    try:
        first = with_grads(function, inputs, wanted)
        for _ in range(times):
            for a, b in zip(first, with_grads(function, inputs, wanted), strict=True):
                assert torch.equal(a, b)
    finally:
        torch.use_deterministic_algorithms(False)


def check_second_device(function: Callable, inputs: Sequence, wanted: Sequence[int], **tolerance: float) -> None:
    with torch.cuda.device(0):
        results = with_grads(function, to_cuda(inputs, "cuda:1"), wanted)
        assert torch.cuda.current_device() == 0 and all(t.device.index == 1 for t in results)
    check_close(results, with_grads(function, inputs, wanted), **tolerance)
