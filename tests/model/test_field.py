"""The field of preset base: invariance, degenerate views, gradients, contraction."""

import pytest
import torch
import torch.nn.functional as F
from toy import random_sources

from uner3d.model.field import BaseField, Sources, contract, seen_from_cameras
from uner3d.ops.reference._views import centres


@pytest.fixture
def field():
    torch.manual_seed(1)
    field = BaseField(5, 4)
    torch.nn.init.normal_(field.out.weight, std=0.3)  # the density row starts at zero, which would hide everything
    return field


def some_points(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(n, 3, generator=generator) - 0.5
    return x, F.normalize(torch.randn(n, 3, generator=generator), dim=-1)


def evaluate(field, x, rays, sources):
    sigma, code = field.density(x, rays, sources, 4.0)
    return sigma, code, field.colour(x, rays, code, sources)


def test_order_of_views_does_not_matter(field):
    sources = random_sources(5)
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = Sources(*(t[order] for t in (sources.maps, sources.images, sources.K_maps, sources.K,
                                            sources.cam_from_unit)))  # fmt: skip
    x, rays = some_points()
    for a, b in zip(evaluate(field, x, rays, sources), evaluate(field, x, rays, shuffled), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_views_matter(field):
    x, rays = some_points()
    a, b = (evaluate(field, x, rays, random_sources(3, seed=seed)) for seed in (0, 1))
    assert (a[0] - b[0]).abs().max() > 0.01  # a hundred times what the order of views may change
    assert (a[2] - b[2]).abs().max() > 0.05


def test_blending_is_one_layer_on_all_inputs_side_by_side(field):
    """The parts of the first layer, computed apart, against their definition: a softmax over the views of an MLP's
    scores of [features, pixel, ray differences, cosine, code]."""
    from uner3d import ops

    sources = random_sources(5)
    x, rays = some_points()
    _, code, colour = evaluate(field, x, rays, sources)
    features, valid = ops.sample_views(sources.maps, sources.K_maps, sources.cam_from_unit, x)
    rgb, _ = ops.sample_views(sources.images, sources.K, sources.cam_from_unit, x)
    towards = F.normalize(x[:, None] - centres(sources.cam_from_unit), dim=-1)
    cosine = (towards * rays[:, None]).sum(-1, keepdim=True)
    inputs = [features, rgb, towards - rays[:, None], cosine, code[:, None].expand(-1, 5, -1)]
    score = field.blend2(F.relu(field.blend1(torch.cat(inputs, -1))))[..., 0] + 30 * (cosine[..., 0] - 1)
    weights = torch.softmax(score.masked_fill(~valid, -1e4), -1)
    torch.testing.assert_close(colour, (weights[..., None] * rgb).sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_views", [1, 2, 9])
def test_any_number_of_views(field, n_views):
    x, rays = some_points()
    sigma, code, colour = evaluate(field, x, rays, random_sources(n_views))
    assert sigma.shape == (40,) and code.shape == (40, 15) and colour.shape == (40, 3)
    assert sigma.isfinite().all() and (sigma >= 0).all()
    assert (colour >= 0).all() and (colour <= 1).all()


def test_one_view_gives_its_own_pixel(field):
    from uner3d import ops

    sources = random_sources(1)
    x, rays = some_points()
    colour = evaluate(field, x, rays, sources)[2]
    pixel, valid = ops.sample_views(sources.images, sources.K, sources.cam_from_unit, x)
    assert valid.all()
    torch.testing.assert_close(colour, pixel[:, 0])


def test_points_that_nobody_sees(field):
    sources = random_sources(2, arc=0.2)
    x = torch.tensor([[0.0, 0.0, 30.0], [50.0, 0.0, 0.0], [0.0, -40.0, 1.0]])  # behind the cameras or far aside
    rays = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
    sources.maps.requires_grad_()
    sigma, _, colour = evaluate(field, x, rays, sources)
    assert sigma.isfinite().all() and colour.isfinite().all()
    (sigma.sum() + colour.sum()).backward()
    assert sources.maps.grad.abs().max() == 0
    assert all(p.grad.isfinite().all() for p in field.parameters() if p.grad is not None)


def test_gradients_reach_maps_and_weights(field):
    sources = random_sources(4).detached()
    x, rays = some_points()
    sigma, code = field.density(x, rays, sources, 4.0)
    sigma.sum().backward(retain_graph=True)
    by_density = sources.maps.grad.clone()
    assert by_density.abs().max() > 0
    field.colour(x, rays, code, sources).square().sum().backward()
    assert (sources.maps.grad - by_density).abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in field.parameters())


def test_density_gradient_agrees_with_a_difference(field):
    sources = random_sources(4).detached()
    x, rays = some_points(8)
    field.density(x, rays, sources, 4.0)[0].sum().backward()
    direction = sources.maps.grad / sources.maps.grad.norm()
    step, values = 1e-2, []
    for sign in (1, -1):
        moved = random_sources(4)
        moved.maps = sources.maps.detach() + sign * step * direction
        values.append(float(field.density(x, rays, moved, 4.0)[0].detach().double().sum()))
    slope = (values[0] - values[1]) / (2 * step)
    assert slope == pytest.approx(float(sources.maps.grad.norm()), rel=0.02)


def test_empty_box_starts_almost_transparent():
    x, rays = some_points()
    sigma, _ = BaseField(5, 4).density(x, rays, random_sources(3), 4.0)
    torch.testing.assert_close(sigma, torch.full((40,), 0.3), rtol=0.01, atol=0)


def test_hidden_views_lose_their_say(field):
    """With depths, a view whose surface lies before the point gives no colour to it."""
    sources = random_sources(2, arc=0.3)
    x, rays = torch.zeros(1, 3), F.normalize(-centres(sources.cam_from_unit)[:1], dim=-1)
    open_ = evaluate(field, x, rays, sources)[2]
    K = sources.K.clone()
    sources.depths, sources.K_depths = torch.full((2, 24, 32), 3.5), K
    sources.depths[0] = 1.0
    from uner3d import ops

    pixels, _ = ops.sample_views(sources.images, sources.K, sources.cam_from_unit, x)
    hidden = evaluate(field, x, rays, sources)[2]
    assert (hidden - pixels[:, 1]).abs().max() < 1e-3
    assert (open_ - pixels[:, 1]).abs().max() > 1e-2


def test_contract_is_the_identity_inside():
    x = torch.rand(200, 3) * 2 - 1
    torch.testing.assert_close(contract(x), x)


def test_contract_is_bounded_and_keeps_directions():
    x = torch.randn(500, 3) * torch.logspace(-1, 6, 500)[:, None]
    y = contract(x)
    assert (y.abs().amax(-1) <= 2).all()
    assert y.abs().amax() > 1.999
    torch.testing.assert_close(F.normalize(y, dim=-1), F.normalize(x, dim=-1), rtol=1e-4, atol=1e-5)


def test_contract_is_continuous_and_monotone():
    t = torch.linspace(0.9, 20, 5000)[:, None]
    length = contract(t * torch.tensor([[1.0, -0.5, 0.2]])).abs().amax(-1)
    assert (length.diff() > 0).all()
    assert length.diff().max() <= 1.01 * float(t[1] - t[0])


def test_positions_as_the_cameras_see_them():
    """One view: right, down and forward of it from the centre of the box. More: their mean by weight. None: nothing."""
    poses = random_sources(3).cam_from_unit
    x = some_points()[0]
    x = 0.5 * x / x.norm(dim=1, keepdim=True)  # within the unit ball, where nothing is contracted
    each = torch.einsum("vij,nj->nvi", poses[:, :, :3], x) / 2
    weights = torch.rand(40, 3)
    alone = torch.zeros(40, 3).index_fill_(1, torch.tensor([1]), 0.3)
    torch.testing.assert_close(seen_from_cameras(x, alone, poses), each[:, 1])
    wanted = (weights[..., None] * each).sum(1) / weights.sum(1, keepdim=True)
    torch.testing.assert_close(seen_from_cameras(x, weights, poses), wanted)
    assert (seen_from_cameras(x, 0 * weights, poses) == 0).all()
    assert seen_from_cameras(1e6 * x, weights, poses).abs().max() < 3**0.5  # half of a cube of half edge 2


def test_a_lone_view_tells_near_from_far(field):
    """The same pixel, the same distance from the centre, the encoded position out of the way: only the view's own frame
    is left to tell the two points on its axis apart."""
    sources = random_sources(1)
    with torch.no_grad():
        field.layer1.weight[:, -3 * (2 * field.n_octaves + 1):] = 0
    axis = sources.cam_from_unit[0, 2, :3]
    x = torch.stack([0.4 * axis, -0.4 * axis])
    sigma, _ = field.density(x, axis.expand(2, 3).contiguous(), sources, 4.0)
    assert (sigma[0] - sigma[1]).abs() > 1e-3 * sigma.max()
