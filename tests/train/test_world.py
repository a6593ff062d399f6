"""What is fixed about a scene: here, how much of its photos shows something."""

import numpy as np
import pytest
import torch
from toy import UNIT_BOX, MemoryView, pinhole, ring

from uner3d.config import Config
from uner3d.data.scene import Camera
from uner3d.reconstruct import seconds_after_training
from uner3d.train.photos import PhotoSet, UnitFrame
from uner3d.train.world import World, find_prior, make_world


def half_white(n_views: int = 2, masked: bool = False, background=None, size: int = 40) -> World:
    """Photos whose left half is white and whose right half is grey; the masks cover the lowest quarter."""
    pixels = np.full((size, size, 3), 255, np.uint8)
    pixels[:, size // 2 :] = 90
    mask = np.zeros((size, size), np.uint8)
    mask[3 * size // 4 :] = 255
    views = [MemoryView(str(i), Camera(pinhole(size, size, 50.0), pose, size, size), pixels, mask if masked else None)
             for i, pose in enumerate(ring(n_views))]  # fmt: skip
    photos = PhotoSet(views, UnitFrame(UNIT_BOX))
    return make_world(Config(), photos, torch.ones(3), background, None, False)


def test_masks_say_what_is_shown_before_the_background_does():
    assert half_white(masked=True, background=torch.ones(3)).shown == pytest.approx(0.25)


def test_what_differs_from_a_uniform_background_is_shown():
    assert half_white(background=torch.ones(3)).shown == pytest.approx(0.5)
    assert half_white(background=torch.tensor([0.5, 0.0, 0.5])).shown == 1.0


def test_without_masks_or_background_all_is_shown():
    assert half_white().shown == 1.0


def test_time_kept_for_the_cloud_goes_with_what_is_shown():
    few, many = half_white(background=torch.ones(3)), half_white()
    assert seconds_after_training(few, 0.0, 300) < seconds_after_training(many, 0.0, 300)
    assert seconds_after_training(many, 0.0, 300) < seconds_after_training(half_white(8), 0.0, 300)


def test_time_kept_for_held_out_views_is_a_share_of_the_budget_at_most():
    world = half_white()
    without = seconds_after_training(world, 0.0, 300)
    assert without < seconds_after_training(world, 0.1, 300) <= without + 0.12 * 300
    assert seconds_after_training(world, 50.0, 300) <= without + 0.12 * 300


def test_the_first_matching_is_at_full_resolution_where_there_is_little_to_match(monkeypatch):
    monkeypatch.setattr("uner3d.train.world.LEAST_HALVED", 20)
    world = half_white(background=torch.ones(3))  # 2 photos of 40 x 40 pixels, half of them white
    for limit, reduction in ((1599, 2), (1600, 1)):
        monkeypatch.setattr("uner3d.train.world.FULLY_MATCHED", limit)
        assert find_prior(world, 0).reduction == reduction
