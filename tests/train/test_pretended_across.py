"""Training across scenes on a pretended GPU: nothing waits, and the result is the CPU's."""

import pytest
import torch
from pretended_gpu import DEVICE, pretended_gpu
from toy import ball_photos

from uner3d.config import Config
from uner3d.model.build import Model
from uner3d.train.across_step import PredictView, StepSettings, draw_task
from uner3d.train.scene_stream import TrainingScene

SETTINGS = StepSettings(rays=64, samples=8, samples_outside=4, grid=8)


def gradients(masks: bool, background: bool, device: torch.device, watch=None):
    """Terms and gradients of one task."""
    photos = ball_photos(5, 32, 24, masks=masks)
    scene = TrainingScene(photos, torch.ones(3), torch.ones(3) if background else None)
    torch.manual_seed(0)
    model = Model(Config(octaves=3)).to(device)
    task = draw_task(scene, SETTINGS, torch.Generator().manual_seed(1), device)
    predict = PredictView(model, SETTINGS)
    if watch is None:
        terms = predict(task)
        terms[:-1].sum().backward()
    else:
        with watch.no_waiting():
            terms = predict(task)
            terms[:-1].sum().backward()
    return terms.detach(), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize(("masks", "background"), [(True, True), (False, True), (False, False)])
def test_a_step_across_scenes_waits_for_nothing(masks, background):
    theirs, their_grads = gradients(masks, background, torch.device("cpu"))
    with pretended_gpu() as watch:
        ours, our_grads = gradients(masks, background, DEVICE, watch)
        assert ours.device == DEVICE and all(grad.device == DEVICE for grad in our_grads)
        ours, our_grads = ours.cpu(), [grad.cpu() for grad in our_grads]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    for a, b in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-2)
