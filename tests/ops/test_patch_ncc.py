"""patch_ncc: values and gradients of the twin, what is not seen, and the manners of a torch op."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

from test_patch_match import HEIGHT, NORMAL, WIDTH, cameras, plane_depth, texture  # isort: skip

SIZE = torch.tensor([WIDTH, HEIGHT])


def sample_inputs(n_pixels: int = 40, n_views: int = 5, dtype=torch.float32, seed: int = 0, border: int = 0):
    """Pixels of all views on a textured plane, with depths and normals somewhat off it."""
    generator = torch.Generator().manual_seed(seed)
    K, poses = cameras(n_views)
    seen = [plane_depth(K[v], poses[v], NORMAL) for v in range(n_views)]
    images, depths = torch.stack([texture(x) for _, x in seen]), torch.stack([d for d, _ in seen])
    views = torch.randint(n_views, (n_pixels,), generator=generator)
    low, high = torch.tensor([border, border]), SIZE - border
    pixels = low + (torch.rand(n_pixels, 2, generator=generator) * (high - low)).long()
    depth = depths[views, pixels[:, 1], pixels[:, 0]] * (1 + 0.02 * torch.randn(n_pixels, generator=generator))
    normal = NORMAL + 0.3 * torch.randn(n_pixels, 3, generator=generator)
    floats = (t.to(dtype) for t in (images, K, poses))
    return (*floats, views, pixels, depth.to(dtype), normal.to(dtype), torch.arange(0, n_views, 2))


def gradients(function, inputs, **options):
    """Scores and the gradients in depth and normal of a loss that weighs every score differently."""
    depth, normal = (inputs[i].detach().requires_grad_() for i in (5, 6))
    scores = function(*inputs[:5], depth, normal, inputs[7], **options)
    weights = 0.2 + torch.arange(scores.numel(), device=scores.device).view(scores.shape).remainder(7).to(scores) / 7
    return scores.detach(), *torch.autograd.grad((scores * weights).sum(), (depth, normal))


def double(inputs):
    return tuple(t.double() if t.is_floating_point() else t for t in inputs)


@pytest.mark.parametrize("isa", ops.available_isas())
@pytest.mark.parametrize(("side", "step"), [(1, 1), (3, 1), (5, 2), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_twin(isa, side, step, dtype):
    inputs, before = sample_inputs(dtype=dtype, n_pixels=200), ops.get_isa()
    try:
        ops.set_isa(isa)
        scores, to_depth, to_normal = gradients(ops.patch_ncc, inputs, side=side, step=step)
    finally:
        ops.set_isa(before)
    want, want_depth, want_normal = gradients(reference.patch_ncc, double(inputs), side=side, step=step)
    exact = dtype == torch.float64
    assert ((want > -1).float().mean() > 0.5).all()
    torch.testing.assert_close(scores.double(), want, rtol=0, atol=1e-9 if exact else 2e-3)
    if side == 1:  # one sample correlates with nothing
        assert scores[want > -1].abs().max() < 1e-3
        return
    for got, expected in ((to_depth, want_depth), (to_normal, want_normal)):
        scale = expected.abs().max().item()
        assert scale > 0.1
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=(1e-8 if exact else 0.02) * scale)


def test_gradcheck():
    inputs = sample_inputs(12, dtype=torch.float64, border=8)
    leaves = [inputs[i].requires_grad_() for i in (5, 6)]
    assert torch.autograd.gradcheck(
        lambda depth, normal: ops.patch_ncc(*inputs[:5], depth, normal, inputs[7], side=3), leaves, eps=1e-7, atol=1e-4
    )


def test_matching_agrees():
    """patch_match without iterations scores the same windows."""
    images, K, poses, *_ = sample_inputs()
    depth, _ = plane_depth(K[0], poses[0], NORMAL)
    depth, normal = depth * 1.01, NORMAL.expand(HEIGHT, WIDTH, 3)
    sources = torch.tensor([3])
    want = ops.patch_match(images, K, poses, 0, sources, depth, normal, (0.1, 20.0), iterations=0)[2]
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    pixels = torch.stack([u, v], -1).view(-1, 2)
    got = ops.patch_ncc(images, K, poses, 0 * pixels[:, 0], pixels, depth.view(-1), normal.reshape(-1, 3), sources)
    torch.testing.assert_close(got[:, 0].view(HEIGHT, WIDTH), want, rtol=0, atol=2e-3)


def test_following_the_gradient_makes_windows_agree():
    """In 30 steps of up to 1 % of the depth, from 10 % off."""
    inputs = sample_inputs(300, border=12)
    inputs = (*inputs[:5], inputs[5] * 1.1, *inputs[6:])
    depth, normal = inputs[5], F.normalize(inputs[6], dim=-1)
    seen = ops.patch_ncc(*inputs) > -1
    mean = lambda d, n: ops.patch_ncc(*inputs[:5], d, n, inputs[7])[seen].mean()  # noqa: E731
    before = mean(depth, normal)
    for i in range(30):
        d, n = depth.detach().requires_grad_(), normal.detach().requires_grad_()
        to_depth, to_normal = torch.autograd.grad(mean(d, n), (d, n))
        depth = d * (1 + 0.01 * (1 - i / 30) * to_depth.sign())
        normal = F.normalize(n + 0.03 * (1 - i / 30) * F.normalize(to_normal, dim=-1), dim=-1)
    after = mean(depth, normal)
    assert before < 0.8 and 1 - after < 0.5 * (1 - before), (before, after)


def test_what_is_not_valid_scores_least_and_moves_nothing():
    inputs = list(sample_inputs(12, border=20))
    inputs[3][0], inputs[3][1] = -1, 5
    inputs[4][2:5] = torch.tensor([[WIDTH, 3], [-1, 3], [3, HEIGHT]])
    inputs[5][5], inputs[5][6], inputs[5][7] = 0.0, float("nan"), float("inf")
    inputs[6][8] = torch.tensor([0.0, 0, 1])  # looks away: as if it faced the camera
    inputs[7] = torch.tensor([0, 2, 4, 7, -1])
    scores, to_depth, to_normal = gradients(ops.patch_ncc, inputs)
    want = reference.patch_ncc(*double(inputs))
    torch.testing.assert_close(scores.double(), want, rtol=0, atol=2e-3)
    assert (scores[:8] == -1).all() and (to_depth[:8] == 0).all() and (to_normal[:9] == 0).all()
    assert (scores[:, 3:] == -1).all() and (scores[8:, :3] > -1).any() and (to_depth[8:] != 0).all()
    assert to_normal[9:].abs().sum(1).min() > 0


def test_the_own_view_is_no_source():
    inputs = sample_inputs(30, border=15)
    scores = ops.patch_ncc(*inputs[:7], torch.arange(5))
    own = inputs[3][:, None] == torch.arange(5)
    assert (scores[own] == -1).all() and (scores[~own] > -1).float().mean() > 0.8


@given(scale=st.floats(0.05, 20.0), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_length_of_a_normal_does_not_matter(scale, seed):
    inputs = sample_inputs(20, dtype=torch.float64, seed=seed)
    scaled = (*inputs[:6], inputs[6] * scale, inputs[7])
    scores, _, to_normal = gradients(ops.patch_ncc, inputs)
    again, _, to_scaled = gradients(ops.patch_ncc, scaled)
    torch.testing.assert_close(again, scores, rtol=0, atol=1e-9)
    torch.testing.assert_close(to_scaled * scale, to_normal, rtol=1e-6, atol=1e-7)
    along = (to_normal * inputs[6]).sum(-1).abs()
    assert (along <= 1e-7 * (1 + to_normal.norm(dim=-1) * inputs[6].norm(dim=-1))).all()


def test_bytes_do_not_depend_on_threads():
    inputs, threads = sample_inputs(500), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = gradients(ops.patch_ncc, inputs)
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(gradients(ops.patch_ncc, inputs), want, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_any_strides():
    inputs = sample_inputs(30)
    spread = tuple(torch.stack([t, t], -1)[..., 0] for t in inputs)
    assert not any(t.is_contiguous() for t in spread)
    assert torch.equal(ops.patch_ncc(*spread), ops.patch_ncc(*inputs))


@pytest.mark.parametrize("empty", ["N", "S", "V", "H"])
def test_empty(empty):
    images, K, poses, views, pixels, depth, normal, sources = sample_inputs(4)
    if empty == "N":
        views, pixels, depth, normal = views[:0], pixels[:0], depth[:0], normal[:0]
    elif empty == "S":
        sources = sources[:0]
    elif empty == "V":
        images, K, poses = images[:0], K[:0], poses[:0]
    else:
        images = images[:, :0]
    scores, *grads = gradients(ops.patch_ncc, (images, K, poses, views, pixels, depth, normal, sources))
    assert scores.shape == (len(views), len(sources)) and (scores == -1).all()
    assert not any(g.any() for g in grads)


def test_opcheck():
    inputs = list(sample_inputs(6, dtype=torch.float64, border=15))
    inputs[5], inputs[6] = inputs[5].requires_grad_(), inputs[6].requires_grad_()
    torch.library.opcheck(torch.ops.uner3d.patch_ncc.default, (*inputs, 3, 2))


@pytest.mark.parametrize(("change", "message"), [
    (dict(side=2), "side: expected 1, 3, 5 or 7, got 2"),
    (dict(step=0), "step: expected a value from 1 to 64, got 0"),
    (dict(sources=torch.arange(32)), "sources: expected at most 31 views, got 32"),
    (dict(pixels=torch.zeros(4, 2)), "pixels: expected dtype torch.int64, got torch.float32"),
    (dict(depth=torch.zeros(3)), r"depth: expected shape \(N,\) with N = 4, got \(3,\)"),
    (dict(images=torch.zeros(5, 3, 3).half()), "images: expected dtype torch.float32 or torch.float64"),
])  # fmt: skip
def test_wrong_arguments_are_named(change, message):
    names = ("images", "K", "cam_from_world", "views", "pixels", "depth", "normal", "sources")
    with pytest.raises((ValueError, TypeError), match=message):
        ops.patch_ncc(**(dict(zip(names, sample_inputs(4), strict=True)) | change))
