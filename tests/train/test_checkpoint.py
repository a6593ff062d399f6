"""What is read back from a run."""

import pytest
import torch

from uner3d.train.tensor_file import load_model


@pytest.mark.parametrize("change", ["more", "fewer", "another shape"])
def test_weights_of_another_model_are_refused_by_name(tmp_path, change):
    model = torch.nn.Linear(2, 1)
    weights = dict(model.state_dict())
    if change == "more":
        weights["old.bias"] = torch.zeros(1)
    elif change == "fewer":
        del weights["bias"]
    else:
        weights["bias"] = torch.zeros(2)
    path = tmp_path / "model.safetensors"
    name = "old.bias" if change == "more" else "bias"
    with pytest.raises(ValueError, match=rf"model.safetensors: expected this model's weights; .*{name}"):
        load_model(model, weights, path)
