"""Training sets: scenes are functions of split, seed and number, their shapes are sound, and the photos show them."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData

from uner3d.cli import main
from uner3d.data import load_scene
from uner3d.data.synthetic import ManyOptions, generate_scene, run_many, sdf
from uner3d.data.synthetic.build import SOLID_KINDS
from uner3d.data.synthetic.cameras import camera_distance
from uner3d.data.synthetic.compositions import COMPOSITIONS
from uner3d.data.synthetic.nodes import kinds, reach
from uner3d.data.synthetic.random_textures import PATTERNS
from uner3d.data.synthetic.recipe import BACKGROUNDS, SPLITS, build_recipe_shape, draw_recipe
from uner3d.data.synthetic.rigs import RIGS, place_rig
from uner3d.data.synthetic.surface import ShapeSurface
from uner3d.synth_arguments import SynthArguments

SMALL = {"n_train": 5, "n_test": 1, "width": 48, "height": 48, "n_points": 300, "supersampling": 1, "processes": 1}


def read_all(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return run_many(ManyOptions(tmp_path_factory.mktemp("many") / "set", 4, **SMALL))


def meta(folder):
    return json.loads((folder / "scene.json").read_text())


def scenes(folder):
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def truth(folder):
    rows = PlyData.read(str(folder / "gt_points.ply"))["vertex"].data
    columns = [("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")]
    return tuple(np.stack([rows[name] for name in names], axis=1) for names in columns)


def test_each_scene_is_complete_and_loads(made):
    folders = scenes(made)
    assert [folder.name for folder in folders] == [f"{k:05d}" for k in range(4)]
    assert sorted(os.listdir(made)) == [folder.name for folder in folders]
    for folder in folders:
        content, scene = meta(folder), load_scene(folder)
        assert (len(scene.views), len(scene.test_views)) == (5, 1)
        assert scene.has_masks == (content["recipe"]["background"]["kind"] == "transparent")
        xyz, normals, _ = truth(folder)
        assert len(xyz) == 300 and content["seen_by_two_or_more"] > 0.1
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        vertices = PlyData.read(str(folder / "gt_mesh.ply"))["vertex"]
        box = np.array([content["box_min"], content["box_max"]])
        np.testing.assert_allclose(box, [[f(vertices[a]) for a in "xyz"] for f in (np.min, np.max)])
        assert (box[1] - box[0]).max() == pytest.approx(2, rel=0.02)
        if scene.has_masks:
            assert (scene.box[0] <= box[0] + 0.05).all() and (scene.box[1] >= box[1] - 0.05).all()


def test_every_background_and_rig_loads(tmp_path):
    """Scenes further on, until each kind of background was seen."""
    missing, k = set(BACKGROUNDS), 0
    while missing:
        kind = draw_recipe("val", 3, k)["background"]["kind"]
        if kind in missing:
            folder = make_one("val", 3, k, tmp_path)
            missing.discard(meta(folder)["recipe"]["background"]["kind"])
            assert len(load_scene(folder).views) == 5
            if kind == "room":
                low, high = np.array(meta(folder)["room_min"]), np.array(meta(folder)["room_max"])
                centers = np.array([view.camera.center for view in load_scene(folder).views])
                assert (centers > low).all() and (centers < high).all()
                assert low[1] == pytest.approx(meta(folder)["box_min"][1], abs=1e-6)
        k += 1


def make_one(split, seed, index, output):
    from uner3d.data.synthetic.many import make_scene

    return make_scene(ManyOptions(output, index + 1, split=split, seed=seed, **SMALL), index)


def test_more_scenes_later_are_the_same_scenes(made, tmp_path):
    """Two first, then a half-written one is found, then four, in two processes: bytes as if made at once."""
    options = {**SMALL, "processes": 2}
    run_many(ManyOptions(tmp_path / "set", 1, **SMALL))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leftover = tmp_path / "set" / f".00001.{gone.pid}.partial"
    leftover.mkdir()
    (leftover / "gt_mesh.ply").write_bytes(b"half")
    before = (tmp_path / "set/00000/scene.json").stat().st_mtime_ns
    calls = []
    run_many(ManyOptions(tmp_path / "set", 3, **options), lambda *call: calls.append(call))
    assert calls == [(1, 3, "scenes"), (2, 3, "scenes"), (3, 3, "scenes")]
    assert (tmp_path / "set/00000/scene.json").stat().st_mtime_ns == before
    assert sorted(os.listdir(tmp_path / "set")) == ["00000", "00001", "00002"]
    for name in ("00000", "00001", "00002"):
        assert read_all(tmp_path / "set" / name) == read_all(made / name)


def test_a_stopped_scene_leaves_nothing_under_its_name(tmp_path, monkeypatch):
    from uner3d.data.synthetic import random_scene

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(random_scene, "render_photos", stop)
    with pytest.raises(KeyboardInterrupt):
        run_many(ManyOptions(tmp_path / "set", 1, **SMALL))
    assert list((tmp_path / "set").iterdir()) == []


def test_no_split_shares_a_shape():
    """Recipes differ between splits, seeds and indices, in every part of them that is drawn."""
    drawn = [draw_recipe(split, seed, k) for split in SPLITS for seed in (0, 1, 2**40) for k in range(12)]
    for part in ("parts", "light", "rig", "noise_seed"):
        assert len({json.dumps(recipe[part]) for recipe in drawn}) == len(drawn)
    assert draw_recipe("val", 1, 5) == json.loads(json.dumps(draw_recipe("val", 1, 5)))
    assert draw_recipe("val", 1, 5) != draw_recipe("val", 1, 5, attempt=1)


def test_forty_scenes_show_every_kind():
    drawn = [draw_recipe("train", 0, k) for k in range(40)]
    assert {recipe["kind"] for recipe in drawn} == set(COMPOSITIONS)
    assert {recipe["background"]["kind"] for recipe in drawn} == set(BACKGROUNDS)
    assert {recipe["rig"]["kind"] for recipe in drawn} == set(RIGS)
    assert {part["texture"]["kind"] for recipe in drawn for part in recipe["parts"]} == set(PATTERNS)
    used = set().union(*(kinds(node) for r in drawn for node in [*(p["distance"] for p in r["parts"]), *r["carvings"]]))
    assert used >= set(SOLID_KINDS) - {"flower", "intersect", "taper", "twist", "boxes"}
    grains = [part["texture"]["grain"]["strength"] for recipe in drawn for part in recipe["parts"]]
    assert 0.2 < np.mean(np.array(grains) == 0) < 0.8
    for what in ("noise", "exposure"):
        assert 5 < sum(recipe["photography"][what] > 0 for recipe in drawn) < 35


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 500), st.sampled_from(sorted(SPLITS)))
def test_distances_are_bounds(seed, index, split):
    """1-Lipschitz, so never above the true distance; positive outside of the reach; colours within [0, 1]."""
    recipe = draw_recipe(split, seed, index)
    shape = build_recipe_shape(recipe)
    rng = np.random.default_rng(index)
    p = torch.from_numpy(rng.uniform(-1, 1, (3, 3000)) * shape.extent * 1.4)
    q = p + torch.from_numpy(rng.normal(size=(3, 3000)) * rng.choice([1e-3, 0.05, 0.5], 3000))
    value, gradient = sdf.value_and_gradient(shape.distance, p)
    step = torch.linalg.vector_norm(p - q, dim=0)
    assert ((value - shape.distance(q)).abs() <= step * (1 + 1e-9) + 1e-9).all()
    assert sdf.norm(*gradient).max() < 1 + 1e-6
    held = max(reach(part["distance"]) for part in recipe["parts"]) + 0.5 * recipe["blend"]
    assert (value[torch.linalg.vector_norm(p, dim=0) > held + 1e-6] > 0).all()
    # Another way from p to q must agree on the sign: a ball of the distance holds no surface.
    inside = p + (q - p) / step * (value.abs() * 0.99)
    assert (torch.sign(shape.distance(inside)) == torch.sign(value))[value.abs() > 1e-9].all()
    colours = shape.albedo(p)
    assert colours.min() >= 0 and colours.max() <= 1


@pytest.mark.parametrize("index", range(4))
def test_traced_rays_end_on_the_mesh(index):
    """From outside, straight at the middle of triangles that face the camera: the hit is there or before it."""
    surface = ShapeSurface(build_recipe_shape(draw_recipe("train", 7, index)), 2.0)
    vertices, triangles = surface.mesh(2e-3)
    assert surface.distance(torch.from_numpy(vertices.T.copy())).abs().max() < 2e-3
    rig = draw_recipe("train", 7, index)["rig"]
    view = place_rig(rig, 3, surface.radius, (64, 64), False, np.random.default_rng(0))[0]
    middles = vertices[triangles].mean(axis=1)
    corner, second, third = (vertices[triangles[:, k]] for k in range(3))
    toward = view.center.numpy() - middles
    facing = (np.cross(second - corner, third - corner) * toward).sum(1) > 0
    target = torch.from_numpy(middles[facing][:: max(1, facing.sum() // 500)].T.astype(np.float32))
    way = target - view.center[:, None]
    length = torch.linalg.vector_norm(way, dim=0)
    t = surface.cast(view.center, way / length, torch.zeros_like(length), 1e-4)
    assert (t < length + 0.05)[torch.isfinite(t)].all() and torch.isfinite(t).float().mean() > 0.97
    p, _, _ = surface.look_up(view.center, (way / length)[:, torch.isfinite(t)], t[torch.isfinite(t)])
    assert surface.distance(p).abs().max() < 2e-3
    nearest = np.array([np.linalg.norm(vertices - x, axis=1).min() for x in p.T.numpy()[::10]])
    assert nearest.max() < 0.05


def test_photos_show_the_true_colours(made):
    """At the projections of true points seen from the front; noise, exposure and gloss are the photos' own."""
    for folder in scenes(made):
        scene, recipe = load_scene(folder), meta(folder)["recipe"]
        surface = ShapeSurface(build_recipe_shape(recipe), 2.0)
        xyz, normals, colours = truth(folder)
        slack = 14 + 255 * (recipe["photography"]["exposure"] + recipe["photography"]["noise"])
        for view in scene.views[:2]:
            pixels, depth = view.camera.project(xyz)
            toward = view.camera.center - xyz
            length = np.linalg.norm(toward, axis=1)
            seen = ((normals * toward).sum(1) / length > 0.5) & (depth > 0)
            seen &= ((pixels > 0) & (pixels < 48)).all(axis=1)
            p, n = torch.from_numpy(xyz.T.copy()), torch.from_numpy(normals.T.copy())
            ways = torch.from_numpy((toward / length[:, None]).T.astype(np.float32))
            seen &= ~surface.blocked(p.float(), n.float(), ways, torch.from_numpy(length)).numpy()
            assert seen.sum() > 10
            column, row = np.floor(pixels[seen]).astype(int).T
            difference = np.abs(view.image()[row, column].astype(float) - colours[seen])
            assert np.median(difference) < slack


def test_rigs_look_at_the_object():
    """Every rig, held-out places too: the middle is in the picture, the cameras are distinct, poses are rotations."""
    for k in range(40):
        rig = draw_recipe("test", 1, k)["rig"]
        for held_out, n in ((False, 12), (True, 4)):
            views = place_rig(rig, n, 1.3, (64, 48), held_out, np.random.default_rng(k))
            assert len(views) == n
            for view in views:
                r = view.world_from_camera[:3, :3]
                np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
                assert np.linalg.det(r) == pytest.approx(1)
                u, v, depth = view.project(torch.zeros(3, 1, dtype=torch.float64))
                assert 8 < u < 56 and 4 < v < 44 and depth > 1.3
            centers = np.array([view.world_from_camera[:3, 3] for view in views])
            gaps = np.linalg.norm(centers[:, None] - centers[None], axis=-1) + 9 * np.eye(n)
            assert gaps.min() > 1e-3
    assert camera_distance(1, 40, 64, 64, fill=0.5) > camera_distance(1, 40, 64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"many": 0}, "many = 0: expected between 1 and"),
        ({"split": "dev"}, "split = 'dev': expected one of train, val, test"),
        ({"seed": -1}, "seed = -1: expected between 0 and"),
        ({"width": 8}, "width = 8: expected between 16 and"),
        ({"processes": 0}, "processes = 0: expected between 1 and"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_many(ManyOptions(**{"output": tmp_path / "a", "many": 1, **options}))
    assert list(tmp_path.iterdir()) == []


def test_the_two_forms_do_not_mix(tmp_path):
    with pytest.raises(ValueError, match="mesh = mug: expected no mesh with --many"):
        SynthArguments(tmp_path, mesh="mug", many=3).options()
    with pytest.raises(ValueError, match="table = True: expected no table with --many"):
        SynthArguments(tmp_path, table=True, many=3).options()
    with pytest.raises(ValueError, match="split = val: expected no split without --many"):
        SynthArguments(tmp_path, split="val").options()
    assert SynthArguments(tmp_path, many=3, width=64).options() == ManyOptions(tmp_path, 3, width=64)


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["synth", "-o", str(tmp_path / "a"), "--many", "0"]) == 1
    assert "many = 0: expected between 1 and 100000" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_folders_of_other_options_are_kept(made, tmp_path):
    with pytest.raises(FileExistsError, match="was made with seed = 0, not 5"):
        run_many(ManyOptions(made, 2, seed=5, **SMALL))
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000/thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is no generated scene"):
        run_many(ManyOptions(tmp_path, 1, **SMALL))
    with pytest.raises(OSError, match="cannot write to"):
        run_many(ManyOptions(tmp_path / "00000/thesis.txt" / "deeper", 1, **SMALL))
    assert (tmp_path / "00000/thesis.txt").read_text() == "precious"


# Of the files of small scenes, made with torch 2.13 on a processor with AVX2 before training sets existed.
DIGESTS = {
    "totem": ({}, "e161806481dbdbf8"),
    "mug": ({"table": True, "specular": 0.3}, "3b32875fe48ed014"),
    "bowl": ({}, "b3fece992a7ffae9"),
    "torus": ({}, "a99a782b685bdff5"),
    "box": ({"scale": 3.0}, "875eddd4df52a68a"),
    "sphere": ({"specular": 0.5}, "2e6ef2a72d8c604c"),
}


@pytest.mark.parametrize("name", ["mug", "bowl", "box", "sphere"])
def test_named_shapes_keep_their_bytes(tmp_path, name):
    if torch.backends.cpu.get_cpu_capability() != "AVX2" or not torch.__version__.startswith("2.13"):
        pytest.skip("the digests are those of torch 2.13 with AVX2: other arithmetic may differ in a last bit")
    options, digest = DIGESTS[name]
    small = {"n_train": 3, "n_test": 1, "width": 24, "height": 18, "n_points": 300, "supersampling": 2}
    folder = generate_scene(tmp_path / name, name, **small, **options)
    total = hashlib.sha256()
    for content in (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()):
        total.update(content)
    assert total.hexdigest()[:16] == digest
