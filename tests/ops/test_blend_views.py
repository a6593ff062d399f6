"""Learned blending of source pixels, against its twin in plain torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sample_views import sample_inputs as sampled

from uner3d import ops
from uner3d.ops import reference

LEARNT = (0, 7, 8, 9, 10)  # maps, hidden, the three weights
CASES = [  # views, channels, hidden units, points, with weights of the views
    (3, 4, 16, 200, True),
    (8, 32, 16, 700, False),
    (1, 5, 3, 33, True),
    (5, 1, 64, 65, False),
    (2, 35, 17, 40, True),
    (9, 8, 33, 1100, True),
    (3, 8, 16, 9000, True),  # from 4096 points on they are sorted
]


def sample_inputs(n_views, n_channels, n_hidden, n_points, weighted=True, dtype=torch.float32, seed=0):
    """Cameras and points as for sample_views; the images have another size than the maps."""
    maps, K_maps, pose, points = sampled(n_views, 12, 16, n_channels, n_points, torch.float64, seed)
    g = torch.Generator().manual_seed(seed + 1)
    normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    images = torch.rand(n_views, 24, 32, 3, generator=g, dtype=torch.float64)
    K = K_maps * torch.tensor([2.0, 2.0, 1.0])[:, None]
    directions = torch.nn.functional.normalize(torch.tensor([0.0, 0, 1]) + 0.5 * normal(len(points), 3), dim=1)
    layers = 0.3 * normal(n_hidden, n_channels), 0.3 * normal(n_hidden, 7), normal(n_hidden)
    weights = (torch.rand(len(points), n_views, generator=g, dtype=torch.float64) - 0.2).clamp(min=0)
    tensors = (maps, K_maps, images, K, pose, points, directions, normal(len(points), n_hidden), *layers)
    return (*(t.to(dtype) for t in tensors), weights.to(dtype) if weighted else None, 5.0)


def leaves(inputs, learnt=LEARNT):
    return tuple(
        t.detach().clone().requires_grad_(i in learnt) if isinstance(t, torch.Tensor) else t
        for i, t in enumerate(inputs)
    )


def gradients(function, inputs):
    inputs = leaves(inputs)
    colour = function(*inputs)
    upstream = torch.rand(colour.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    return colour, torch.autograd.grad(colour, [inputs[i] for i in LEARNT], upstream.to(colour))


def doubled(inputs):
    return tuple(t.double() if isinstance(t, torch.Tensor) else t for t in inputs)


@pytest.mark.parametrize("case", CASES)
def test_matches_the_float64_twin(isa, case):
    inputs = sample_inputs(*case)
    colour, grads = gradients(ops.blend_views, inputs)
    expected, expected_grads = gradients(reference.blend_views, doubled(inputs))
    assert (expected != 0).any() and (expected == 0).all(1).any()  # some points are seen, some by nobody
    torch.testing.assert_close(colour.double(), expected, rtol=1e-4, atol=1e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-4 * want.abs().max().item() + 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_double_matches_the_twin_to_rounding(isa, case):
    inputs = sample_inputs(*case, dtype=torch.float64)
    colour, grads = gradients(ops.blend_views, inputs)
    expected, expected_grads = gradients(reference.blend_views, inputs)
    for got, want in zip((colour, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradcheck(weighted):
    inputs = leaves(sample_inputs(3, 5, 4, 14, weighted, torch.float64))
    assert torch.autograd.gradcheck(ops.blend_views, inputs, nondet_tol=0.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_opcheck(weighted):
    torch.library.opcheck(torch.ops.uner3d.blend_views.default, leaves(sample_inputs(2, 3, 5, 9, weighted)))


@pytest.mark.parametrize("wanted", LEARNT)
def test_one_gradient_alone(wanted):
    inputs = sample_inputs(3, 6, 7, 50, dtype=torch.float64)
    both = gradients(ops.blend_views, inputs)[1]
    alone = leaves(inputs, (wanted,))
    colour = ops.blend_views(*alone)
    upstream = torch.rand(colour.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    (got,) = torch.autograd.grad(colour, alone[wanted], upstream)
    assert torch.equal(got, both[LEARNT.index(wanted)])


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[6]])
def test_same_bytes_with_any_number_of_threads(threads, case):
    inputs, results = sample_inputs(*case), []
    for n in (1, 2, 3):
        threads(n)
        colour, grads = gradients(ops.blend_views, inputs)
        results.append([t.detach().numpy().tobytes() for t in (colour, *grads)])
    assert results[0] == results[1] == results[2]


def test_one_view_gives_its_own_pixel():
    inputs = sample_inputs(1, 4, 8, 60, weighted=False)
    pixel, valid = ops.sample_views(inputs[2], inputs[3], inputs[4], inputs[5])
    torch.testing.assert_close(ops.blend_views(*inputs), pixel[:, 0])
    assert valid.any() and not valid.all()


def test_views_without_weight_have_no_say():
    inputs = list(sample_inputs(4, 4, 8, 100, weighted=False, dtype=torch.float64))
    weights = torch.ones(len(inputs[5]), 4, dtype=torch.float64)
    weights[:, 2] = 0
    inputs[11] = weights
    kept = [0, 1, 3]
    fewer = [t[kept] if i in (0, 1, 2, 3, 4) else t for i, t in enumerate(inputs)]
    fewer[11] = None
    torch.testing.assert_close(ops.blend_views(*inputs), ops.blend_views(*fewer))


def test_autocast_rounds_the_layers_of_the_twin_alone():
    """Where a view looks from is no product of the layers: with scores of 0 nothing may change. Sampled as on a GPU."""
    inputs = list(sample_inputs(5, 4, 8, 100))
    inputs[10], inputs[12] = torch.zeros_like(inputs[10]), 30.0
    want = reference.blend_views(*inputs, sample=ops.sample_views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reference.blend_views(*inputs, sample=ops.sample_views), want)


@settings(max_examples=30, deadline=None)
@given(
    n_views=st.integers(1, 5), n_channels=st.integers(1, 40), n_hidden=st.integers(1, 64), weighted=st.booleans(),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(n_views, n_channels, n_hidden, weighted, seed):
    inputs = sample_inputs(n_views, n_channels, n_hidden, 30, weighted, torch.float64, seed)
    colour, grads = gradients(ops.blend_views, inputs)
    expected, expected_grads = gradients(reference.blend_views, inputs)
    assert (colour >= 0).all() and (colour <= 1 + 1e-12).all()
    for got, want in zip((colour, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)
