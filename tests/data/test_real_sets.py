"""The real and the rendered sets at a quarter of their size."""

import json

import numpy as np
import pytest

from uner3d.data import load_scene

pytestmark = pytest.mark.data

# Folder: format, training photos, test photos, size at a quarter.
SETS = {
    "dtu_scan24_384": ("IDR/NeuS cameras.npz", 49, 0, (96, 96)),
    "dtu_scan24_3views": ("IDR/NeuS cameras.npz", 3, 0, (400, 300)),
    "dtu_scan65": ("IDR/NeuS cameras.npz", 49, 0, (400, 300)),
    "fountain-P11": ("Strecha .camera", 11, 0, (384, 256)),
    "fox": ("transforms.json", 50, 0, (270, 480)),
    "nerf_chair": ("transforms.json", 100, 13, (100, 100)),
    "nerf_lego": ("transforms.json", 100, 0, (100, 100)),
    "sceaux_castle": ("COLMAP text", 10, 0, (354, 266)),
    # 16 photos, of which the first and the eleventh have one pose.
    "templeSparseRing": ("Middlebury *_par.txt", 15, 0, (160, 120)),
    "synthetic/spot": ("transforms.json", 48, 8, (100, 75)),
    "synthetic/fuze": ("transforms.json", 48, 8, (100, 75)),
    "synthetic/mustard": ("transforms.json", 24, 8, (100, 75)),
    "synthetic/meat_can": ("transforms.json", 12, 8, (100, 75)),
    "synthetic/cracker_table": ("transforms.json", 36, 8, (100, 75)),
    "synthetic/milk_truck_table": ("transforms.json", 36, 8, (100, 75)),
    "synthetic/bowl_table": ("transforms.json", 36, 8, (100, 75)),
}
TEMPLE_BOX = np.array([[-0.073568, 0.021728, -0.012445], [0.028855, 0.181892, 0.062736]])


def folder_of(data_root, name):
    if not (data_root / name).is_dir():
        pytest.skip(f"no {name} in {data_root}")
    return data_root / name


def true_box(folder) -> np.ndarray:
    if folder.name == "templeSparseRing":
        return TEMPLE_BOX
    content = json.loads((folder / "scene.json").read_text())
    return np.array([content["box_min"], content["box_max"]])


@pytest.mark.parametrize("name", SETS)
def test_loads_at_a_quarter(data_root, name):
    scene = load_scene(folder_of(data_root, name), downscale=4)
    form, n_views, n_test_views, size = SETS[name]
    assert (scene.format, len(scene.views), len(scene.test_views)) == (form, n_views, n_test_views)
    view = scene.views[-1]
    assert (view.camera.width, view.camera.height) == size
    assert view.image().shape == (size[1], size[0], 3)
    masked = name in ("dtu_scan65", "nerf_chair", "nerf_lego") or (name.startswith("synthetic") and "table" not in name)
    assert scene.has_masks == masked
    assert scene.box_source == ("masks" if masked else "points" if name == "sceaux_castle" else "cameras")
    assert np.isfinite(scene.box).all() and (scene.box[0] < scene.box[1]).all()


@pytest.mark.parametrize("masks", ["auto", "off"])
@pytest.mark.parametrize("name", [name for name in SETS if "synthetic" in name] + ["templeSparseRing"])
def test_box_holds_the_object(data_root, name, masks):
    folder = folder_of(data_root, name)
    scene, true = load_scene(folder, downscale=4, masks=masks), true_box(folder)
    assert (scene.box[0] <= true[0]).all() and (scene.box[1] >= true[1]).all()
    ratio = np.prod(scene.box[1] - scene.box[0]) / np.prod(true[1] - true[0])
    assert ratio < (3 if scene.box_source == "masks" else 30)


def test_fox_says_which_photos_are_missing(data_root):
    scene = load_scene(folder_of(data_root, "fox"), downscale=8)
    assert any("17 of 67 photos are missing" in text for text in scene.warnings)
    assert all(view.distortion is not None for view in scene.views)


@pytest.mark.parametrize("name", ["dtu_scan65", "nerf_lego"])
def test_box_of_the_masks_lies_in_what_the_cameras_see(data_root, name):
    """Without masks hardly anything of the object may be cut off."""
    folder = folder_of(data_root, name)
    masked, plain = (load_scene(folder, downscale=4, masks=masks).box for masks in ("auto", "off"))
    both = np.minimum(masked[1], plain[1]) - np.maximum(masked[0], plain[0])
    assert (both / (masked[1] - masked[0]) > 0.93).all()


@pytest.mark.parametrize(("name", "left"), [("dtu_scan65", 42), ("nerf_lego", 87)])
def test_holdout(data_root, name, left):
    scene = load_scene(folder_of(data_root, name), downscale=8, holdout=8)
    assert len(scene.views) == left and len(scene.views) + len(scene.test_views) == SETS[name][1]


def test_sparse_points_of_the_castle_lie_in_the_photos(data_root):
    scene = load_scene(folder_of(data_root, "sceaux_castle"), downscale=4)
    assert len(scene.sparse_points) == 12140
    seen = np.zeros(len(scene.sparse_points), int)
    for view in scene.views:
        pixels, depth = view.camera.project(scene.sparse_points)
        seen += (
            (depth > 0) & (pixels > 0).all(1) & (pixels[:, 0] < view.camera.width) & (pixels[:, 1] < view.camera.height)
        )
    assert (seen >= 2).mean() > 0.99


@pytest.mark.parametrize("name", ["templeSparseRing", "synthetic/spot"])
def test_truth_projects_onto_the_object(data_root, name):
    """The corners' middle of the true box is on the object or its surroundings, never beside the photo."""
    folder = folder_of(data_root, name)
    corners = true_box(folder)[np.indices((2, 2, 2)).reshape(3, -1).T, [0, 1, 2]]
    for view in load_scene(folder, downscale=4).views:
        pixels, depth = view.camera.project(corners)
        size = np.array([view.camera.width, view.camera.height])
        assert (depth > 0).all() and (pixels > -0.1 * size).all() and (pixels < 1.1 * size).all()
        # The object covers the middle of its own box's outline.
        middle = pixels.mean(axis=0).astype(int)
        patch = view.image()[middle[1] - 5 : middle[1] + 5, middle[0] - 5 : middle[0] + 5].mean()
        background = view.image()[:3].mean()
        assert abs(patch - background) > 20
