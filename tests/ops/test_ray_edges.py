import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uner3d import ops
from uner3d.ops import reference

EXTENT = (1.0, 0.8, 0.6)


def sample_inputs(
    n_rays=60, n_steps=50, n_samples=16, n=24, share=0.3, jitter=True, contracted=False, dtype=torch.float64, seed=0
):
    """Rays from a sphere inwards through cells that are carved, thin or dense. Without jitter none is carved: a
    quantile may then equal the running sum along carved steps, before or behind which rounding puts the edge."""
    g = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    extent = torch.tensor(EXTENT, dtype=torch.float64)
    origins = 3 * torch.nn.functional.normalize(random(n_rays, 3) - 0.5, dim=-1)
    directions = ((random(n_rays, 3) - 0.5) * extent - origins) * (0.2 + random(n_rays, 1))
    knots = 1 / directions.norm(dim=-1, keepdim=True) * (1.5 + 3 * random(n_rays, n_steps + 1).sort(-1).values)
    densities = torch.tensor([0.0 if jitter else 1e-5, 1e-4, 2.0, 80.0], dtype=torch.float64)
    values = densities[(random(n, n, n) ** 2 * 4).long()]
    values[: n // 8] = densities[0]
    moved = random(n_rays, n_samples + 1) if jitter else None
    tensors = (knots, origins, directions, values, extent)
    args = [t.to(dtype) for t in tensors]
    return *args, share, n_samples, None if moved is None else moved.to(dtype), contracted


def steady(knots, origins, directions, values, extent, share, n_samples, jitter, contracted):
    """The rays (N,) bool that rounding in float32 cannot send through another cell or over a threshold."""
    t = 0.5 * (knots[:, 1:] + knots[:, :-1])
    x = origins[:, None] + t[..., None] * directions[:, None]
    x = reference.density_grid.contract(x) if contracted else x
    at = (x / extent + 1) / 2 * len(values)
    off_walls = ((at - at.round()).abs() > 2e-4 * (at.abs() < 2 * len(values))).all(-1).all(-1)
    sigma = values.view(-1)[reference.grid_cells(x, extent, len(values))]
    depth = sigma * (knots[:, 1:] - knots[:, :-1]) * directions.norm(dim=-1, keepdim=True)
    before = 0.2 * (depth.cumsum(-1) - depth)
    return off_walls & ((depth - 0.05).abs() > 1e-5).all(-1) & ((before - 5).abs() > 1e-3).all(-1)


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("jitter", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_steps", [1, 2, 17, 50, 128, 300])
def test_double_matches_the_twin_to_rounding(isa, n_steps, share, jitter, contracted):
    args = sample_inputs(n_steps=n_steps, share=share, jitter=jitter, contracted=contracted)
    torch.testing.assert_close(ops.ray_edges(*args), reference.ray_edges(*args), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("jitter", [False, True])
def test_single_matches_the_float64_twin(isa, jitter, contracted):
    args = sample_inputs(n_rays=800, n_steps=128, jitter=jitter, contracted=contracted)
    kept = steady(*args)
    assert kept.sum() > 100
    single = [t.float() if isinstance(t, torch.Tensor) else t for t in args]
    got, want = ops.ray_edges(*single).double()[kept], reference.ray_edges(*args)[kept]
    span = (args[0][:, -1:] - args[0][:, :1])[kept]
    # Steps of almost no share are crossed within the rounding of the running sum: few edges may move along those.
    moved = (got - want).abs() / span
    assert moved.median() < 1e-6 and (moved > 1e-4).double().mean() < 2e-3 and moved.max() < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_ascend_within_the_knots(isa, dtype):
    args = sample_inputs(n_rays=400, n_steps=128, dtype=dtype)
    edges, knots = ops.ray_edges(*args), args[0]
    rounding = 4 * torch.finfo(dtype).eps * knots[:, -1:]
    assert (edges.diff(dim=1) >= -rounding).all()
    assert (edges >= knots[:, :1] - rounding).all() and (edges <= knots[:, -1:] + rounding).all()


def dense_between(low, high, n=32, density=50.0, elsewhere=0.0):
    """A grid over [-1, 1]^3, dense between two values of x; rays along x through it, from -1 to 1."""
    at = (torch.arange(n) + 0.5) / n * 2 - 1
    values = torch.where((at > low) & (at < high), density, elsewhere)[:, None, None].expand(n, n, n)
    knots = torch.linspace(0, 2, 65)[None]
    return knots, torch.tensor([[-1.0, 0, 0]]), torch.tensor([[1.0, 0, 0]]), values, torch.ones(3)


def test_samples_gather_where_the_grid_is_dense(isa):
    edges = ops.ray_edges(*dense_between(0.0, 0.2, elsewhere=1e-4), 0.3, 40)[0] - 1
    middles = (edges[1:] + edges[:-1]) / 2
    assert 0.55 < ((middles > -0.05) & (middles < 0.25)).float().mean() < 0.85
    assert (middles < -0.3).any() and (middles > 0.5).any()


def test_carved_cells_get_no_samples(isa):
    edges = ops.ray_edges(*dense_between(-0.1, 0.1), 0.5, 40)[0] - 1
    assert (edges.abs()[:-1] < 0.16).all()  # but next to a dense step: cells are wider than surfaces are known


def test_a_ray_through_nothing(isa):
    knots = torch.linspace(0, 2, 65)
    thin = ops.ray_edges(*dense_between(2, 3, elsewhere=1e-5), 0.0, 32)[0]
    torch.testing.assert_close(thin, torch.linspace(0, 2, 33))  # even: a surface may still be found
    carved = ops.ray_edges(*dense_between(2, 3), 0.3, 4)[0]
    assert carved.tolist() == [knots[-2], *[knots[-1]] * 4]


def test_share_as_a_tensor():
    args = list(sample_inputs(share=0.25))
    expected = ops.ray_edges(*args)
    args[5] = torch.tensor(0.25, dtype=torch.float64)
    assert torch.equal(ops.ray_edges(*args), expected)
    assert torch.equal(reference.ray_edges(*args), reference.ray_edges(*sample_inputs(share=0.25)))


def test_same_bytes_with_any_number_of_threads(threads):
    args = sample_inputs(n_rays=500, n_steps=128, dtype=torch.float32)
    results = []
    for n in (1, 2, 3, 8):
        threads(n)
        results.append(ops.ray_edges(*args).numpy().tobytes())
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("jitter", [False, True])
def test_opcheck(jitter):
    knots, origins, directions, values, extent, share, *rest = sample_inputs(n_rays=5, jitter=jitter)
    args = (knots, origins, directions, values, extent, torch.tensor(share).double(), *rest)
    torch.library.opcheck(torch.ops.uner3d.ray_edges.default, args)


def test_empty():
    args = sample_inputs(n_rays=0)
    assert ops.ray_edges(*args).shape == (0, 17) and reference.ray_edges(*args).shape == (0, 17)


def test_non_contiguous_inputs():
    args = sample_inputs()
    loose = [torch.stack([t, t], -1)[..., 0] if isinstance(t, torch.Tensor) else t for t in args]
    assert not loose[0].is_contiguous()
    assert torch.equal(ops.ray_edges(*loose), ops.ray_edges(*args))
    torch.testing.assert_close(reference.ray_edges(*loose), reference.ray_edges(*args))


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, None, TypeError, "knots: expected a tensor"),
        (0, torch.zeros(60, 1).double(), ValueError, r"knots: expected at least 2 of each ray, got shape \(60, 1\)"),
        (1, torch.zeros(59, 3).double(), ValueError, r"origins: expected shape \(N, 3\) with N = 60"),
        (2, torch.zeros(60, 3), TypeError, "directions: expected dtype torch.float64"),
        (3, torch.zeros(4, 5, 4).double(), ValueError, r"values: expected shape \(n, n, n\) with n = 4, got"),
        (3, torch.zeros(4, 4, 4), TypeError, "values: expected dtype torch.float64"),
        (4, torch.zeros(2).double(), ValueError, r"extent: expected shape \(3,\)"),
        (5, 1.5, ValueError, "uniform: expected a share from 0 to 1, got 1.5"),
        (5, torch.zeros(1).double(), ValueError, r"uniform: expected shape \(\), got \(1,\)"),
        (6, 0, ValueError, "n_samples: expected an integer from 1, got 0"),
        (7, torch.zeros(60, 16).double(), ValueError, r"jitter: expected shape \(N, 17\) with N = 60"),
    ],
)
def test_bad_arguments_are_named(index, value, error, message):
    args = list(sample_inputs())
    args[index] = value
    with pytest.raises(error, match=message):
        ops.ray_edges(*args)


@settings(max_examples=60, deadline=None)
@given(
    n_rays=st.integers(0, 5), n_steps=st.integers(1, 40), n_samples=st.integers(1, 40), n=st.integers(1, 8),
    share=st.floats(0, 1), jitter=st.booleans(), contracted=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(n_rays, n_steps, n_samples, n, share, jitter, contracted, seed):
    args = sample_inputs(n_rays, n_steps, n_samples, n, share, jitter, contracted, seed=seed)
    edges, knots = ops.ray_edges(*args), args[0]
    torch.testing.assert_close(edges, reference.ray_edges(*args), rtol=1e-7, atol=1e-7)
    assert (edges.diff(dim=1) >= -1e-14 * knots[:, -1:]).all()
    assert (edges >= knots[:, :1] - 1e-14).all() and (edges <= knots[:, -1:] + 1e-14).all()
