"""Learned blending of source pixels at the limits of its inputs: unseen, extreme, empty, guarded, wrong."""

import pytest
import torch
from test_blend_views import LEARNT, doubled, gradients, sample_inputs
from test_sample_views import at_the_end_of_memory

from uner3d import ops
from uner3d.ops import reference


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
