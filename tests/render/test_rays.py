"""Rays go through their pixels at their depth, and boxes are crossed where brute force says."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d.render.rays import pixel_rays, ray_box


def cameras(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    K = torch.zeros(n, 3, 3, dtype=torch.float64)
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = 90.0, 110.0, 1.0
    K[:, :2, 2] = 50 + 5 * torch.rand(n, 2, generator=gen, dtype=torch.float64)
    K[:, 0, 1] = 2.0  # skew
    R, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=gen, dtype=torch.float64))
    R = R * torch.linalg.det(R)[:, None, None]
    return K, torch.cat([R, torch.randn(n, 3, 1, generator=gen, dtype=torch.float64)], 2)


def project(K, cam_from_world, points):
    in_camera = torch.einsum("nij,nj->ni", cam_from_world[..., :3], points) + cam_from_world[..., 3]
    homogeneous = torch.einsum("nij,nj->ni", K, in_camera)
    return homogeneous[:, :2] / homogeneous[:, 2:], in_camera[:, 2]


def test_points_on_rays_project_back_to_the_pixel_at_their_depth():
    K, pose = cameras(40)
    pixels = 100 * torch.rand(40, 2, dtype=torch.float64)
    depth = 1 + torch.rand(40, dtype=torch.float64)
    origins, directions = pixel_rays(K, pose, pixels)
    seen, z = project(K, pose, origins + depth[:, None] * directions)
    torch.testing.assert_close(seen, pixels)
    torch.testing.assert_close(z, depth)


def test_one_camera_for_all_pixels_is_the_same_as_one_each():
    K, pose = cameras(1)
    pixels = 100 * torch.rand(7, 2, dtype=torch.float64)
    one = pixel_rays(K[0], pose[0], pixels)
    each = pixel_rays(K.expand(7, 3, 3), pose.expand(7, 3, 4), pixels)
    mixed = pixel_rays(K[0], pose.expand(7, 3, 4), pixels)
    for a, b, c in zip(one, each, mixed, strict=True):
        assert a.shape == (7, 3)
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)
    assert [r.shape for r in pixel_rays(K[0], pose[0], pixels[:0])] == [(0, 3), (0, 3)]


def test_the_origin_is_the_camera_centre():
    K, pose = cameras(5)
    origins, _ = pixel_rays(K, pose, torch.zeros(5, 2, dtype=torch.float64))
    torch.testing.assert_close(origins, -torch.linalg.solve(pose[..., :3], pose[..., 3:])[..., 0])


def test_gradients_reach_the_camera():
    K, pose = cameras(3)
    pixels = 100 * torch.rand(3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(pixel_rays, (K.requires_grad_(), pose.requires_grad_(), pixels.requires_grad_()))


@pytest.mark.parametrize("origin, direction, want", [
    ((-2, 0.5, 0.5), (1, 0, 0), (2.0, 3.0)),
    ((-2, 0.5, 0.5), (-1, 0, 0), None),  # behind
    ((-2, 0.5, 0.5), (0.5, 0, 0), (4.0, 6.0)),
    ((0.5, 0.5, 0.5), (0, 0, -1), (0.0, 0.5)),  # starts inside
    ((-2, 1.5, 0.5), (1, 0, 0), None),  # parallel, outside
    ((-2, 1.0, 0.5), (1, 0, 0), (2.0, 3.0)),  # parallel, on the border
    ((-1, -1, -1), (1, 1, 1), (1.0, 2.0)),
    ((-1, -1, 3), (1, 1, 1), None),
])  # fmt: skip
def test_known_crossings(origin, direction, want):
    box = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    t0, t1 = ray_box(torch.tensor([origin]).float(), torch.tensor([direction]).float(), box)
    if want is None:
        assert t1.item() <= t0.item()
    else:
        assert (t0.item(), t1.item()) == want


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), flat=st.booleans())
def test_crossings_agree_with_sampling_the_ray(seed, flat):
    gen = torch.Generator().manual_seed(seed)
    box = torch.randn(2, 3, generator=gen, dtype=torch.float64).sort(0)[0]
    origins = 3 * torch.randn(20, 3, generator=gen, dtype=torch.float64)
    directions = torch.randn(20, 3, generator=gen, dtype=torch.float64)
    if flat:
        directions[:, seed % 3] = 0
    t0, t1 = ray_box(origins, directions, box)
    assert t0.isfinite().all() and t1.isfinite().all() and (t0 >= 0).all()
    t = torch.linspace(0, 20, 2001, dtype=torch.float64)
    points = origins[:, None] + t[:, None] * directions[:, None]
    inside = ((points >= box[0]) & (points <= box[1])).all(-1)
    claimed = (t >= t0[:, None]) & (t <= t1[:, None]) & (t1 > t0)[:, None]
    near_border = ((t - t0[:, None]).abs() < 1e-6) | ((t - t1[:, None]).abs() < 1e-6)
    assert ((inside == claimed) | near_border).all()


@pytest.mark.parametrize("call, says", [
    (lambda: pixel_rays(torch.eye(3), torch.eye(4)[:3], torch.zeros(4, 3)), "pixels: expected shape (N, 2), got (4"),
    (lambda: pixel_rays(torch.eye(4), torch.eye(4)[:3], torch.zeros(4, 2)), "K: expected shape (3, 3) or (4, 3, 3)"),
    (lambda: pixel_rays(torch.eye(3), torch.eye(4), torch.zeros(4, 2)), "cam_from_world: expected shape (3, 4) or"),
    (lambda: ray_box(torch.zeros(2, 3), torch.zeros(3, 3), torch.zeros(2, 3)), "directions: expected shape (2, 3)"),
    (lambda: ray_box(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(6)), "box: expected shape (2, 3)"),
])  # fmt: skip
def test_bad_shapes_are_named(call, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        call()
