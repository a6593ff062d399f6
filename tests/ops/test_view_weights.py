import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

PARTS = [(), ("depths",), ("masks",), ("directions",), ("depths", "masks", "directions")]


def sample_inputs(parts=PARTS[-1], n_views=3, height=9, width=12, n_points=60, dtype=torch.float32, seed=0):
    """Points around a wavy surface that the depth maps hold, with unknown pixels; nothing on a border or a kink."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    K = torch.tensor([[width, 0.2, width / 2 + 0.1], [0, height, height / 2 - 0.2], [0, 0, 1]]).double()
    K = K.repeat(n_views, 1, 1)
    turns = torch.linalg.cross(torch.eye(3).double().expand(n_views, 3, 3), 0.4 * (random(n_views, 1, 3) - 0.5))
    pose = torch.cat([torch.linalg.matrix_exp(turns), torch.zeros(n_views, 3, 1).double()], -1)
    pose[:, :, 3] = torch.tensor([0.1, 0.0, 2.0]) + 0.1 * random(n_views, 3)
    points = 3 * random(n_points, 3) - 1.5
    points[n_points // 3 :] *= torch.tensor([0.4, 0.4, 0.1]).double()
    depths = 2 + 0.1 * random(n_views, height, width)
    for i, unknown in enumerate((0.0, -1.0, math.nan, math.inf)):
        depths[i % n_views, min(i, height - 1), min(2 * i, width - 1)] = unknown
    masks, directions = random(n_views, height, width), torch.nn.functional.normalize(random(n_points, 3), dim=-1)
    directions[:, 2] += 1
    directions = torch.nn.functional.normalize(directions, dim=-1)
    keep = off_kinks(K, pose, points, depths)
    maps = {"depths": depths, "masks": masks, "directions": directions[keep]}
    tensors = {k: (v if k in parts else None) for k, v in maps.items()}
    inputs = [points[keep], K, pose, height, width, *tensors.values(), 8.0, 0.02]
    return tuple(t.to(dtype) if isinstance(t, torch.Tensor) else t for t in inputs)


def off_kinks(K, pose, points, depths):
    xyz = torch.einsum("vij,nj->nvi", pose[:, :, :3], points) + pose[:, :, 3]
    uv = torch.einsum("vij,nvj->nvi", K, xyz)[..., :2] / xyz[..., 2:]
    off_border = (2 * uv - (2 * uv).round()).abs().amin(-1) > 2e-3
    u, v = uv[..., 0].clamp(0, depths.shape[2] - 1e-9), uv[..., 1].clamp(0, depths.shape[1] - 1e-9)
    depth = reference._views.bilinear(depths[..., None], u, v)[..., 0]
    excess = (xyz[..., 2] / depth - 1) / 0.02
    off_ramp = ((excess - 1).abs() > 1e-3) & ((excess - 2).abs() > 1e-3) | ~depth.isfinite()
    return (off_border & off_ramp & (xyz[..., 2].abs() > 0.05)).all(1)


def leaves(inputs):
    return tuple(
        t.detach().clone().requires_grad_(i not in (1, 2)) if isinstance(t, torch.Tensor) else t
        for i, t in enumerate(inputs)
    )


def gradients(function, inputs):
    inputs = leaves(inputs)
    out = function(*inputs)
    upstream = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out)
    wanted = [t for t in inputs if isinstance(t, torch.Tensor) and t.requires_grad]
    if not out.requires_grad:
        return out, [torch.zeros_like(t) for t in wanted]
    grads = torch.autograd.grad(out, wanted, upstream, allow_unused=True)
    return out, [torch.zeros_like(t) if g is None else g for g, t in zip(grads, wanted, strict=True)]


def double(inputs):
    return tuple(t.double() if isinstance(t, torch.Tensor) else t for t in inputs)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("n_points", [60, 700])
def test_matches_the_float64_twin(isa, parts, n_points):
    inputs = sample_inputs(parts, n_points=n_points)
    out, grads = gradients(ops.view_weights, inputs)
    expected, expected_grads = gradients(reference.view_weights, double(inputs))
    assert (expected > 0).any() and (expected == 0).any()
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=3e-4 if "depths" in parts else 1e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=2e-3, atol=2e-3 * want.abs().max().item() + 1e-12)


@pytest.mark.parametrize("parts", PARTS)
def test_double_matches_the_twin_to_rounding(isa, parts):
    inputs = sample_inputs(parts, dtype=torch.float64)
    out, grads = gradients(ops.view_weights, inputs)
    expected, expected_grads = gradients(reference.view_weights, inputs)
    for got, want in zip([out, *grads], [expected, *expected_grads], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.5, 7.0, 64.0, 65.0])
def test_any_angle_power(isa, power):
    inputs = (*sample_inputs(("directions",), dtype=torch.float64)[:8], power)
    out, grads = gradients(ops.view_weights, inputs)
    expected, expected_grads = gradients(reference.view_weights, inputs)
    for got, want in zip([out, *grads], [expected, *expected_grads], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("parts", PARTS[1:])
def test_gradcheck(parts):
    inputs = leaves(sample_inputs(parts, n_views=2, height=4, width=5, n_points=24, dtype=torch.float64))
    if inputs[5] is not None:
        known = torch.where(inputs[5].isfinite() & (inputs[5] > 0), inputs[5].detach(), 2.05)
        inputs = (*inputs[:5], known.requires_grad_(), *inputs[6:])
        kept = off_kinks(*(t.detach() for t in (inputs[1], inputs[2], inputs[0])), known.detach())
        directions = None if inputs[7] is None else inputs[7].detach()[kept].requires_grad_()
        inputs = (inputs[0].detach()[kept].requires_grad_(), *inputs[1:7], directions, *inputs[8:])
    assert torch.autograd.gradcheck(ops.view_weights, inputs, nondet_tol=0.0, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("parts", PARTS)
def test_opcheck(parts):
    torch.library.opcheck(torch.ops.uner3d.view_weights.default, leaves(sample_inputs(parts, n_points=20)))


def test_same_bytes_with_any_number_of_threads():
    inputs = sample_inputs(n_points=20_000)
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 8):
            torch.set_num_threads(n)
            out, grads = gradients(ops.view_weights, inputs)
            results.append([t.detach().numpy().tobytes() for t in (out, *grads)])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def simple(points, **kwargs):
    K = torch.tensor([[[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]])
    return ops.view_weights(torch.tensor(points), K, torch.eye(3, 4)[None], 2, 2, **kwargs)[:, 0].tolist()


def test_visibility_ramp():
    points = [[0.0, 0, z] for z in (0.5, 1.0, 1.0099, 1.015, 1.0201, 3)]
    assert simple(points, depths=torch.ones(1, 2, 2)) == pytest.approx([1, 1, 1, 0.5, 0, 0], abs=1e-4)


@pytest.mark.parametrize("unknown", [0.0, -2.0, math.nan, math.inf])
def test_unknown_depth_hides_nothing(unknown):
    depths = torch.ones(1, 2, 2)
    depths[0, 1, 1] = unknown
    assert simple([[0.0, 0, 5]], depths=depths) == [1.0]
    assert simple([[-0.6 * 5, -0.6 * 5, 5]], depths=depths) == [0.0]


def test_angle_and_inside():
    points = [[0.0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, -1], [3, 0, 1], [math.nan, 0, 1]]
    s = math.sqrt(0.5)
    directions = torch.tensor([[0.0, 0, 1], [s, 0, s], [0, 0, -1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    assert simple(points, directions=directions) == pytest.approx([1, 1 / 16, 0, 0, 0, 0])


@pytest.mark.parametrize("axis", ["N", "V", "H"])
def test_empty(axis):
    points, K, pose, height, width, depths, masks, directions, *_ = sample_inputs()
    if axis == "N":
        points, directions = points[:0], directions[:0]
    elif axis == "V":
        K, pose, depths, masks = K[:0], pose[:0], depths[:0], masks[:0]
    else:
        height, depths, masks = 0, depths[:, :0], masks[:, :0]
    out, grads = gradients(ops.view_weights, (points, K, pose, height, width, depths, masks, directions))
    assert out.shape == (len(points), len(K)) and not out.any() and not any(g.any() for g in grads)


def test_non_contiguous_inputs():
    inputs = sample_inputs()
    loose = tuple(torch.stack([t, t], -1)[..., 0] if isinstance(t, torch.Tensor) else t for t in inputs)
    assert not loose[0].is_contiguous()
    for a, b in zip(gradients(ops.view_weights, loose)[1], gradients(ops.view_weights, inputs)[1], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, None, TypeError, "points: expected a tensor"),
        (1, torch.zeros(3, 4, 4), ValueError, r"K: expected shape \(V, 3, 3\)"),
        (2, torch.zeros(2, 3, 4), ValueError, r"cam_from_world: expected shape \(V, 3, 4\) with V = 3"),
        (3, -1, ValueError, "height: expected an integer from 0, got -1"),
        (4, 2.5, ValueError, "width: expected an integer from 0, got 2.5"),
        (4, 2**30, ValueError, r"height \* width: expected at most 2\^31 - 1 pixels a view, got 9 \* 1073741824"),
        (5, torch.zeros(3, 9, 9), ValueError, r"depths: expected shape \(V, 9, 12\) with V = 3, got \(3, 9, 9\)"),
        (6, torch.zeros(3, 9, 12, dtype=torch.bool), TypeError, "masks: expected dtype torch.float32"),
        (7, torch.zeros(1, 3), ValueError, r"directions: expected shape \(N, 3\)"),
        (8, -1.0, ValueError, "angle_power: expected a finite value from 0, got -1.0"),
        (9, 0.0, ValueError, "depth_tolerance: expected a finite value above 0, got 0.0"),
        (9, math.nan, ValueError, "depth_tolerance: expected a finite value above 0, got nan"),
    ],
)
def test_bad_arguments_are_named(index, value, error, message):
    inputs = list(sample_inputs())
    inputs[index] = value
    with pytest.raises(error, match=message):
        ops.view_weights(*inputs)


@settings(max_examples=30, deadline=None)
@given(
    parts=st.sets(st.sampled_from(["depths", "masks", "directions"])), n_views=st.integers(1, 4),
    height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_shape_and_range(parts, n_views, height, width, seed):
    inputs = sample_inputs(tuple(parts), n_views, height, width, 40, torch.float64, seed)
    out, grads = gradients(ops.view_weights, inputs)
    expected, expected_grads = gradients(reference.view_weights, inputs)
    assert (out >= 0).all() and (out <= 1 + 1e-12).all()
    for got, want in zip([out, *grads], [expected, *expected_grads], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
