"""The CUDA kernels of patch_match, compiled for the CPU and run thread by thread, against the twin and the CPU's."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))
import test_patch_match as tests
from test_patch_match import scene  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("host_cuda")]

cpu = sys.modules["uner3d.ops.patch_match"]._cpu


def on_cpu(images, K, poses, reference, sources, depth, normal, limits, iterations=3, **options):
    given = dict(reach=4.0, n_best=3, side=5, step=2, least_variance=6e-5, seed=0) | options
    return cpu(images, K, poses, reference, sources.tolist(), depth, normal, *limits, iterations, *given.values())


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize("n_best", [1, 4])
def test_scores_and_planes_equal_those_of_the_cpu(scene, side, n_best):  # noqa: F811
    """Before any iteration nothing is chosen between planes whose scores differ in the last bits."""
    generator = torch.Generator().manual_seed(side)
    start = scene[3] * (1 + 0.02 * torch.randn(scene[3].shape, generator=generator))
    start[:3], start[5, 5] = 0, float("nan")
    options = dict(iterations=0, side=side, n_best=n_best)
    positional, keywords = tests.arguments(scene, start, **options)
    depth, normal, score, chosen = tests.match(scene, start, **options)
    want = on_cpu(*positional, **keywords)
    torch.testing.assert_close(depth, want[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(normal, want[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(score, want[2], rtol=0, atol=2e-3)
    assert (chosen != want[3]).float().mean() < 0.01


@pytest.mark.parametrize("seed", [0, 7])
def test_matching_ends_where_the_cpu_ends(scene, seed):  # noqa: F811
    start = scene[3] * 1.03
    positional, keywords = tests.arguments(scene, start, iterations=4, seed=seed)
    depth, _, score, _ = tests.match(scene, start, iterations=4, seed=seed)
    want_depth, _, want_score, _ = on_cpu(*positional, **keywords)
    same = (depth / want_depth - 1).abs() < 1e-4
    assert same.float().mean() > 0.9  # the last bits of two scores can decide otherwise, and the plane spreads
    assert (score - want_score).abs().mean() < 2e-3


@pytest.mark.parametrize("side", [3, 7])
def test_scores_equal_the_twin(scene, side):  # noqa: F811
    tests.test_scores_equal_the_twin(scene, side, torch.float32)


def test_what_the_cpu_promises(scene):  # noqa: F811
    tests.test_finds_the_plane_from_wrong_depths_and_normals(scene)
    tests.test_the_truth_scores_best_and_stays(scene)
    tests.test_a_source_that_shows_something_else_is_passed_over(scene)
    tests.test_pixels_without_texture_keep_their_plane(scene)
    tests.test_pixels_without_a_depth_are_left_out(scene)
    tests.test_depths_stay_within_their_range(scene)
    tests.test_empty_images()


def test_odd_sizes(scene):  # noqa: F811
    """A row of an odd width has one pixel more of one colour."""
    images, K, poses, depth = scene
    for height, width in ((17, 19), (18, 20), (17, 20)):
        part, start = images[:, :height, :width].contiguous(), 1.04 * depth[:height, :width]
        cut = (part, K, poses, 0, torch.arange(1, 5), start, tests.NORMAL.expand(height, width, 3), (0.5, 8.0))
        found, *_ = tests.ops.patch_match(*cut, iterations=1)
        want, *_ = on_cpu(*cut, iterations=1)
        moved, meant = (((d / cut[5] - 1).abs() > 1e-4) for d in (found, want))
        assert meant[:, -1].any() and meant[-1].any() and (moved == meant).float().mean() > 0.97
        assert ((found / want - 1).abs() < 1e-4).float().mean() > 0.97


def test_the_order_of_the_threads_does_not_matter(scene, host_cuda):  # noqa: F811
    try:
        forwards = tests.match(scene, scene[3] * 1.02)
        host_cuda.run_backwards(True)
        backwards = tests.match(scene, scene[3] * 1.02)
    finally:
        host_cuda.run_backwards(False)
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_double_precision_is_refused(scene):  # noqa: F811
    with pytest.raises(TypeError, match="images: expected float32 on CUDA"):
        tests.match(tuple(t.double() for t in scene), normal=tests.NORMAL.double().expand(60, 80, 3))


def test_opcheck(scene):  # noqa: F811
    tests.test_opcheck(scene)
