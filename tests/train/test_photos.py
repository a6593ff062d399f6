"""Photos in the unit frame: frame, mixed sizes, reduction, neighbours, border colour."""

import numpy as np
import pytest
import torch
from toy import UNIT_BOX, MemoryView, ball_photos, look_at_origin, pinhole, ring

from uner3d.data.scene import Camera
from uner3d.train.photos import PhotoSet, UnitFrame, border_colour, nearest_views, neighbours, refuse_tiny

BOX = np.array([[1000.0, -20.0, 3.0], [1010.0, -14.0, 5.0]])


def plain(width: int, height: int, value: int = 128, pose=None) -> MemoryView:
    camera = Camera(pinhole(width, height, 1.5 * width), ring(1)[0] if pose is None else pose, width, height)
    return MemoryView("a", camera, np.full((height, width, 3), value, np.uint8))


def test_unit_frame_of_a_box():
    frame = UnitFrame(BOX)
    assert frame.half == 5.0
    np.testing.assert_allclose(frame.extent, [1.0, 0.6, 0.2])
    np.testing.assert_allclose(frame.to_world(np.stack([-frame.extent, frame.extent])), BOX)
    assert frame.to_world(np.zeros((1, 3), np.float32)).dtype == np.float64


def test_photos_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 12 pixels on a side, got 40 x 11 .* --downscale"):
        refuse_tiny([plain(40, 30), plain(40, 11)])
    refuse_tiny([plain(12, 12)])


def test_unit_frame_keeps_projections():
    frame = UnitFrame(BOX)
    rotation = look_at_origin([0.3, 0.5, 0.8])[:, :3]
    pose = np.concatenate([rotation, -(rotation @ [1003.0, -10.0, 30.0])[:, None]], 1)
    in_unit = frame.to_unit(pose)
    x = np.random.default_rng(0).uniform(-1, 1, (50, 3)) * frame.extent
    in_world = frame.to_world(x) @ pose[:, :3].T + pose[:, 3]
    in_camera = x @ in_unit[:, :3].T + in_unit[:, 3]
    np.testing.assert_allclose(in_camera * frame.half, in_world, atol=1e-9)


def test_photos_of_other_sizes_follow_the_common_one():
    big = plain(80, 60)
    big.pixels[:, :40] = 0  # the left half dark: its border stays in the middle
    photos = PhotoSet([plain(40, 30), big, plain(40, 30)], UnitFrame(UNIT_BOX))
    assert photos.size == (30, 40) and photos.images.shape == (3, 30, 40, 3)
    torch.testing.assert_close(photos.K[1], photos.K[0])
    row = photos.images[1, 15, :, 0]
    assert (row[:18] < 8).all() and (row[22:] > 120).all()


def test_masks_count_only_where_all_views_have_one():
    views = [plain(8, 6), plain(8, 6)]
    views[0].coverage = np.full((6, 8), 255, np.uint8)
    assert PhotoSet(views, UnitFrame(UNIT_BOX)).masks is None
    views[1].coverage = np.zeros((6, 8), np.uint8)
    assert PhotoSet(views, UnitFrame(UNIT_BOX)).masks.float().mean(dim=(1, 2)).tolist() == [255, 0]


def test_reduction_averages_and_moves_the_intrinsics():
    photos = ball_photos(3, 65, 49)
    half = photos.reduced(2)
    assert half.size == (24, 32) and photos.reduced(1) is photos
    want = photos.images[:, :48, :64].float().reshape(3, 24, 2, 32, 2, 3).mean(dim=(2, 4))
    assert (half.images.float() - want).abs().max() <= 0.5
    torch.testing.assert_close(half.K[:, :2] * 2, photos.K[:, :2])
    torch.testing.assert_close(half.K[:, 2], photos.K[:, 2])
    assert half.masks.shape == (3, 24, 32)


def test_neighbours_on_a_ring():
    ranking = neighbours(ball_photos(8))
    assert len(ranking) == 8
    for view in range(8):
        row = ranking[view].tolist()
        assert set(row[:2]) == {(view + 1) % 8, (view - 1) % 8}
        assert len(row) == 3 and (view + 4) % 8 not in row  # what sees the other side is no neighbour


def test_nearest_views_of_a_camera_in_the_set():
    photos = ball_photos(8)
    assert [int(row[0]) for row in nearest_views(photos.cam_from_unit, photos)] == list(range(8))


@pytest.mark.parametrize("value", [0, 77, 255])
def test_border_colour_of_a_uniform_background(value):
    photos = PhotoSet([plain(20, 16, value)], UnitFrame(UNIT_BOX))
    photos.images[:, 4:12, 5:15] = 30
    torch.testing.assert_close(border_colour(photos), torch.full((3,), value / 255))


def test_border_colour_of_a_busy_one_is_none():
    photos = PhotoSet([plain(20, 16)], UnitFrame(UNIT_BOX))
    photos.images = torch.randint(0, 255, photos.images.shape, dtype=torch.uint8)
    assert border_colour(photos) is None
    photos.images[:] = 200
    photos.images[:, :, 0] = 20  # a dark left edge: more than the 15 % that may differ
    assert border_colour(photos) is None


def test_pixels_are_column_then_row():
    photos = ball_photos(2)
    photos.images[1, 7, 3] = torch.tensor([51, 102, 255], dtype=torch.uint8)
    torch.testing.assert_close(photos.pixels(torch.tensor([1]), torch.tensor([[3, 7]])), torch.tensor([[0.2, 0.4, 1]]))
