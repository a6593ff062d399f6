"""idw against its plain-torch twin in float64, its gradients, and its rules at the edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d.ops import KnnIndex, idw
from uner3d.ops import reference as ref

POWERS = (0.5, 1.0, 2.0, 3.0, 4.0)


def tensors(n=400, m=90, c=5, dtype=torch.float32, seed=0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return dict(
        index=normal(n, 3), values=normal(n, c), queries=normal(m, 3), weights=normal(n).abs(), normals=normal(n, 3),
        query_normals=normal(m, 3),
    )  # fmt: skip


def sample_inputs(dtype=torch.float32):
    """Keyword arguments of idw: every option at least once, queries on and off points."""
    t = tensors(dtype=dtype)
    plain = {key: t[key] for key in ("index", "values", "queries")}
    on_points = plain | {"queries": torch.cat([t["queries"], t["index"][:30]])}
    normals = {"normals": t["normals"], "query_normals": t["query_normals"]}
    for power in POWERS:
        yield plain | {"power": power}
        yield plain | {"power": power, "eps": 0.01, "weights": t["weights"]}
        yield on_points | {"power": power, "eps": 0.0}
    for k in (1, 3, 16, 64):
        yield on_points | {"k": k}
    yield plain | normals | {"weights": t["weights"]}
    yield plain | {"max_radius": 0.4, "weights": (t["weights"] - 0.5).clamp_min(0)}
    yield plain | {"index": t["index"][:3], "values": t["values"][:3]}
    yield plain | {"index": torch.full_like(t["index"], 0.3)}


def in_float64(arguments: dict) -> dict:
    arguments = {key: v.double() if isinstance(v, torch.Tensor) else v for key, v in arguments.items()}
    return {"points": arguments.pop("index"), **arguments}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_the_twin(isa, dtype):
    tolerance = 2e-4 if dtype == torch.float32 else 1e-11
    for arguments in sample_inputs(dtype):
        expected = ref.idw(**in_float64(arguments))
        torch.testing.assert_close(idw(**arguments).double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("with_normals", [False, True])
def test_gradcheck(isa, power, with_normals):
    t = tensors(25, 6, 2, torch.float64, seed=1)
    normals = {"normals": t["normals"], "query_normals": t["query_normals"]} if with_normals else {}
    inputs = [t[name].requires_grad_() for name in ("index", "values", "queries", "weights")]
    for eps in (0.0, 0.05):
        assert torch.autograd.gradcheck(
            lambda p, v, q, w, eps=eps: idw(p, v, q, k=4, power=power, eps=eps, weights=w, **normals), inputs
        )


@pytest.mark.parametrize("k", [1, 8, 40])
def test_gradients_match_the_twin_with_the_default_eps(isa, k):
    """The spacing that sets eps is a constant in the backward, which finite differences cannot see."""
    t = tensors(300, 500, 3, torch.float64)
    t["queries"][:50] = t["index"][:50]
    inputs = [t[name].requires_grad_() for name in ("index", "values", "queries", "weights")]
    grads = []
    for op in (idw, ref.idw):
        out = op(*inputs[:3], k=k, weights=inputs[3], max_radius=1.0)
        grads.append(torch.autograd.grad((out * torch.sin(torch.arange(out.numel())).view_as(out)).sum(), inputs))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_only_the_wanted_gradients_are_computed():
    t = tensors(50, 10, 2)
    values = t["values"].requires_grad_()
    idw(t["index"], values, t["queries"]).sum().backward()
    assert t["index"].grad is None and values.grad.sum().isclose(torch.tensor(20.0))
    queries = t["queries"].requires_grad_()
    (grad,) = torch.autograd.grad(idw(t["index"], values, queries).sum(), queries)
    assert grad.abs().sum() > 0


def test_query_on_points_takes_their_mean():
    points = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]], requires_grad=True)
    values = torch.tensor([[1.0], [3.0], [100.0]])
    query = torch.zeros(1, 3, requires_grad=True)
    for power in POWERS:
        out = idw(points, values, query, k=3, power=power, eps=0.0)
        assert out.item() == 2
        grads = torch.autograd.grad(out.sum(), (points, query))
        assert not any(g.any() for g in grads)
    weights = torch.tensor([3.0, 1.0, 1.0])
    assert idw(points, values, query, k=3, eps=0.0, weights=weights).item() == 1.5
    assert idw(points, values, query, k=3, eps=0.0, weights=torch.tensor([0.0, 0, 1])).item() == 100


def test_all_in_one_place():
    points, values = torch.full((100, 3), 1e6), torch.arange(100.0)[:, None]
    assert idw(points, values, points[:1], k=8).item() == 3.5  # the lowest eight indices
    assert idw(points, values, points[:1] + 50, k=8).item() == 3.5


def test_normals_choose_and_fall_back():
    points = torch.tensor([[1.0, 0, 0], [2, 0, 0]])
    values, up, query = torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0, 0, 1]]), torch.zeros(1, 3)
    normals = torch.cat([-up, up])
    assert idw(points, values, query, k=2, normals=normals, query_normals=up).item() == 5
    assert idw(points, values, query, k=2, normals=normals, query_normals=-up).item() == 1
    both = idw(points, values, query, k=2, normals=-up.expand(2, 3), query_normals=up)
    assert both.item() == idw(points, values, query, k=2).item()


def test_nothing_near_or_no_weight_gives_zero():
    t = tensors(20, 4, 3)
    far = t["queries"] + 100
    assert not idw(t["index"], t["values"], far, max_radius=1.0).any()
    assert not idw(t["index"], t["values"], t["queries"], weights=torch.zeros(20)).any()
    assert not idw(t["index"][:0], t["values"][:0], t["queries"]).any()
    assert idw(t["index"], t["values"], t["queries"][:0]).shape == (0, 3)
    assert idw(t["index"], t["values"][:, :0], t["queries"]).shape == (4, 0)


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_units_do_not_matter(scale, power):
    t = tensors(dtype=torch.float32)
    expected = idw(t["index"], t["values"], t["queries"], power=power)
    scaled = idw(t["index"] * scale, t["values"], t["queries"] * scale, power=power)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 64), st.sampled_from(POWERS), st.integers(0, 10**6),
       st.sampled_from([None, 0.0, 1e-30, 1.0]), st.sampled_from([1e-18, 1.0, 1e6]))  # fmt: skip
def test_a_mean_stays_between_its_values(n, k, power, seed, eps, scale):
    t = tensors(n, 20, 2, seed=seed)
    points = t["index"].round(decimals=1) * scale
    queries = torch.cat([t["queries"] * scale, points[:3]]).requires_grad_()
    values = t["values"].requires_grad_()
    out = idw(points, values, queries, k, power, eps)
    slack = 1e-5 * values.detach().abs().max()
    assert torch.isfinite(out).all()
    assert (out <= values.amax(0) + slack).all() and (out >= values.amin(0) - slack).all()
    out.sum().backward()
    assert torch.isfinite(values.grad).all() and torch.isfinite(queries.grad).all()
    assert math.isclose(values.grad.sum().item(), out.numel(), rel_tol=1e-4)


def test_thread_count_changes_nothing(isa, threads):
    t = tensors(3000, 70_000, 3)
    results = []
    for n_threads in (1, 2, 3):
        threads(n_threads)
        inputs = [t[name].clone().requires_grad_() for name in ("index", "values", "queries", "weights")]
        out = idw(*inputs[:3], weights=inputs[3])
        (out * torch.arange(3)).sum().backward()
        results.append([out.detach(), *(x.grad for x in inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck():
    t = tensors(30, 6, 2, torch.float64)
    index = KnnIndex(t["index"].requires_grad_())
    rest = [t["values"].requires_grad_(), t["queries"].requires_grad_(), t["weights"].requires_grad_()]
    arguments = (*index.tensors(), *rest, t["normals"], t["query_normals"], 4, 2.0, 0.1, 2.0)
    torch.library.opcheck(torch.ops.uner3d.idw.default, arguments)
    torch.library.opcheck(torch.ops.uner3d.idw.default, (*arguments[:7], None, None, None, 4, 2.0, None, None))
    detached = [a.detach() if isinstance(a, torch.Tensor) else a for a in arguments]
    grad = torch.ones(6, 2, dtype=torch.float64)
    for wanted in ([True] * 4, [True, False, True, False]):
        torch.library.opcheck(torch.ops.uner3d.idw_backward.default, (grad, *detached, wanted))


def test_non_contiguous_inputs():
    t = tensors(60, 10, 4)
    expected = idw(**t)
    strided = {key: torch.stack([v, v], -1)[..., 0] for key, v in t.items()}
    assert not any(v.is_contiguous() for v in strided.values())
    assert torch.equal(idw(**strided), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            dict(values=torch.zeros(2, 1)),
            ValueError,
            r"values: expected shape \(N, C\) with N = 3, C = 1, got \(2, 1\)",
        ),
        (dict(values=torch.zeros(3, 1, dtype=torch.float64)), TypeError, "values: expected dtype torch.float32"),
        (dict(queries=torch.zeros(3)), ValueError, "queries: expected shape"),
        (dict(queries=torch.full((1, 3), math.nan)), ValueError, r"queries: .*nan.* in row 0"),
        (dict(weights=torch.ones(2)), ValueError, "weights: expected shape"),
        (dict(weights=torch.tensor([1.0, -2.0, 1.0])), ValueError, r"weights: .* got -2.0 in row 1"),
        (dict(weights=torch.tensor([1.0, 1.0, math.inf])), ValueError, r"weights: .* got inf in row 2"),
        (dict(normals=torch.ones(3, 3)), ValueError, "normals, query_normals: expected both or neither"),
        (dict(normals=torch.ones(3, 3), query_normals=torch.ones(1, 3)), ValueError, "query_normals: expected shape"),
        (dict(power=0.0), ValueError, "power: expected a positive number, got 0.0"),
        (dict(eps=-1.0), ValueError, "eps: expected a number >= 0 or None, got -1.0"),
        (dict(k=0), ValueError, "k: expected a value from 1 to 64"),
        (dict(max_radius=-1.0), ValueError, "max_radius: expected a value from 0"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    given = {"index": torch.eye(3), "values": torch.zeros(3, 1), "queries": torch.zeros(2, 3), **arguments}
    with pytest.raises(error, match=message):
        idw(**given)
