"""The paper's field: equality with its formula, invariance, points that nobody sees."""

import pytest
import torch
import torch.nn.functional as F
from toy import random_sources

from uner3d import ops
from uner3d.config import preset_config
from uner3d.model.build import Model
from uner3d.model.field import DENSITY_SCALE, Sources, contract
from uner3d.model.paper import WIDTH, PaperEncoder, PaperField
from uner3d.ops import reference


@pytest.fixture
def field():
    torch.manual_seed(4)
    field = PaperField(WIDTH, 3)
    torch.nn.init.normal_(field.out.weight, std=0.3)
    return field


def points(n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(n, 3, generator=generator) - 0.5
    return x, F.normalize(torch.randn(n, 3, generator=generator), dim=-1)


def by_the_formula(field, x, rays, sources):
    """One view and one point at a time: the first layer on [gamma(x), direction], plus the folded features."""
    out = []
    for point, ray in zip(x, rays, strict=True):
        gamma = reference.positional_encoding(contract(point[None]) * 0.5, 3, True, 3.0)[0]
        hidden = []
        for view in range(len(sources.maps)):
            feature, valid = ops.sample_views(sources.maps[view:view + 1], sources.K_maps[view:view + 1],
                                              sources.cam_from_unit[view:view + 1], point[None])  # fmt: skip
            if valid[0, 0]:
                direction = sources.cam_from_unit[view, :, :3] @ ray
                hidden.append(field.f1(feature[0, 0] + field.position(torch.cat([gamma, direction]))))
        mean = torch.stack(hidden).mean(0) if hidden else torch.zeros(WIDTH)
        out.append(field.out(F.relu(field.f2(mean))))
    logits = torch.stack(out)
    return DENSITY_SCALE * F.softplus(logits[:, 0]), torch.sigmoid(logits[:, 1:])


def test_equals_its_formula(field):
    sources = random_sources(3, WIDTH)
    x, rays = points(6)
    x[0] = torch.tensor([0.0, 40.0, 0.0])  # nobody sees it
    sigma, code = field.density(x, rays, sources, 3.0)
    want_sigma, want_colour = by_the_formula(field, x, rays, sources)
    torch.testing.assert_close(sigma, want_sigma, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(field.colour(x, rays, code, sources), want_colour, rtol=1e-3, atol=1e-4)


def test_order_of_views_does_not_matter(field):
    sources = random_sources(4, WIDTH)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = Sources(*(t[order] for t in (sources.maps, sources.images, sources.K_maps, sources.K,
                                            sources.cam_from_unit)))  # fmt: skip
    x, rays = points()
    a, b = (field.density(x, rays, s, 3.0) for s in (sources, shuffled))
    torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a[1], b[1], rtol=1e-4, atol=1e-4)


def test_gradients_reach_maps_and_all_weights(field):
    sources = random_sources(3, WIDTH).detached()
    x, rays = points()
    sigma, code = field.density(x, rays, sources, 3.0)
    (sigma.sum() + field.colour(x, rays, code, sources).sum()).backward()
    assert sources.maps.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in field.parameters())


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="channels: expected the encoder's 64, got 32"):
        PaperField(32, 3)


def test_trunk_is_fixed_and_the_preset_builds():
    encoder = PaperEncoder()
    assert encoder.channels == WIDTH
    assert not any(p.requires_grad for p in encoder.trunk.parameters())
    model = Model(preset_config("paper"))
    assert isinstance(model.field, PaperField) and model.field.n_octaves == 10
    images = torch.rand(2, 24, 32, 3)
    K, pose = torch.eye(3).repeat(2, 1, 1), torch.eye(4)[:3].repeat(2, 1, 1)
    with torch.no_grad():
        sources = model.encode(images, K, pose)
    assert sources.maps.shape == (2, 12, 16, WIDTH)
    torch.testing.assert_close(sources.K_maps[0], torch.diag(torch.tensor([0.5, 0.5, 1.0])))
