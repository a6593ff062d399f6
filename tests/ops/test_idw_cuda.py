"""idw on CUDA: the values and gradients of the CPU, half values, determinism, and the manners of a torch op."""

import pytest
import torch

from uner3d.ops import KnnIndex, idw
from uner3d.ops import reference as ref

from test_idw import in_float64, sample_inputs, tensors  # isort: skip

pytestmark = pytest.mark.gpu

LEAVES = ("index", "values", "queries", "weights")


def moved(arguments: dict) -> dict:
    return {key: v.cuda() if isinstance(v, torch.Tensor) else v for key, v in arguments.items()}


def gradients(arguments: dict) -> list[torch.Tensor]:
    arguments = {k: v.clone().requires_grad_() if k in LEAVES else v for k, v in arguments.items() if v is not None}
    out = idw(**arguments).float()
    target = (out * torch.sin(torch.arange(out.numel(), device=out.device)).view_as(out)).sum()
    return torch.autograd.grad(target, [arguments[name] for name in LEAVES if name in arguments])


def test_matches_the_twin_and_the_cpu():
    for arguments in sample_inputs():
        out = idw(**moved(arguments)).cpu()
        torch.testing.assert_close(out.double(), ref.idw(**in_float64(arguments)), rtol=2e-4, atol=2e-4)
        torch.testing.assert_close(out, idw(**arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("c", [1, 3, 31, 32, 33, 200])
def test_any_number_of_channels(c):
    arguments = tensors(5000, 2000, c)
    torch.testing.assert_close(idw(**moved(arguments)).cpu(), idw(**arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("deterministic", [False, True])
def test_gradients_agree_with_the_cpu(deterministic):
    for arguments in sample_inputs():
        torch.use_deterministic_algorithms(deterministic)
        ours = gradients(moved(arguments))
        torch.use_deterministic_algorithms(False)
        for a, b in zip(ours, gradients(arguments), strict=True):
            # Among points that are all the same, a query's gradient is what rounding leaves of 0.
            torch.testing.assert_close(a.cpu(), b, rtol=2e-4, atol=2e-4 * max(b.abs().max().item(), 0.01))


def test_gradients_repeat_in_deterministic_mode():
    torch.use_deterministic_algorithms(True)
    arguments = moved(tensors(500, 300_000, 3))
    first = gradients(arguments)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(gradients(arguments), first, strict=True))
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("c", [3, 40])
@pytest.mark.parametrize("deterministic", [False, True])
def test_half_values(dtype, c, deterministic):
    arguments = moved(tensors(3000, 2000, c))
    expected, half = idw(**arguments), arguments | {"values": arguments["values"].to(dtype)}
    out, tolerance = idw(**half), 2e-3 if dtype == torch.float16 else 1.6e-2
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    torch.use_deterministic_algorithms(deterministic)
    ours = gradients(half)
    torch.use_deterministic_algorithms(False)
    for a, b in zip(ours, gradients(arguments), strict=True):
        torch.testing.assert_close(a.float(), b, rtol=10 * tolerance, atol=tolerance * b.abs().max().item())


def test_extremes():
    heap, values = torch.full((100_000, 3), 1e6, device="cuda"), torch.arange(100_000.0, device="cuda")[:, None]
    assert idw(heap, values, heap[:1], k=8).item() == 3.5
    assert idw(heap, values, heap[:1] + 50, k=8).item() == 3.5
    t = moved(tensors(20, 4, 3))
    assert not idw(t["index"], t["values"], t["queries"] + 100, max_radius=1.0).any()
    assert not idw(t["index"], t["values"], t["queries"], weights=torch.zeros(20, device="cuda")).any()
    assert not idw(t["index"][:0], t["values"][:0], t["queries"]).any()
    assert idw(t["index"], t["values"], t["queries"][:0]).shape == (0, 3)
    assert idw(t["index"], t["values"][:, :0], t["queries"]).shape == (4, 0)


def test_rows_that_are_not_finite():
    t = moved(tensors(500, 90))
    t["queries"][3, 1], t["index"][7, 0] = torch.nan, torch.inf
    out = idw(**t)
    assert torch.isfinite(out).all() and not out[3].any() and out[4].any()
    with pytest.raises(ValueError, match=r"queries: .*nan.* in row 3"):
        idw(KnnIndex(t["index"]), t["values"], t["queries"], check=True)
    with pytest.raises(ValueError, match=r"weights: .* got -2.0 in row 1"):
        idw(torch.eye(3).cuda(), torch.zeros(3, 1).cuda(), torch.zeros(2, 3).cuda(), check=True,
            weights=torch.tensor([1.0, -2.0, 1.0]).cuda())  # fmt: skip


def test_unaligned_storage():
    t = tensors(400, 200, 3)
    odd = {key: torch.cat([v.new_zeros(1), v.flatten()]).cuda()[1:].view(v.shape) for key, v in t.items()}
    assert odd["values"].data_ptr() % 16 != 0
    assert torch.equal(idw(**odd), idw(**moved(t)))


@pytest.mark.parametrize("deterministic", [False, True])
def test_can_be_captured_in_a_graph_on_any_stream(deterministic):
    torch.use_deterministic_algorithms(deterministic)
    arguments = moved(tensors(20_000, 5000, 3))
    arguments["index"] = KnnIndex(arguments["index"])
    arguments["values"].requires_grad_()

    def step():
        out = idw(**arguments)
        return out, torch.autograd.grad(out.sum(), arguments["values"])[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        expected = step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    torch.cuda.synchronize()
    torch.use_deterministic_algorithms(False)
    for a, b in zip(captured, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_opcheck():
    t = moved(tensors(30, 6, 2))
    index = KnnIndex(t["index"].requires_grad_())
    rest = [t["values"].requires_grad_(), t["queries"].requires_grad_(), t["weights"].requires_grad_()]
    arguments = (*index.tensors(), *rest, t["normals"], t["query_normals"], 4, 2.0, 0.1, 2.0)
    torch.library.opcheck(torch.ops.uner3d.idw.default, arguments)
    detached = [a.detach() if isinstance(a, torch.Tensor) else a for a in arguments]
    for wanted in ([True] * 4, [True, False, True, False]):
        torch.library.opcheck(
            torch.ops.uner3d.idw_backward.default, (torch.ones(6, 2, device="cuda"), *detached, wanted),
            test_utils=("test_schema", "test_faketensor"),
        )  # fmt: skip


def test_the_current_device_is_left_alone():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    t = tensors(500, 90)
    with torch.cuda.device(0):
        out = idw(**{key: v.to("cuda:1") for key, v in t.items()})
        assert torch.cuda.current_device() == 0 and out.device.index == 1
    torch.testing.assert_close(out.cpu(), idw(**t), rtol=1e-5, atol=1e-5)
