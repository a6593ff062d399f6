"""Features under a frozen network: the same whether kept or computed anew, within a bound of memory."""

import pytest
import torch
import torch.nn.functional as F

from uner3d.config import preset_config
from uner3d.model.build import Model
from uner3d.model.feature_cache import FeatureCache
from uner3d.model.resnet34 import FoldedResNet34
from uner3d.train.photos import SeenDepths


class Photos:
    """What a PhotoSet shows of itself to a model."""

    seen = None

    def __init__(self, n_views: int = 5, height: int = 24, width: int = 32) -> None:
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randint(256, (n_views, height, width, 3), generator=generator, dtype=torch.uint8)
        self.K = torch.eye(3).repeat(n_views, 1, 1)
        self.cam_from_unit = torch.eye(4)[:3].repeat(n_views, 1, 1)

    def __len__(self) -> int:
        return len(self.images)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(1)
    return Model(preset_config("paper")).eval()


def test_scales_projected_apart_equal_the_projected_concatenation():
    torch.manual_seed(2)
    encoder = FoldedResNet34(channels=8)
    images = torch.rand(2, 37, 50, 3)  # sizes that no stride divides
    want = F.linear(encoder.trunk(images), encoder.project.weight, encoder.project.bias)
    torch.testing.assert_close(encoder(images), want, rtol=1e-4, atol=1e-4)


def test_kept_views_equal_encoded_ones_to_half_precision(model):
    photos, views = Photos(), torch.tensor([3, 1])
    kept = model.encode_views(photos, views)
    anew = model.encode(photos.images[views].float() / 255, photos.K[views], photos.cam_from_unit[views])
    torch.testing.assert_close(kept.maps, anew.maps, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(kept.K_maps, anew.K_maps)
    assert torch.equal(kept.images, anew.images)


def test_sources_know_the_depths_that_photos_are_known_to_see(model):
    photos, views = Photos(), torch.tensor([3, 1])
    assert model.encode_views(photos, views).depths is None
    photos.seen = SeenDepths(torch.arange(5.0).view(5, 1, 1).expand(5, 6, 8).half(), 2 * photos.K)
    sources = model.encode_views(photos, views)
    assert sources.depths[:, 0, 0].tolist() == [3, 1] and sources.depths.dtype == torch.float32
    assert torch.equal(sources.K_depths, 2 * photos.K[views])


def test_each_view_passes_the_trunk_once(model):
    photos, calls = Photos(), []
    scales = model.encoder.trunk.scales
    model.encoder.trunk.scales = lambda images: calls.append(len(images)) or scales(images)
    model.remember_views(photos)
    model.encode_views(photos, torch.tensor([0, 4]))
    assert calls == [1] * len(photos)
    model.encode_views(Photos(), torch.tensor([0, 4]))  # other photos under the same numbers
    assert calls == [1] * (len(photos) + 2)


def test_a_small_cache_forgets_the_oldest_and_gives_the_same_bytes(model):
    photos = Photos()
    want = model.encode_views(photos, torch.arange(5)).maps
    per_view = model.trunk_cache.n_bytes // 5
    model.trunk_cache = FeatureCache(max_bytes=2 * per_view)
    got = model.encode_views(photos, torch.arange(5)).maps
    assert model.trunk_cache.n_bytes <= 2 * per_view
    assert torch.equal(got, want)


def test_the_projection_still_learns(model):
    maps = model.encode_views(Photos(), torch.tensor([0, 1])).maps
    maps.square().sum().backward()
    assert model.encoder.project.weight.grad.abs().max() > 0


def test_an_encoder_that_learns_keeps_nothing():
    model = Model(preset_config("base"))
    model.remember_views(Photos())
    model.encode_views(Photos(), torch.tensor([0, 1]))
    assert model.trunk_cache.n_bytes == 0


@pytest.mark.parametrize("overrides", [{}, {"encoder": "resnet34"}], ids=["cnn", "resnet34"])
def test_a_frozen_encoder_keeps_its_maps(overrides):
    torch.manual_seed(1)
    model, photos, calls = Model(preset_config("base", **overrides)), Photos(), []
    want = model.encode_views(photos, torch.tensor([3, 1]))
    assert model.encoder_learns and want.maps.requires_grad
    forward = model.encoder.forward
    model.encoder.forward = lambda images: calls.append(len(images)) or forward(images)
    model.freeze_encoder()
    model.remember_views(photos)
    got = model.encode_views(photos, torch.tensor([3, 1]))
    assert calls == [1] * len(photos)
    assert not got.maps.requires_grad
    torch.testing.assert_close(got.maps, want.maps, rtol=2e-3, atol=2e-3)
