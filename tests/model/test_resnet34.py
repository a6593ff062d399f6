"""ResNet34: ImageNet names, safe loading, the folded projection."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from uner3d import ops
from uner3d.model.resnet34 import FoldedResNet34, ResNet34


def imagenet_names() -> set[str]:
    """The names of the published checkpoint, to layer3, spelt out from the architecture's table."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", *(f"bn1.{n}" for n in norm)}
    for layer, n_blocks in (("layer1", 3), ("layer2", 4), ("layer3", 6)):
        for block in range(n_blocks):
            for part in (1, 2):
                names |= {f"{layer}.{block}.conv{part}.weight", *(f"{layer}.{block}.bn{part}.{n}" for n in norm)}
        if layer != "layer1":
            names |= {f"{layer}.0.downsample.0.weight", *(f"{layer}.0.downsample.1.{n}" for n in norm)}
    return names


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    """A state dict as ImageNet ones are: with layer4 and fc, which the trunk has no use for."""
    torch.manual_seed(5)
    state = {name: value.clone() for name, value in ResNet34().state_dict().items()}
    state["bn1.running_mean"] += 0.25
    state |= {"layer4.0.conv1.weight": torch.zeros(2), "fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}
    return state


def write(path, state):
    if path.suffix == ".safetensors":
        save_file(state, str(path))
    else:
        torch.save(state, path)
    return path


def test_names_and_shapes_are_the_imagenet_ones():
    state = ResNet34().state_dict()
    assert set(state) == imagenet_names()
    shapes = {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 3, 3),
              "layer2.0.conv1.weight": (128, 64, 3, 3), "layer2.0.downsample.0.weight": (128, 64, 1, 1),
              "layer3.5.conv2.weight": (256, 256, 3, 3), "layer3.0.downsample.1.running_var": (256,)}  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_loads_checkpoints_with_a_head(tmp_path, checkpoint, suffix):
    trunk = ResNet34(write(tmp_path / f"weights{suffix}", checkpoint))
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, checkpoint[name]), name


def test_old_checkpoints_without_batch_counters(tmp_path, checkpoint):
    state = {k: v for k, v in checkpoint.items() if not k.endswith("num_batches_tracked")}
    trunk = ResNet34(write(tmp_path / "old.pth", state))
    assert torch.equal(trunk.bn1.running_mean, checkpoint["bn1.running_mean"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_missing_and_misshapen_tensors_are_named(tmp_path, checkpoint, suffix):
    missing = {k: v for k, v in checkpoint.items() if k != "layer2.3.bn2.bias"}
    path = write(tmp_path / f"missing{suffix}", missing)
    with pytest.raises(ValueError, match=rf"missing\{suffix}: layer2\.3\.bn2\.bias is missing"):
        ResNet34(path)
    misshapen = checkpoint | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    path = write(tmp_path / f"misshapen{suffix}", misshapen)
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight expected \(64, 64, 3, 3\), got \(64, 64, 1, 1\)"):
        ResNet34(path)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickled_object_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "executed"
    for name, dump in (("torch.pth", torch.save), ("plain.pth", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path = tmp_path / name
        dump({"conv1.weight": Payload(mark)}, path)
        with pytest.raises(ValueError, match=name):
            ResNet34(path)
        assert not mark.exists()


@pytest.mark.parametrize(("name", "content"), [("a.safetensors", b"not tensors"), ("a.pth", b"not tensors")])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        ResNet34(tmp_path / name)


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"conv1.weight": "text"}])
def test_files_without_a_state_dict_are_named(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth"):
        ResNet34(tmp_path / "other.pth")


def test_absent_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        ResNet34("nowhere.pth")


def test_features_of_a_view_do_not_depend_on_the_others():
    torch.manual_seed(0)
    trunk = ResNet34().train()
    images = torch.rand(2, 21, 30, 3)
    with torch.no_grad():
        both, one = trunk(images), trunk(images[:1])
    assert both.shape == (2, 11, 15, 512)
    torch.testing.assert_close(both[:1], one, rtol=1e-4, atol=1e-4)


def test_folding_equals_projecting_after_sampling():
    torch.manual_seed(3)
    folded = FoldedResNet34(channels=6)
    images = torch.rand(2, 24, 32, 3)
    K = torch.tensor([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]).repeat(2, 1, 1)
    pose = torch.eye(4)[:3].repeat(2, 1, 1)
    x = torch.rand(50, 3) * 0.5 + torch.tensor([-0.25, -0.25, 1.0])
    with torch.no_grad():
        before, valid = ops.sample_views(folded(images), K, pose, x)
        after, _ = ops.sample_views(folded.trunk(images).contiguous(), K, pose, x)
        after = folded.project(after)
    assert valid.all()
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_pretrained_weights_stay_fixed(tmp_path, checkpoint):
    given = FoldedResNet34(write(tmp_path / "w.safetensors", checkpoint))
    assert not any(p.requires_grad for p in given.trunk.parameters())
    assert all(p.requires_grad for p in given.project.parameters())
    assert all(p.requires_grad for p in FoldedResNet34().trunk.parameters())
