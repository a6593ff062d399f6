"""patch_match: scores equal those of the twin, planes are found, nothing depends on threads or instruction sets."""

import math

import pytest
import torch
import torch.nn.functional as F

from uner3d import ops
from uner3d.ops import reference

HEIGHT, WIDTH, FOCAL = 60, 80, 100.0
NORMAL = F.normalize(torch.tensor([0.3, -0.2, -1.0]), dim=-1)
DISTANCE = 2.0  # of the plane's point on the first camera's axis


def texture(x: torch.Tensor) -> torch.Tensor:
    """Grey values (...) in [0, 1] of points (..., 3), of many scales and directions."""
    directions = torch.tensor([[9.0, 2, 1], [-4, 11, 2], [17, 13, -3], [-21, 8, 5], [6, -26, 4]]).to(x)
    return 0.5 + 0.09 * torch.sin(x @ directions.T + torch.arange(5).to(x)).sum(-1)


def cameras(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    K = torch.tensor([[FOCAL, 0.5, WIDTH / 2], [0, FOCAL * 1.05, HEIGHT / 2], [0, 0, 1]])
    poses = []
    for i in range(n):
        angle = 0.09 * ((i + 1) // 2) * (-1) ** i
        sine, cosine = math.sin(angle), math.cos(angle)
        rotation = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        centre = torch.tensor([DISTANCE * sine, 0.05 * (i % 3), DISTANCE * (1 - cosine)])
        poses.append(torch.cat([rotation, -(rotation @ centre)[:, None]], 1))
    return K.repeat(n, 1, 1), torch.stack(poses)


def plane_depth(K: torch.Tensor, pose: torch.Tensor, normal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth (H, W) of the plane in a view and its points (H, W, 3)."""
    v, u = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], -1).to(K) @ K.inverse().T
    centre, rays = -pose[:, :3].T @ pose[:, 3], rays @ pose[:, :3]
    depth = ((torch.tensor([0.0, 0, DISTANCE]).to(K) - centre) @ normal.to(K)) / (rays @ normal.to(K))
    return depth, centre + depth[..., None] * rays


@pytest.fixture(scope="module")
def scene():
    """Images (5, H, W) of a slanted, textured plane, cameras, and the true depth in the first view."""
    K, poses = cameras(5)
    seen = [plane_depth(K[v], poses[v], NORMAL) for v in range(5)]
    return torch.stack([texture(x) for _, x in seen]), K, poses, seen[0][0]


def arguments(scene, depth=None, normal=None, **options):
    images, K, poses, true_depth = scene
    depth = true_depth if depth is None else depth
    normal = NORMAL.expand(HEIGHT, WIDTH, 3) if normal is None else normal
    return (images, K, poses, 0, torch.arange(1, len(images)), depth, normal, (0.5, 8.0)), options


def match(scene, *args, **options):
    positional, keywords = arguments(scene, *args, **options)
    return ops.patch_match(*positional, **keywords)


def correlations(images, K, poses, sources, depth, normal, side):
    """(S, H, W) of every pixel of the first view, by the float64 twin."""
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    pixels = torch.stack([u, v], -1).view(-1, 2)
    images, K, poses, depth, normal = (t.double() for t in (images, K, poses, depth, normal))
    scores = reference.patch_ncc(images, K, poses, 0 * pixels[:, 0], pixels, depth.reshape(-1), normal.reshape(-1, 3),
                                 sources, side=side)  # fmt: skip
    return scores.T.view(-1, HEIGHT, WIDTH)


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_equal_the_twin(scene, side, dtype):
    generator = torch.Generator().manual_seed(1)
    images, K, poses, depth = (t.to(dtype) for t in scene)
    depth = depth * (1 + 0.05 * torch.randn(depth.shape, generator=generator).to(dtype))
    normal = torch.randn(HEIGHT, WIDTH, 3, generator=generator).to(dtype) - torch.tensor([0, 0, 2.0]).to(dtype)
    sources = torch.arange(1, 5)
    each = correlations(images, K, poses, sources, depth, normal, side)
    want = each.topk(2, dim=0).values.mean(0)
    out_depth, _, score, chosen = ops.patch_match(images, K, poses, 0, sources, depth, normal, (0.1, 20.0),
                                                  iterations=0, n_best=2, side=side)  # fmt: skip
    tolerance = 1e-9 if dtype == torch.float64 else 2e-3  # steep planes: coordinates far out lose digits
    torch.testing.assert_close(score.double(), want, rtol=0, atol=tolerance)
    torch.testing.assert_close(out_depth, depth, rtol=1e-5, atol=0)
    bits = (chosen[None] >> torch.arange(4)[:, None, None]) & 1
    clear = (each - 0.5).abs() > 2 * tolerance
    assert torch.equal(bits.bool()[clear], (each >= 0.5)[clear])


def test_finds_the_plane_from_wrong_depths_and_normals(scene):
    true_depth, generator = scene[3], torch.Generator().manual_seed(2)
    start = true_depth * (1 + 0.04 * (2 * torch.rand(HEIGHT, WIDTH, generator=generator) - 1))
    normal = torch.tensor([0.0, 0, -1]).expand(HEIGHT, WIDTH, 3)
    depth, found, score, _ = match(scene, start, normal, iterations=6)
    inner = (slice(6, -6), slice(6, -6))
    error = (depth / true_depth - 1).abs()[inner]
    assert (start / true_depth - 1).abs()[inner].median() > 0.015
    assert error.median() < 2e-3 and error.flatten().quantile(0.9) < 1e-2
    assert (found[inner] @ NORMAL).median() > 0.99
    assert score[inner].median() > 0.97
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(HEIGHT, WIDTH))


def test_the_truth_scores_best_and_stays(scene):
    _, normal, score, chosen = match(scene, iterations=2)
    assert score[4:-4, 8:-8].median() > 0.98 and score[4:-4, 8:-8].min() > 0.7
    assert (chosen[4:-4, 8:-8] > 0).all()
    assert (normal @ NORMAL).median() > 0.999


def test_bytes_depend_on_neither_threads_nor_calls(scene):
    start = scene[3] * 1.02
    want = match(scene, start)
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert all(torch.equal(a, b) for a, b in zip(match(scene, start), want, strict=True))
    finally:
        torch.set_num_threads(threads)
    other = match(scene, start, seed=1)
    assert not torch.equal(other[0], want[0])


def test_a_source_that_shows_something_else_is_passed_over(scene):
    images = scene[0].clone()
    images[3] = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))
    start = scene[3] * 1.01
    depth, _, score, chosen = match((images, *scene[1:]), start, iterations=5, n_best=2)
    inner = (slice(6, -6), slice(10, -10))
    assert (depth / scene[3] - 1).abs()[inner].median() < 3e-3
    assert score[inner].median() > 0.95
    assert ((chosen[inner] >> 2) & 1).float().mean() < 0.05 < ((chosen[inner] >> 0) & 1).float().mean()


def test_pixels_without_texture_keep_their_plane(scene):
    images = torch.full_like(scene[0], 0.4)
    start = scene[3] * 1.05
    depth, normal, score, _ = match((images, *scene[1:]), start)
    torch.testing.assert_close(depth, start, rtol=1e-6, atol=0)
    torch.testing.assert_close(normal, NORMAL.expand(HEIGHT, WIDTH, 3), rtol=0, atol=1e-5)
    assert score[10:-10, 20:-20].abs().max() < 0.1


def test_pixels_without_a_depth_are_left_out(scene):
    start = scene[3].clone()
    start[:10], start[10:12], start[12:14] = 0.0, float("nan"), float("inf")
    depth, normal, score, chosen = match(scene, start)
    for out in (depth, score, chosen, normal.norm(dim=-1)):
        assert (out[:14] == 0).all()
    assert (depth[14:] > 0).all()


def test_depths_stay_within_their_range(scene):
    images, K, poses, _ = scene
    start = torch.full((HEIGHT, WIDTH), 1.9)
    depth, *_ = ops.patch_match(images, K, poses, 0, torch.arange(1, 5), start, NORMAL.expand(HEIGHT, WIDTH, 3),
                                (1.8, 2.0), iterations=4)  # fmt: skip
    assert depth.min() >= 1.8 * (1 - 1e-6) and depth.max() <= 2.0 * (1 + 1e-6)


@pytest.mark.parametrize("isa", ops.available_isas())
def test_instruction_sets_agree(scene, isa):
    before = ops.get_isa()
    try:
        ops.set_isa(isa)
        _, _, score, _ = match(scene, iterations=0)
    finally:
        ops.set_isa(before)
    torch.testing.assert_close(score, match(scene, iterations=0)[2], rtol=0, atol=1e-4)


def test_empty_images():
    K, poses = cameras(2)
    out = ops.patch_match(torch.zeros(2, 0, 8), K, poses, 0, torch.tensor([1]), torch.zeros(0, 8), torch.zeros(0, 8, 3),
                          (1.0, 2.0))  # fmt: skip
    assert [t.shape for t in out] == [(0, 8), (0, 8, 3), (0, 8), (0, 8)]


def test_opcheck(scene):
    images, K, poses, depth = scene
    normal = NORMAL.repeat(HEIGHT, WIDTH, 1)
    torch.library.opcheck(torch.ops.uner3d.patch_match.default, (
        images, K, poses, 0, [1, 2, 3, 4], depth, normal, 0.5, 8.0, 1, 2.0, 3, 3, 1, 6e-5, 0))  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [
    (dict(side=4), "side: expected 1, 3, 5 or 7, got 4"),
    (dict(n_best=9), "n_best: expected a value from 1 to 8, got 9"),
    (dict(iterations=-1), "iterations: expected a value from 0 to 100, got -1"),
    (dict(reach=float("nan")), "reach: expected a finite number of pixels from 0, got nan"),
    (dict(depth_range=(2.0, 1.0)), "depth_range: expected 0 < near <= far, both finite, got 2.0, 1.0"),
    (dict(sources=torch.tensor([0, 1])), "sources: expected views from 0 to 4 other than 0, got 0"),
    (dict(sources=torch.tensor([], dtype=torch.int64)), "sources: expected 1 to 31 views, got 0"),
    (dict(reference=5), "reference: expected a view from 0 to 4, got 5"),
    (dict(depth=torch.zeros(3, 3)), r"depth: expected shape \(H, W\) with H = 60, W = 80, got \(3, 3\)"),
])  # fmt: skip
def test_wrong_arguments_are_named(scene, change, message):
    images, K, poses, depth = scene
    given = dict(images=images, K=K, cam_from_world=poses, reference=0, sources=torch.arange(1, 5), depth=depth,
                 normal=NORMAL.expand(HEIGHT, WIDTH, 3), depth_range=(0.5, 8.0)) | change  # fmt: skip
    with pytest.raises((ValueError, TypeError), match=message):
        ops.patch_match(**given)
