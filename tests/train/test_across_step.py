"""What a step across scenes draws, and that it learns."""

from dataclasses import replace

import pytest
import torch
from toy import ball_photos

from uner3d.config import Config
from uner3d.model.build import Model
from uner3d.train.across_step import MOST_VIEWS, TERMS, PredictView, StepSettings, cube_rotations, draw_task, draw_views
from uner3d.train.losses import project
from uner3d.train.scene_stream import TrainingScene

SETTINGS = StepSettings(rays=64, samples=8, samples_outside=4, grid=8)
CPU = torch.device("cpu")


def ball_scene(masks: bool = True, background: bool = True, n_views: int = 6) -> TrainingScene:
    photos = ball_photos(n_views, 32, 24, masks=masks)
    return TrainingScene(photos, torch.tensor([1.0, 0.8, 0.6]), torch.ones(3) if background else None)


def test_rotations_are_the_cubes_24():
    turns = cube_rotations()
    assert turns.shape == (24, 3, 3)
    assert len({tuple(turn.flatten().tolist()) for turn in turns}) == 24
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(24, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(24))


@pytest.mark.parametrize("n_views", [2, 3, 12])
def test_the_target_is_never_a_source(n_views):
    poses = ball_photos(n_views, 16, 12).cam_from_unit
    generator = torch.Generator().manual_seed(0)
    counts = set()
    for _ in range(200):
        target, sources = draw_views(poses, generator)
        assert target not in sources.tolist()
        assert len(set(sources.tolist())) == len(sources)
        counts.add(len(sources))
    assert counts == set(range(1, min(MOST_VIEWS, n_views - 1) + 1))


def test_a_turned_scene_shows_the_same_photo():
    """Rays, cameras and box turn together: a point along a ray falls onto the same pixels of the sources as before."""
    scene = ball_scene()
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        target, sources = draw_views(scene.photos.cam_from_unit, generator)
        turn = cube_rotations()[int(torch.randint(24, (), generator=generator))]
        task = draw_task(scene, SETTINGS, torch.Generator().manual_seed(seed), CPU)
        x = task.batch.origins + 3.0 * task.batch.directions
        ones = torch.ones(len(x), 1, 1)
        K, pose = scene.photos.K[target], scene.photos.cam_from_unit[target]
        back, depth = project(ones * K, ones * pose, x @ turn)  # the ray's own pixel, in the scene as it was
        torch.testing.assert_close(back, task.batch.pixels + 0.5, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(depth, torch.full((len(x),), 3.0))
        for number, source in enumerate(sources.tolist()):
            turned, depth = project(ones * task.K[number], ones * task.cam_from_unit[number], x)
            K, pose = scene.photos.K[source], scene.photos.cam_from_unit[source]
            plain, plain_depth = project(ones * K, ones * pose, x @ turn)
            torch.testing.assert_close(turned, plain, atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(depth, plain_depth)
        torch.testing.assert_close(task.extent, (turn @ scene.extent).abs())
        assert set(task.batch.views.tolist()) == {target}


def test_another_background_changes_what_the_masks_leave_out_alone():
    scene = ball_scene()
    changed, n_bare = 0, 0
    for seed in range(20):
        task = draw_task(scene, SETTINGS, torch.Generator().manual_seed(seed), CPU)
        bare = task.batch.masks == 0
        n_bare += int(bare.sum())
        torch.testing.assert_close(task.batch.colours[bare], task.background.expand(int(bare.sum()), 3))
        changed += bool((task.background - 1).abs().max() > 0.02)
        covered = task.batch.masks == 1
        pixels = task.batch.pixels[covered]
        photo = scene.photos.pixels(task.batch.views[covered], pixels)
        torch.testing.assert_close(task.batch.colours[covered], photo)
    assert 4 <= changed <= 16 and n_bare > 30


@pytest.mark.parametrize(("masks", "background"), [(True, True), (False, True), (False, False)])
def test_every_parameter_is_learnt_from_every_kind_of_scene(masks, background):
    model = Model(Config(octaves=3))
    task = draw_task(ball_scene(masks, background), SETTINGS, torch.Generator().manual_seed(1), CPU)
    terms = PredictView(model, SETTINGS)(task)
    assert terms.shape == (len(TERMS),)
    terms[:-1].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_task_decides_its_terms():
    model = Model(Config(octaves=3))
    task = draw_task(ball_scene(), SETTINGS, torch.Generator().manual_seed(1), CPU)
    predict = PredictView(model, SETTINGS)
    assert torch.equal(predict(task), predict(task))
    assert not torch.equal(predict(task), predict(replace(task, seed=task.seed + 1)))


def test_the_order_of_the_sources_does_not_matter():
    model = Model(Config(octaves=3))
    scene = ball_scene()
    for seed in range(20):
        task = draw_task(scene, SETTINGS, torch.Generator().manual_seed(seed), CPU)
        if len(task.images) >= 3:
            break
    order = torch.arange(len(task.images)).flip(0)
    other = replace(task, images=task.images[order], K=task.K[order], cam_from_unit=task.cam_from_unit[order])
    predict = PredictView(model, SETTINGS)
    torch.testing.assert_close(predict(other), predict(task), atol=1e-5, rtol=1e-4)
