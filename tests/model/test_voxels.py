"""Values on lattices: what they are to a field."""

import torch

from uner3d.config import Config, preset_config
from uner3d.model.build import Model
from uner3d.model.voxels import VoxelResidual
from uner3d.train.across import AcrossConfig
from uner3d.train.optimizers import VOXEL_EPS, make_optimizers
from uner3d.train.untrained import untrained_config
from uner3d.train.weights import start_model


def linear(n: int) -> torch.Tensor:
    """A lattice (n, n, n) of 1 + 2 x - 3 y + 4 z."""
    at = torch.linspace(-1, 1, n)
    x, y, z = torch.meshgrid(at, at, at, indexing="ij")
    return 1 + 2 * x - 3 * y + 4 * z


def test_linear_lattices_are_read_exactly_and_add_up():
    residual = VoxelResidual((4, 7))
    x = torch.rand(200, 3) * 2 - 1
    assert not residual(x).any()
    with torch.no_grad():
        for level in residual.levels:
            level.copy_(linear(len(level)))
    want = 2 * (1 + x @ torch.tensor([2.0, -3, 4]))
    torch.testing.assert_close(residual(x), want, rtol=1e-4, atol=1e-5)
    assert not residual(x + 3 * x.sign()).any()


def test_fits_have_voxels_and_what_knows_no_scene_has_none():
    assert Model(preset_config("base")).field.residual is not None
    assert Model(preset_config("base", voxel_rate=0.0)).field.residual is None
    assert Model(untrained_config("base", weights="default")).field.residual is None
    assert Model(AcrossConfig().model_config()).field.residual is None


def test_weights_trained_across_scenes_leave_the_voxels_as_they_are():
    fresh, started = Model(preset_config("base")), start_model(preset_config("base"))
    assert not torch.equal(fresh.field.layer1.weight, started.field.layer1.weight)
    assert all(not level.any() for level in started.field.residual.levels)


def test_voxels_learn_at_their_own_rate():
    config = Config(voxel_rate=0.5)
    groups = make_optimizers(config, Model(config))[0].param_groups
    assert [(group["base_lr"], group["settles"]) for group in groups] == [
        (config.learning_rate, True), (config.learning_rate, False), (0.5, True)]  # fmt: skip
    assert [len(group["params"]) for group in groups][2] == 3 and groups[2]["eps"] == VOXEL_EPS
    together = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(set(together)) == len(together) == len(list(Model(config).field.parameters()))
