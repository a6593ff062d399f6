"""patch_match on CUDA: where the CPU's matching ends, and the manners of a torch op."""

import cuda_manners as manners
import pytest
import torch

from uner3d import ops

from test_patch_match import HEIGHT, NORMAL, WIDTH, arguments, scene  # isort: skip  # noqa: F401

pytestmark = pytest.mark.gpu


def there(scene, *args, **options):  # noqa: F811
    """The arguments on the GPU, but for the sources, which the host reads."""
    positional, keywords = arguments(scene, *args, **options)
    moved = manners.to_cuda(positional)
    return (*moved[:4], positional[4], *moved[5:]), keywords


def run(positional, keywords):
    return ops.patch_match(*positional, **keywords)


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize("n_best", [1, 4])
def test_scores_equal_those_of_the_cpu(scene, side, n_best):  # noqa: F811
    start = scene[3] * (1 + 0.02 * torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(side)))
    start[:3] = 0
    options = dict(iterations=0, side=side, n_best=n_best)
    got, want = run(*there(scene, start, **options)), run(*arguments(scene, start, **options))
    torch.testing.assert_close(got[0].cpu(), want[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(got[1].cpu(), want[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(got[2].cpu(), want[2], rtol=0, atol=2e-3)
    assert (got[3].cpu() != want[3]).float().mean() < 0.01


def test_matching_ends_where_the_cpu_ends(scene):  # noqa: F811
    start = scene[3] * 1.03
    depth, _, score, _ = run(*there(scene, start, iterations=4))
    want_depth, _, want_score, _ = run(*arguments(scene, start, iterations=4))
    assert ((depth.cpu() / want_depth - 1).abs() < 1e-4).float().mean() > 0.9
    assert (score.cpu() - want_score).abs().mean() < 2e-3


def test_repeats(scene):  # noqa: F811
    first = run(*there(scene, scene[3] * 1.02))
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, run(*there(scene, scene[3] * 1.02)), strict=True))


def matcher(scene):  # noqa: F811
    """A function of tensors alone, and tensors for it."""
    positional, _ = there(scene, scene[3] * 1.02)
    images, K, poses, reference, sources, depth, normal, limits = positional
    return lambda i, k, p, d, n: ops.patch_match(i, k, p, reference, sources, d, n, limits), (images, K, poses, depth,
                                                                                              normal)  # fmt: skip


def test_runs_on_the_current_stream(scene):  # noqa: F811
    manners.check_stream(*matcher(scene), [])


def test_can_be_captured_in_a_graph(scene):  # noqa: F811
    function, inputs = matcher(scene)
    others = (inputs[0].flip(2).contiguous(), *inputs[1:])
    manners.check_capture(function, inputs, others, [])


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_storage(scene, offset):  # noqa: F811
    function, inputs = matcher(scene)
    shifted = tuple(manners.unaligned(t, offset) for t in inputs)
    assert all(torch.equal(a, b) for a, b in zip(function(*shifted), function(*inputs), strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_device(scene):  # noqa: F811
    function, inputs = matcher(scene)
    other = function(*(t.to("cuda:1") for t in inputs))
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(other, function(*inputs), strict=True))


def test_sources_on_the_device_are_refused(scene):  # noqa: F811
    positional, _ = there(scene)
    with pytest.raises(ValueError, match="sources: expected device cpu, got cuda:0"):
        ops.patch_match(*positional[:4], positional[4].cuda(), *positional[5:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_refused(scene, dtype):  # noqa: F811
    positional, _ = there(scene)
    with pytest.raises(TypeError, match=r"images: expected dtype torch.float32, got torch.float(16|64)"):
        ops.patch_match(*(t.to(dtype) if isinstance(t, torch.Tensor) and t.is_floating_point() else t
                          for t in positional))  # fmt: skip


def test_empty_images():
    K, poses = torch.eye(3).repeat(2, 1, 1).cuda(), torch.eye(4)[:3].repeat(2, 1, 1).cuda()
    zeros = lambda *shape: torch.zeros(*shape, device="cuda")  # noqa: E731
    out = ops.patch_match(zeros(2, 0, 8), K, poses, 0, torch.tensor([1]), zeros(0, 8), zeros(0, 8, 3), (1.0, 2.0))
    assert [t.shape for t in out] == [(0, 8), (0, 8, 3), (0, 8), (0, 8)]


def test_opcheck(scene):  # noqa: F811
    _, (images, K, poses, depth, _) = matcher(scene)
    normal = NORMAL.repeat(HEIGHT, WIDTH, 1).cuda()
    torch.library.opcheck(torch.ops.uner3d.patch_match.default, (
        images, K, poses, 0, [1, 2, 3, 4], depth, normal, 0.5, 8.0, 1, 2.0, 3, 3, 1, 6e-5, 0))  # fmt: skip
