"""Generated scenes: the truth is exact, the photos show it, and nothing is left to chance."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData

from uner3d.data import load_scene
from uner3d.data.synthetic import SHAPE_NAMES, SynthOptions, generate_scene, run, sdf
from uner3d.data.synthetic.shapes import build_shape
from uner3d.data.synthetic.surface import ShapeSurface

TINY = {"n_train": 6, "n_test": 2, "width": 96, "height": 72, "n_points": 3000, "supersampling": 2}


@pytest.fixture(scope="module")
def totem(tmp_path_factory):
    return generate_scene(tmp_path_factory.mktemp("scene") / "totem", "totem", **TINY)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    options = {**TINY, "n_train": 4, "width": 48, "height": 36, "n_points": 500}
    return generate_scene(tmp_path_factory.mktemp("scene") / "table", "mug", table=True, specular=0.3, **options)


def truth(folder):
    """Points, normals (N, 3) and colours (N, 3) uint8 of gt_points.ply."""
    rows = PlyData.read(str(folder / "gt_points.ply"))["vertex"].data
    columns = [("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")]
    return tuple(np.stack([rows[name] for name in names], axis=1) for names in columns)


def meta(folder):
    return json.loads((folder / "scene.json").read_text())


def surface_like(folder):
    """The signed distance of the scene's object."""
    args = meta(folder)["args"]
    return ShapeSurface(build_shape(args["shape"], args["texture_seed"]), args["scale"])


@pytest.mark.parametrize("fixture", ["totem", "table"])
def test_true_points_lie_on_the_surface_with_unit_normals(request, fixture):
    folder = request.getfixturevalue(fixture)
    xyz, normals, colours = truth(folder)
    assert len(xyz) == meta(folder)["args"]["n_points"] and colours.dtype == np.uint8
    surface = surface_like(folder)
    points = torch.from_numpy(xyz.T.astype(np.float64))
    value, gradient = sdf.value_and_gradient(surface.distance, points)
    footprint = meta(folder)["pixel_footprint"]
    assert value.abs().max() < 1e-3 * footprint
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    cosine = (normals.T * (gradient / sdf.norm(*gradient)).numpy()).sum(0)
    assert cosine.min() > 0.999


def test_mesh_stays_on_the_surface(totem):
    mesh = PlyData.read(str(totem / "gt_mesh.ply"))
    vertices = np.stack([mesh["vertex"][axis] for axis in "xyz"])
    triangles = np.stack(mesh["face"]["vertex_indices"])
    surface, footprint = surface_like(totem), meta(totem)["pixel_footprint"]
    assert surface.distance(torch.from_numpy(vertices)).abs().max() < 0.02 * footprint
    middles = vertices[:, triangles].mean(axis=2)
    assert surface.distance(torch.from_numpy(middles)).abs().max() < 0.1 * footprint
    # Closed and consistently oriented: each edge is run through as often in one direction as in the other.
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    codes = edges[:, 0] * vertices.shape[1] + edges[:, 1]
    np.testing.assert_array_equal(np.sort(codes), np.sort(edges[:, 1] * vertices.shape[1] + edges[:, 0]))
    # Surface nets join two sheets in the few cells that both pass through: four triangles at an edge, never more.
    _, counts = np.unique(codes, return_counts=True)
    assert counts.max() <= 2 and (counts == 2).mean() < 1e-3
    box = np.array([meta(totem)["box_min"], meta(totem)["box_max"]])
    np.testing.assert_allclose(box, [vertices.min(axis=1), vertices.max(axis=1)])
    xyz, _, _ = truth(totem)
    assert (xyz >= box[0] - footprint).all() and (xyz <= box[1] + footprint).all()


def visible(surface, view, xyz, normals):
    """Which points face the camera and have nothing in between, by marching the distance from the camera."""
    toward = view.camera.center - xyz
    length = np.linalg.norm(toward, axis=1, keepdims=True)
    facing = (normals * toward / length).sum(axis=1) > 0.35
    free = np.ones(len(xyz), bool)
    for t in np.linspace(0.03, 0.6, 60) * length.mean():
        free &= surface.distance(torch.from_numpy((xyz + toward / length * t).T.astype(np.float64))).numpy() > 0
    return facing & free


def test_photos_show_the_true_colours(totem):
    """In each photo, the colour at the projection of a visible true point is the point's."""
    scene, surface = load_scene(totem), surface_like(totem)
    xyz, normals, colours = truth(totem)
    for view in [*scene.views[:3], scene.test_views[0]]:
        pixels, depth = view.camera.project(xyz)
        seen = visible(surface, view, xyz, normals)
        assert seen.sum() > 300 and (depth > 0).all()
        column, row = np.floor(pixels[seen]).astype(int).T
        difference = np.abs(view.image()[row, column].astype(float) - colours[seen])
        # A pixel is an average over texture as fine as a pixel.
        assert np.median(difference) < 10
        shifted = np.abs(view.image()[row, (column + 4).clip(max=95)].astype(float) - colours[seen])
        assert np.median(shifted) > 1.7 * np.median(difference)


def test_silhouettes_are_the_alpha(totem):
    """Rays through pixel centres reach the surface where alpha says so."""
    surface = surface_like(totem)
    for view in load_scene(totem).views[:2]:
        v, u = np.mgrid[:72, :96] + 0.5
        rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3) @ np.linalg.inv(view.camera.K).T
        rays = rays @ view.camera.cam_from_world[:, :3]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        nearest = np.full(len(rays), np.inf)
        distance = np.linalg.norm(view.camera.center)
        for t in np.linspace(distance - 1.6, distance + 1.6, 320):
            here = torch.from_numpy((view.camera.center + rays * t).T.copy())
            nearest = np.minimum(nearest, surface.distance(here).numpy())
        alpha = np.asarray(Image.open(view.image_path))[..., 3].ravel()
        footprint = meta(totem)["pixel_footprint"]
        assert (alpha[nearest < -footprint] == 255).all() and (nearest < -footprint).sum() > 300
        assert (alpha[nearest > footprint] == 0).all() and (nearest > footprint).sum() > 3000
        # The contour, too: half-covered pixels lie where the ray just touches.
        assert np.abs(nearest[(alpha > 0) & (alpha < 255)]).max() < footprint


def test_scene_loads_with_masks_and_a_box_that_holds_the_truth(totem):
    scene = load_scene(totem)
    assert (len(scene.views), len(scene.test_views), scene.has_masks, scene.box_source) == (6, 2, True, "masks")
    box = np.array([meta(totem)["box_min"], meta(totem)["box_max"]])
    assert (scene.box[0] <= box[0]).all() and (scene.box[1] >= box[1]).all()
    assert scene.warnings == []


def test_table_scenes_have_no_alpha_and_know_their_room(table):
    photo = Image.open(table / "train/000.png")
    assert photo.mode == "RGB"
    content = meta(table)
    assert content["table"] is True and content["specular"] == 0.3
    low, high = np.array(content["box_min"]), np.array(content["box_max"])
    half = 6 * np.linalg.norm(high - low) / 2
    np.testing.assert_allclose(content["room_min"], [-half, low[1], -half], rtol=1e-5)
    np.testing.assert_allclose(content["room_max"], [half, low[1] + 2.2 * half, half], rtol=1e-5)
    scene = load_scene(table)
    assert not scene.has_masks
    for view in scene.views:
        assert low[1] < view.camera.center[1] and np.abs(view.camera.center).max() < half
        assert view.image().std() > 15
    assert (scene.box[0] <= low).all() and (scene.box[1] >= high).all()


def test_pixel_footprint_is_the_width_of_a_pixel_on_the_object(totem):
    scene = load_scene(totem)
    widths = [np.linalg.norm(view.camera.center) / view.camera.K[0, 0] for view in scene.views]
    assert meta(totem)["pixel_footprint"] == pytest.approx(np.mean(widths), rel=0.05)


def read_all(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_options_give_the_same_bytes(tmp_path):
    options = {"n_train": 3, "n_test": 1, "width": 24, "height": 18, "n_points": 300, "supersampling": 1}
    first = read_all(generate_scene(tmp_path / "a", "torus", **options))
    photos = [f"train/{k:03d}.png" for k in range(3)]
    truths = ["gt_mesh.ply", "gt_points.ply", "scene.json"]
    assert list(first) == [*truths, "test/000.png", *photos, "transforms_test.json", "transforms_train.json"]
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        assert read_all(generate_scene(tmp_path / "b", "torus", **options)) == first
    finally:
        torch.set_num_threads(before)
    other = read_all(generate_scene(tmp_path / "c", "torus", seed=1, **options))
    assert other["train/000.png"] != first["train/000.png"] and other["gt_mesh.ply"] == first["gt_mesh.ply"]
    textured = read_all(generate_scene(tmp_path / "d", "torus", texture_seed=1, **options))
    assert textured["train/000.png"] != first["train/000.png"]
    assert textured["transforms_train.json"] == first["transforms_train.json"]


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_distances_never_exceed_the_true_one(name):
    """1-Lipschitz, positive outside of the extent, negative somewhere inside."""
    shape = build_shape(name, 0)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1.3, 1.3, (3, 4000)))
    value, gradient = sdf.value_and_gradient(shape.distance, points)
    assert sdf.norm(*gradient).max() < 1 + 1e-9
    assert (value[points.abs().amax(0) > shape.extent] > 0).all() and (value < 0).any()
    colours = shape.albedo(points)
    assert colours.min() >= 0 and colours.max() <= 1 and colours.std() > 0.05


def test_scale_sets_the_longest_edge(tmp_path):
    options = {"n_train": 4, "n_test": 1, "width": 16, "height": 12, "n_points": 50, "supersampling": 1}
    folder = generate_scene(tmp_path / "a", "box", scale=300.0, **options)
    edges = np.subtract(meta(folder)["box_max"], meta(folder)["box_min"])
    assert edges.max() == pytest.approx(300, rel=1e-3)
    assert meta(folder)["pixel_footprint"] > 1


def test_progress_is_told(tmp_path):
    calls = []
    options = SynthOptions(tmp_path / "a", "sphere", 4, 1, 16, 12, n_points=50, supersampling=1)
    run(options, lambda done, total, stage: calls.append((done, total, stage)))
    assert [call for call in calls if call[2] == "photos"] == [(k, 5, "photos") for k in range(6)]


def test_photos_with_nothing_in_common_are_refused(tmp_path):
    """Two photos from opposite sides."""
    with pytest.raises(ValueError, match=r"less than 1 % .* two of the 2 photos.*n_train"):
        generate_scene(tmp_path / "a", "sphere", n_train=2, n_test=1, width=8, height=8, n_points=20, supersampling=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 1}, "n_train = 1: expected between 2 and"),
        ({"n_test": 0}, "n_test = 0"),
        ({"width": 4}, "width = 4: expected between 8 and"),
        ({"fov_degrees": math.nan}, "fov_degrees = nan"),
        ({"specular": 2.0}, "specular = 2.0"),
        ({"scale": 0.0}, "scale = 0.0"),
        ({"n_points": 0}, "n_points = 0"),
        ({"up": "x"}, "up = 'x'"),
        ({"shape": "teapot"}, "shape = 'teapot': expected one of totem"),
        (
            {"table": True, "fov_degrees": 6.0, "shape": "sphere"},
            "fov_degrees = 6: so narrow a lens would stand outside",
        ),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(SynthOptions(**{"output": tmp_path / "a", **options}))
    assert list(tmp_path.iterdir()) == []


def test_folders_in_use_are_kept(tmp_path):
    small = {"n_train": 4, "n_test": 1, "width": 8, "height": 8, "n_points": 20, "supersampling": 1}
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        generate_scene(folder, "sphere", **small)
    with pytest.raises(FileExistsError, match=r"holds no scene\.json"):
        generate_scene(folder, "sphere", overwrite=True, **small)
    assert (folder / "thesis.txt").read_text() == "precious"
    generate_scene(tmp_path / "b", "sphere", **small)
    (tmp_path / "b/left_over.txt").write_text("x")
    generate_scene(tmp_path / "b", "sphere", overwrite=True, **small)
    assert not (tmp_path / "b/left_over.txt").exists() and (tmp_path / "b/scene.json").is_file()
    with pytest.raises(FileExistsError, match="is not a folder"):
        generate_scene(folder / "thesis.txt", "sphere", **small)
    with pytest.raises(OSError, match="cannot write to"):
        generate_scene(folder / "thesis.txt" / "deeper", "sphere", **small)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_open3d_is_not_imported_for_named_shapes(tmp_path):
    code = (
        "import sys; from uner3d.data.synthetic import generate_scene; "
        f"generate_scene({str(tmp_path / 'a')!r}, 'sphere', n_train=4, n_test=1, width=8, height=8, n_points=20, "
        "supersampling=1); sys.exit('open3d' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mesh_files(tmp_path):
    """A textureless tetrahedron: the truth lies on its faces, its units are kept."""
    o3d = pytest.importorskip("open3d")
    mesh = o3d.geometry.TriangleMesh.create_tetrahedron(radius=0.05)
    o3d.io.write_triangle_mesh(str(tmp_path / "shape.ply"), mesh)
    options = {"n_train": 4, "n_test": 1, "width": 24, "height": 18, "n_points": 200, "supersampling": 1}
    folder = generate_scene(tmp_path / "a", str(tmp_path / "shape.ply"), **options)
    xyz, normals, _ = truth(folder)
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.triangles)
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    corner, second, third = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(second - corner, third - corner)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    heights = np.abs(((xyz[:, None] - corner) * faces).sum(-1))
    assert heights.min(axis=1).max() < 1e-7
    face = heights.argmin(axis=1)
    np.testing.assert_allclose(np.abs((normals * faces[face]).sum(1)), 1, atol=1e-5)
    assert len(load_scene(folder).views) == 4


def test_no_such_mesh_file(tmp_path):
    pytest.importorskip("open3d")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.obj: no such mesh file"):
        generate_scene(tmp_path / "a", str(tmp_path / "nowhere.obj"))
    assert list(tmp_path.iterdir()) == []
