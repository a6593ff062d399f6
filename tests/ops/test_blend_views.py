"""Learned blending of source pixels, against its twin in plain torch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sample_views import at_the_end_of_memory
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


def leaves(inputs):
    return tuple(
        t.detach().clone().requires_grad_(i in LEARNT) if isinstance(t, torch.Tensor) else t
        for i, t in enumerate(inputs)
    )


def gradients(function, inputs):
    inputs = leaves(inputs)
    colour = function(*inputs)
    upstream = torch.rand(colour.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    return colour, torch.autograd.grad(colour, [inputs[i] for i in LEARNT], upstream.to(colour))


def doubled(inputs):
    return tuple(t.double() if isinstance(t, torch.Tensor) else t for t in inputs)


@pytest.fixture(params=ops.available_isas())
def isa(request):
    before = ops.get_isa()
    ops.set_isa(request.param)
    yield request.param
    ops.set_isa(before)


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
    alone = tuple(
        t.detach().clone().requires_grad_(i == wanted) if isinstance(t, torch.Tensor) else t
        for i, t in enumerate(inputs)
    )
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


def test_what_no_view_sees_is_black_whatever_maps_and_images_hold(isa):
    inputs = list(sample_inputs(2, 3, 4, 9, weighted=False))
    inputs[0], inputs[2] = torch.full_like(inputs[0], torch.nan), torch.full_like(inputs[2], torch.nan)
    bad = torch.tensor([[torch.nan, 0, 0], [0, torch.inf, 0], [0, 0, -9.0], [90, 0, 1]])
    centre = -inputs[4][0, :, :3].T @ inputs[4][0, :, 3]
    inputs[5] = torch.cat([bad, centre[None]])
    inputs[6], inputs[7] = inputs[6][:5], inputs[7][:5]
    inputs[4] = inputs[4][:1].expand(2, 3, 4)  # both views at one centre
    colour, grads = gradients(ops.blend_views, inputs)
    assert (colour == 0).all() and all((g == 0).all() for g in grads)


def test_scores_far_apart_are_no_problem(isa):
    inputs = list(sample_inputs(4, 4, 8, 100))
    inputs[10] = inputs[10] * 1e4
    colour, grads = gradients(ops.blend_views, inputs)
    expected, _ = gradients(reference.blend_views, doubled(inputs))
    assert all(g.isfinite().all() for g in grads)
    torch.testing.assert_close(colour.double(), expected, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("n_channels", [1, 3, 4, 32])
def test_nothing_is_read_beyond_the_inputs(isa, n_channels):
    """The arrays end where readable memory does; a point in the last pixel of the last view reads all of them."""
    g = torch.Generator().manual_seed(0)
    K, pose = torch.eye(3).expand(2, 3, 3), torch.eye(3, 4).expand(2, 3, 4)
    points = torch.tensor([[4.9, 2.9, 1.0], [4.4, 2.4, 1], [3.8, 2.7, 1], [0.2, 0.1, 1]]).repeat(9, 1)
    inputs = [torch.rand(2, 3, 5, n_channels, generator=g), K, torch.rand(2, 3, 5, 3, generator=g), K, pose, points,
              torch.nn.functional.normalize(points, dim=1), torch.rand(36, 5, generator=g),
              torch.rand(5, n_channels, generator=g), torch.rand(5, 7, generator=g),
              torch.rand(5, generator=g), torch.rand(36, 2, generator=g)]  # fmt: skip
    guarded = [at_the_end_of_memory(t) for t in inputs]
    for got, want in zip(gradients(ops.blend_views, guarded)[1], gradients(ops.blend_views, inputs)[1], strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("axis", ["V", "N", "C", "G", "w"])
def test_empty(axis):
    inputs = list(sample_inputs(2, 3, 4, 9))
    cut = {"V": {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 11: 1}, "N": {5: 0, 6: 0, 7: 0, 11: 0}, "C": {0: 3, 8: 1},
           "G": {7: 1, 8: 0, 9: 0, 10: 0}, "w": {0: 2}}[axis]  # fmt: skip
    for i, dim in cut.items():
        inputs[i] = inputs[i].narrow(dim, 0, 0)
    colour, grads = gradients(ops.blend_views, inputs)
    assert colour.shape == inputs[5].shape and [g.shape for g in grads] == [inputs[i].shape for i in LEARNT]
    if axis in "CG":
        expected, _ = gradients(reference.blend_views, inputs)
        torch.testing.assert_close(colour, expected)
    else:
        assert not colour.any() and not any(g.any() for g in grads)


def test_non_contiguous_inputs():
    inputs = sample_inputs(3, 6, 7, 50)
    loose = tuple(torch.stack([t, t], -1)[..., 0] if isinstance(t, torch.Tensor) else t for t in inputs)
    assert not loose[0].is_contiguous()
    for a, b in zip(gradients(ops.blend_views, loose)[1], gradients(ops.blend_views, inputs)[1], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, [1.0], TypeError, "maps: expected a tensor"),
        (0, torch.zeros(3, 6, 7), ValueError, r"maps: expected shape \(V, h, w, C\)"),
        (2, torch.zeros(3, 6, 7, 4), ValueError, r"images: expected shape \(V, H, W, 3\)"),
        (6, torch.zeros(5, 3), ValueError, r"directions: expected shape \(N, 3\)"),
        (7, torch.zeros(1, 70), ValueError, r"hidden: expected"),
        (8, torch.zeros(7, 5), ValueError, r"feature_weight: expected shape \(G, C\)"),
        (9, torch.zeros(7, 6), ValueError, r"angle_weight: expected shape \(G, 7\)"),
        (10, torch.zeros(7, 1), ValueError, r"score_weight: expected shape \(G,\)"),
        (11, torch.zeros(3), ValueError, r"view_weights: expected shape \(N, V\)"),
        (5, torch.zeros(8, 3, dtype=torch.float16), TypeError, "points: expected dtype torch.float32"),
        (12, float("nan"), ValueError, "sharpness: expected a finite value, got nan"),
    ],
)
def test_bad_arguments_are_named(index, value, error, message):
    inputs = list(sample_inputs(3, 2, 7, 20))
    inputs[index] = value
    with pytest.raises(error, match=message):
        ops.blend_views(*inputs)


def test_autocast_rounds_the_layers_of_the_twin_alone():
    """Where a view looks from is no product of the layers: with scores of 0 nothing may change. Sampled as on a GPU."""
    inputs = list(sample_inputs(5, 4, 8, 100))
    inputs[10], inputs[12] = torch.zeros_like(inputs[10]), 30.0
    want = reference.blend_views(*inputs, sample=ops.sample_views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reference.blend_views(*inputs, sample=ops.sample_views), want)


def test_too_many_hidden_units():
    inputs = sample_inputs(2, 3, 65, 9)
    with pytest.raises(ValueError, match="hidden: expected at most 64 units, got 65"):
        ops.blend_views(*inputs)
    with pytest.raises(ValueError, match="hidden: expected at most 64 units"):
        torch.ops.uner3d.blend_views.default(*inputs)


def test_points_at_the_centres_of_cameras(isa):
    """Rounding puts some of them in front of their camera, though they lie in no direction from it."""
    inputs = list(sample_inputs(300, 3, 4, 300, weighted=False))
    g = torch.Generator().manual_seed(3)
    turns = torch.linalg.qr(torch.randn(300, 3, 3, generator=g, dtype=torch.float64)).Q
    pose = torch.cat([turns, torch.randn(300, 3, 1, generator=g, dtype=torch.float64)], -1).float()
    centres = -torch.einsum("vji,vj->vi", pose[:, :, :3].double(), pose[:, :, 3].double()).float()
    inputs[4], inputs[5] = pose, centres
    inputs[6], inputs[7] = (torch.ones(300, n) / 3**0.5 for n in (3, 4))
    _, seen = ops.sample_views(inputs[0], inputs[1], pose, centres)
    assert seen.diagonal().any()
    colour, grads = gradients(ops.blend_views, inputs)
    assert colour.isfinite().all() and all(g.isfinite().all() for g in grads)


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
