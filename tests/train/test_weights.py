"""Files of weights that were trained across scenes."""

import pytest
import torch
from safetensors.torch import save_file

from uner3d.config import Config
from uner3d.model.build import Model
from uner3d.train import weights as module
from uner3d.train.weights import load_weights, read_weights, save_weights, weights_path


def saved(tmp_path, **settings):
    torch.manual_seed(1)
    config = Config(octaves=4, **settings)
    model = Model(config)
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, config, 2, {"seed": 7, "trained_steps": 3})
    config.weights = str(path)
    return path, model, config


def test_a_model_takes_them_and_tells_their_recipe(tmp_path):
    _, model, config = saved(tmp_path)
    torch.manual_seed(2)
    other = Model(config)
    assert load_weights(other, config) == {"seed": 7, "trained_steps": 3}
    for name, value in model.state_dict().items():
        if name != "field.layer1.weight":
            assert torch.equal(other.state_dict()[name], value), name


def test_octaves_that_were_closed_change_nothing_until_they_learn(tmp_path):
    _, model, config = saved(tmp_path)
    other = Model(config)
    load_weights(other, config)
    ours, theirs = other.field.layer1.weight, model.field.layer1.weight
    assert (ours[:, -12:] == 0).all() and not (theirs[:, -12:] == 0).any()
    assert torch.equal(ours[:, :-12], theirs[:, :-12])


def test_other_settings_are_refused(tmp_path):
    path, _, config = saved(tmp_path)
    for name, value in (("octaves", 5), ("encoder", "resnet34"), ("model", "paper")):
        with pytest.raises(ValueError, match=rf"{path}: {name}: expected weights for {value}, got"):
            load_weights(torch.nn.Identity(), Config(**{"octaves": 4, "weights": config.weights} | {name: value}))


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--weights nowhere.safetensors: expected a .safetensors file"):
        weights_path("nowhere.safetensors")
    damaged, other = tmp_path / "damaged.safetensors", tmp_path / "other.safetensors"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"damaged.safetensors: not a readable safetensors file"):
        read_weights(damaged)
    save_file({"a": torch.ones(1)}, other)
    with pytest.raises(ValueError, match=r"other.safetensors: format: expected 'uner3d weights 1', got None"):
        read_weights(other)


def test_tensors_of_another_version_are_refused(tmp_path):
    path, _, config = saved(tmp_path)
    tensors, metadata = read_weights(path)
    tensors.pop("field.out.bias")
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=r"expected this model's weights; written by another version\?"):
        load_weights(Model(config), config)


def test_default_is_the_one_in_the_package(tmp_path, monkeypatch):
    path, _, _ = saved(tmp_path)
    monkeypatch.setattr(module, "SHIPPED", tmp_path)
    path.rename(tmp_path / "base.safetensors")
    assert weights_path("default") == tmp_path / "base.safetensors"


def test_the_package_brings_weights_of_base():
    config = Config(weights="default")
    recipe = load_weights(Model(config), config)
    assert recipe["scenes"] > 100 and recipe["trained_steps"] > 1000
    assert weights_path("default").stat().st_size < 4_000_000
