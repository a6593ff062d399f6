"""What holds for every format: cameras, pixels, downscale, holdout, the box."""

import numpy as np
import pytest
from posed_files import BALL_RADIUS, MASKED, N_VIEWS, WRITERS, on_white, render, write

import uner3d
from uner3d.data import load_scene

FORMATS = sorted(WRITERS)
NAMES = {
    "blender": "transforms.json",
    "nerfstudio": "transforms.json",
    "idr": "IDR/NeuS cameras.npz",
    "middlebury": "Middlebury *_par.txt",
    "strecha": "Strecha .camera",
    "colmap": "COLMAP text",
    "srn": "SRN intrinsics.txt",
    "nmr": "DVR/NMR cameras.npz",
    "mvsnet": "MVSNet *_cam.txt",
}


@pytest.fixture(scope="module", params=FORMATS)
def posed(request, tmp_path_factory):
    """Name of the format, its folder, the true cameras."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, write(request.param, folder)


def test_cameras_and_pixels_are_the_true_ones(posed):
    name, folder, cameras = posed
    scene = load_scene(folder)
    assert scene.format == NAMES[name] and scene.path == folder and scene.warnings == []
    assert len(scene.views) == N_VIEWS and len(scene.test_views) == (2 if name == "blender" else 0)
    for view, camera in zip(scene.views, cameras, strict=True):
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-6)
        np.testing.assert_allclose(view.camera.cam_from_world, camera.cam_from_world, atol=1e-8)
        assert view.image().shape == (camera.height, camera.width, 3) and view.image().dtype == np.uint8
        # Photos of IDR and NMR are on white already, and once more by their masks: edges get brighter, no pixel darker.
        difference = view.image().astype(int) - on_white(render(camera))
        inside = render(camera)[..., 3] == 255
        assert np.abs(difference[inside]).max() <= 1 and difference.min() >= -1
        if name not in ("idr", "nmr"):
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("downscale", [2, 2.5])
def test_downscale_is_an_exact_area_mean_and_k_follows(posed, downscale):
    _, folder, cameras = posed
    full, small = load_scene(folder, masks="off"), load_scene(folder, downscale=downscale, masks="off")
    for view, reduced, camera in zip(full.views, small.views, cameras, strict=True):
        assert (reduced.camera.width, reduced.camera.height) == (round(40 / downscale), round(30 / downscale))
        ratio = [[40 / reduced.camera.width], [30 / reduced.camera.height], [1]]
        np.testing.assert_allclose(reduced.camera.K * ratio, camera.K, atol=1e-6)
        np.testing.assert_array_equal(reduced.camera.cam_from_world, view.camera.cam_from_world)
        if downscale == 2:
            blocks = view.image().reshape(15, 2, 20, 2, 3).mean(axis=(1, 3))
            assert np.abs(reduced.image() - blocks).max() <= 0.51
        # What is rendered with the reduced camera is what the reduced photo shows.
        assert np.abs(reduced.image() - on_white(render(reduced.camera, factor=8)).astype(float)).mean() < 2


def test_holdout_takes_every_kth_photo(posed):
    _, folder, _ = posed
    every = load_scene(folder)
    scene = load_scene(folder, holdout=3)
    names = [view.name for view in every.views]
    assert [view.name for view in scene.test_views] == names[::3]
    assert [view.name for view in scene.views] == [name for k, name in enumerate(names) if k % 3]


def test_box_holds_the_ball(posed):
    name, folder, _ = posed
    for masks in ("auto", "off"):
        scene = load_scene(folder, masks=masks)
        masked = masks == "auto" and name in MASKED
        assert scene.has_masks == masked
        assert scene.box_source == ("masks" if masked else "cameras")
        assert scene.background == ((1.0, 1.0, 1.0) if masked else None)
        assert (scene.box[0] < -BALL_RADIUS).all() and (scene.box[1] > BALL_RADIUS).all()
        ratio = np.prod(scene.box[1] - scene.box[0]) / (2 * BALL_RADIUS) ** 3
        assert ratio < (4 if masked else 30)


def test_given_box_wins(posed):
    _, folder, _ = posed
    scene = load_scene(folder, box=[-1, -2, -3, 1, 2, 3])
    assert scene.box_source == "given"
    np.testing.assert_array_equal(scene.box, [[-1, -2, -3], [1, 2, 3]])
    np.testing.assert_array_equal(load_scene(folder, box=[[-1, -2, -3], [1, 2, 3]]).box, scene.box)


def test_masks_where_they_are_in_use(posed):
    name, folder, cameras = posed
    for view, camera in zip(load_scene(folder).views, cameras, strict=True):
        if name in MASKED:
            np.testing.assert_array_equal(view.mask(), render(camera)[..., 3])
        else:
            assert view.mask() is None
    for view, camera in zip(load_scene(folder, masks="off").views, cameras, strict=True):
        assert view.mask() is None
        assert np.abs(view.image().astype(int) - on_white(render(camera))).max() <= 1


def test_the_package_offers_load_scene():
    assert uner3d.load_scene is load_scene
