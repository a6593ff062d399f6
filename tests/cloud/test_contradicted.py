"""A floor that ten cameras look down on, of which three of them show a part at a wrong place."""

import numpy as np
import torch
from toy import ring

from uner3d.cloud.agree import Agreed
from uner3d.cloud.contradicted import contradicted
from uner3d.cloud.surface import SurfaceMaps, raster_rays

HEIGHT, WIDTH, FOCAL = 72, 96, 110.0
N, FEW = 10, 3  # views, and those that hold what is wrong
PATCH = 0.25  # half edge of it
DEEP = 0.2  # of the patch below or above the floor: eight pixels or more


def floor(patch_height: float) -> tuple[SurfaceMaps, torch.Tensor]:
    """Depths of the plane y = 0 with a square of it at ``patch_height`` in the first FEW views; that square."""
    poses = torch.tensor(np.stack(ring(N, distance=2.5, height=2.0)), dtype=torch.float32)
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(N, 1, 1)
    depth, wrong = torch.zeros(N, HEIGHT, WIDTH), torch.zeros(N, HEIGHT, WIDTH, dtype=torch.bool)
    for view in range(N):
        origins, directions = raster_rays(K[view], poses[view], HEIGHT, WIDTH)
        t = -origins[:, 1] / directions[:, 1]
        moved = (patch_height - origins[:, 1]) / directions[:, 1]
        hit = origins + moved[:, None] * directions
        inside = (hit[:, [0, 2]].abs() < PATCH).all(1) & (view < FEW)
        depth[view] = torch.where(inside, moved, t).view(HEIGHT, WIDTH)
        wrong[view] = inside.view(HEIGHT, WIDTH)
    assert depth.min() > 0
    return SurfaceMaps(depth, K, poses, 1), wrong


def held(maps: SurfaceMaps, wrong: torch.Tensor, few: int = FEW) -> Agreed:
    """All of it kept: what is ``wrong`` by ``few`` views, everything else by seven; all faces upwards."""
    points = torch.stack([maps.points(view) for view in range(N)])
    n_views = torch.where(wrong, few, N - FEW).to(torch.uint8)
    flat = torch.zeros(N, HEIGHT, WIDTH)
    upwards, kept = torch.tensor([0.0, 1, 0]).expand_as(points).clone(), torch.ones_like(wrong)
    return Agreed(points, upwards, kept, n_views, flat, flat, kept.clone())


def share(maps: SurfaceMaps, agreed: Agreed, part: torch.Tensor) -> float:
    """Share of ``part`` that is contradicted, when each view asks all others."""
    ranking = [torch.tensor([other for other in range(N) if other != view]) for view in range(N)]
    out = torch.zeros_like(part)
    for view, rows in enumerate(contradicted(maps, agreed, ranking)):
        out[view].view(-1)[rows] = True
    return float(out[part].float().mean())


def test_what_has_sunk_below_a_roof_is_contradicted():
    maps, wrong = floor(-DEEP)
    agreed = held(maps, wrong)
    assert wrong.sum() > 500
    assert share(maps, agreed, wrong) > 0.9
    assert share(maps, agreed, ~wrong) == 0


def test_what_others_look_through_is_contradicted():
    maps, wrong = floor(DEEP)
    agreed = held(maps, wrong)
    assert share(maps, agreed, wrong) > 0.9
    assert share(maps, agreed, ~wrong) == 0


def test_equal_evidence_contradicts_nothing():
    maps, wrong = floor(-DEEP)
    assert share(maps, held(maps, wrong, few=5), wrong) == 0


def test_dropped_points_contradict_nothing():
    maps, wrong = floor(-DEEP)
    agreed = held(maps, wrong)
    agreed.kept &= wrong
    assert share(maps, agreed, wrong) == 0


def test_an_occluder_contradicts_nothing():
    """A wall stands before a patch of floor in most views; the few that see the patch see the wall as well."""
    maps, _ = floor(0.0)
    poses, K = maps.cam_from_unit, maps.K
    hidden = torch.zeros(N, HEIGHT, WIDTH, dtype=torch.bool)
    normals = torch.zeros(N, HEIGHT, WIDTH, 3)
    normals[..., 1] = 1
    for view in range(N):
        origins, directions = raster_rays(K[view], poses[view], HEIGHT, WIDTH)
        t = (0.3 - origins[:, 0]) / directions[:, 0]  # the wall x = 0.3, up to y = 0.6
        hit = origins + t[:, None] * directions
        wall = ((hit[:, 2].abs() < 0.5) & (hit[:, 1] > 0) & (hit[:, 1] < 0.6) & (t > 0)).view(HEIGHT, WIDTH)
        wall &= t.view(HEIGHT, WIDTH) < maps.depth[view]
        maps.depth[view] = torch.where(wall, t.view(HEIGHT, WIDTH), maps.depth[view])
        normals[view][wall] = torch.tensor([1.0 if origins[0, 0] > 0.3 else -1.0, 0, 0])
        across, along = maps.points(view)[..., 0], maps.points(view)[..., 2]
        hidden[view] = ~wall & (across < 0.3) & (across > 0) & (along.abs() < 0.3)
    agreed = held(maps, hidden)
    agreed.normals = normals
    assert hidden.sum() > 500
    assert share(maps, agreed, hidden) < 0.02
