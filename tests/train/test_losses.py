"""Each loss against its formula, written out plainly."""

import math

import pytest
import torch

from uner3d import ops
from uner3d.train import losses


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_charbonnier():
    a, b = uniform(20, 3), uniform(20, 3, seed=1)
    want = sum(math.sqrt((float(x) - float(y)) ** 2 + 1e-6) for x, y in zip(a.view(-1), b.view(-1), strict=True)) / 60
    assert float(losses.charbonnier(a, b)) == pytest.approx(want, rel=1e-4)
    assert float(losses.charbonnier(a, a)) == pytest.approx(1e-3, rel=1e-4)


def test_mask_loss():
    opacity, mask = uniform(30), uniform(30, seed=1)
    want = -(mask * opacity.log() + (1 - mask) * (1 - opacity).log()).mean()
    torch.testing.assert_close(losses.mask_loss(opacity, mask), want, rtol=1e-3, atol=1e-4)
    hard = losses.mask_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    assert float(hard) == pytest.approx(-math.log(1e-4), rel=1e-3)


def test_distortion_is_the_double_sum():
    weights = uniform(6, 9)
    edges = uniform(6, 10, seed=1).cumsum(-1)
    middles, widths = (edges[:, 1:] + edges[:, :-1]) / 2, edges.diff(dim=-1)
    pairs = weights[:, :, None] * weights[:, None] * (middles[:, :, None] - middles[:, None]).abs()
    want = (pairs.sum((1, 2)) + (weights**2 * widths).sum(1) / 3).mean()
    torch.testing.assert_close(losses.distortion(weights, edges), want, rtol=1e-4, atol=1e-5)


def test_distortion_prefers_a_gathered_ray():
    edges = torch.linspace(0, 1, 11)[None]
    gathered, spread = torch.zeros(1, 10), torch.full((1, 10), 0.1)
    gathered[0, 4] = 1
    assert losses.distortion(gathered, edges) < 0.2 * losses.distortion(spread, edges)


def test_dssim_of_single_patches():
    a, b = uniform(2 * 16, 3), uniform(2 * 16, 3, seed=1)
    total = 0.0
    for patch in range(2):
        for channel in range(3):
            x, y = (t[patch * 16:(patch + 1) * 16, channel].double() for t in (a, b))
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            top = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance + 9e-4)
            low = (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var(unbiased=False) + y.var(unbiased=False) + 9e-4)
            total += float((1 - top / low) / 2) / 6
    assert float(losses.dssim(a, b, 4)) == pytest.approx(total, rel=1e-3)


def test_dssim_of_equal_patches_is_zero():
    a = uniform(48, 3)
    assert abs(float(losses.dssim(a, a.clone(), 4))) < 1e-5
    flat = torch.full((16, 3), 0.7)
    assert abs(float(losses.dssim(flat, flat, 4))) < 1e-5


def test_projection_of_single_points():
    K = torch.tensor([[50.0, 0, 20], [0, 60, 15], [0, 0, 1]]).repeat(2, 1, 1)
    pose = torch.eye(4)[:3].repeat(2, 1, 1)
    pose[1, :, 3] = torch.tensor([1.0, 0, 1.0])
    pixel, depth = losses.project(K, pose, torch.tensor([[0.2, 0.1, 2.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(depth, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(pixel, torch.tensor([[25.0, 18.0], [45.0, 15.0]]))


def test_reprojection_gate():
    """Errors of 1 and 2 pixels count, one beyond the gate and an invalid one do not."""
    pixels = torch.zeros(4, 2)
    back = torch.tensor([[1.0, 0], [0, -2.0], [30.0, 40.0], [1.0, 1.0]], requires_grad=True)
    valid = torch.tensor([True, True, True, False])
    loss = losses.reprojection(pixels, back, valid, 3.0)
    assert float(loss.detach()) == pytest.approx((1 + 2) / 2 / 3, rel=1e-4)
    loss.backward()
    torch.testing.assert_close(back.grad, torch.tensor([[1.0, 0], [0, -1], [0, 0], [0, 0]]) / 6, rtol=1e-4, atol=1e-5)
    none = losses.reprojection(pixels, back, torch.zeros(4, dtype=torch.bool), 3.0)
    assert float(none.detach()) == 0


def test_idw_colour_is_the_weighted_mean_difference():
    points, colours = uniform(60, 3), uniform(60, 3, seed=1)
    x = uniform(20, 3, seed=2).requires_grad_()
    target, weight = uniform(20, 3, seed=3), (uniform(20, seed=4) > 0.4).float()
    loss = losses.idw_colour(ops.KnnIndex(points), colours, x, target, weight)
    distance, index = torch.cdist(x.detach(), points).topk(8, largest=False)
    spacing = distance[:, -1:] / math.sqrt(8)
    inverse = 1 / (distance.square() + (spacing / 2).square())
    rendered = (inverse[..., None] * colours[index]).sum(1) / inverse.sum(1, keepdim=True)
    want = ((rendered - target).abs().mean(1) * weight).sum() / weight.sum()
    torch.testing.assert_close(loss.detach(), want, rtol=1e-3, atol=1e-4)
    loss.backward()
    assert (x.grad[weight == 0] == 0).all() and x.grad[weight == 1].abs().max() > 0
    unseen = losses.idw_colour(ops.KnnIndex(points), colours, x, target, torch.zeros(20))
    assert float(unseen.detach()) == 0
