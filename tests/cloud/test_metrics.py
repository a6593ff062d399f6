"""Measures of a cloud: known answers, and agreement with the independent evaluator of the shared data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uner3d.cloud import metrics
from uner3d.cloud.metrics import chamfer_between, chamfer_metrics, f_score, thin
from uner3d.cloud.ply import Cloud, write_ply
from uner3d.optional import MissingPackageError

DATA = Path(os.environ.get("UNER3D_DATA", Path(__file__).parents[3] / "shared" / "data"))
EVALUATOR = DATA.parent / "tools" / "eval_cloud.py"
PX = 0.01


def plane(n: int, height: float = 0.0, grey: int = 100) -> Cloud:
    """n x n points of the unit square at y = height, one per cell centre."""
    u = (np.arange(n) + 0.5) / n
    xyz = np.stack([*np.meshgrid(u, u), np.full((n, n), height)], -1).reshape(-1, 3)[:, [0, 2, 1]]
    return Cloud(xyz, rgb=np.full((n * n, 3), grey, np.uint8))


def write_scene(folder: Path, truth: Cloud, table: bool = False, mesh: bool = True) -> Path:
    """A scene whose truth is the unit square at y = 0 (mesh) and the given points."""
    meta = {"box_min": [0, -0.5, 0], "box_max": [1, 0.5, 1], "pixel_footprint": PX, "table": table}
    (folder / "scene.json").write_text(json.dumps(meta))
    write_ply(folder / "gt_points.ply", truth)
    if mesh:
        lines = ["ply", "format ascii 1.0", "element vertex 4"] + [f"property float {c}" for c in "xyz"]
        lines += ["element face 2", "property list uchar int vertex_indices", "end_header"]
        lines += ["0 0 0", "1 0 0", "1 0 1", "0 0 1", "3 0 1 2", "3 0 2 3"]
        (folder / "gt_mesh.ply").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("truth", ["points", "mesh"])
def test_plane_lifted_by_known_heights(tmp_path, truth):
    if truth == "mesh":
        pytest.importorskip("open3d", exc_type=ImportError)
    scene = write_scene(tmp_path, plane(100))
    for lift in (0.5, 1.5, 3.0, 6.0):
        r = chamfer_metrics(plane(100, lift * PX, grey=120), scene, truth)
        for key in ("acc", "comp", "cd", "acc_median", "comp_median"):
            assert r[key] == pytest.approx(lift, rel=1e-4), key
        assert (r["f1"], r["f2"]) == (float(lift < 1), float(lift < 2))
        assert r["out"] == r["out_all"] == float(lift > 5)
        assert np.isnan(r["col"]) if lift > 2 else r["col"] == pytest.approx(20 * np.log10(255 / 20), rel=1e-6)
        assert r["points"] == r["scored"] == 10_000 and r["truth"] == truth


def test_half_the_plane_is_half_complete(tmp_path):
    r = chamfer_metrics(plane(100)[:5000], write_scene(tmp_path, plane(100)), "points")
    assert r["acc"] == 0 and r["f1"] == pytest.approx(2 * 0.51 / 1.51, abs=0.01)
    assert r["comp"] == pytest.approx(25.5 / 2, rel=0.01)  # the other half is 1 to 50 px away


def test_repetition_buys_nothing(tmp_path):
    scene = write_scene(tmp_path, plane(50))
    good, bad = plane(50), plane(50, 4 * PX)[:10]
    mixed = Cloud(np.concatenate([good.xyz, bad.xyz]))
    stuffed = Cloud(np.concatenate([*[good.xyz] * 5, bad.xyz]))
    a, b = (chamfer_metrics(cloud, scene, "points") for cloud in (mixed, stuffed))
    assert a.pop("points") == 2510 and b.pop("points") == 12510
    assert np.isnan(a.pop("col")) and np.isnan(b.pop("col"))
    assert a == b


def test_table_scene_scores_the_object_and_forgives_table_and_walls(tmp_path):
    """The object is the plane at y = 0, the table's plane is y = -0.5 (the box's lower face)."""
    scene = write_scene(tmp_path, plane(60), table=True)
    wall = 6 * np.linalg.norm([1, 1, 1]) / 2
    background = np.array([[0.5, -0.5, 0.5], [wall, 0.1, 0.2], [0.3, 0.2, -wall], [0.2, 2.2 * wall - 0.5, 0.2]])
    floating = np.array([[3.0, 1.0, 0.0]])
    r = chamfer_metrics(Cloud(np.concatenate([plane(60).xyz, background])), scene, "points")
    assert r["acc"] == 0 and r["out"] == 0 and r["out_all"] == 0 and r["scored"] == 3600
    r = chamfer_metrics(Cloud(np.concatenate([plane(60).xyz, background, floating])), scene, "points")
    assert r["out"] == 0 and r["out_all"] == pytest.approx(1 / 3605)
    with pytest.raises(ValueError, match="4 given, none of them on the object in its box"):
        chamfer_metrics(Cloud(background), scene, "points")


def test_between_two_clouds():
    r = chamfer_between(plane(50, 0.03, grey=110), plane(50), thresholds=(0.01, 0.05))
    assert r["acc"] == pytest.approx(0.03) and r["comp"] == pytest.approx(0.03) and r["cd"] == pytest.approx(0.03)
    assert r["f@0.01"] == 0 and r["f@0.05"] == r["precision@0.05"] == r["recall@0.05"] == 1
    assert r["col"] == pytest.approx(20 * np.log10(25.5), rel=1e-6)
    assert np.isnan(chamfer_between(Cloud(plane(5).xyz), plane(5))["col"])
    assert chamfer_between(plane(50), plane(50), voxel=0.1)["scored"] == 100
    with pytest.raises(ValueError, match=r"thresholds: .*\(0\.1, 0\)"):
        chamfer_between(plane(5), plane(5), thresholds=(0.1, 0))


def test_thin_keeps_the_point_nearest_the_mean_of_its_voxel():
    xyz = np.array([[0.0, 0, 0], [0.4, 0, 0], [0.5, 0, 0], [5.5, 0, 0], [1e9, 1e9, -1e9], [5.5, 0, 0]])
    xyz[4:5, 2] = -xyz[4, 2]
    assert sorted(thin(xyz, 1.0)) == [1, 3, 4]
    rng = np.random.default_rng(0)
    xyz = rng.random((5000, 3))
    kept = thin(xyz, 0.1)
    cells = {tuple(c) for c in np.floor((xyz - xyz.min(0)) / 0.1).astype(int)}
    kept_cells = {tuple(c) for c in np.floor((xyz[kept] - xyz.min(0)) / 0.1).astype(int)}
    assert kept_cells == cells and len(kept) == len(cells)
    with pytest.raises(ValueError, match="voxel"):
        thin(xyz, 0.0)


def test_f_score_of_nothing_is_zero():
    assert f_score(np.array([2.0]), np.array([2.0]), 1.0) == 0.0
    assert f_score(np.array([0.5, 2.0]), np.array([0.5]), 1.0) == pytest.approx(2 / 3)


def test_without_open3d(tmp_path, monkeypatch):
    def missing(name):
        raise MissingPackageError(f"{name} is not installed: pip install 'uner3d[open3d]'")

    monkeypatch.setattr(metrics, "require", missing)
    scene = write_scene(tmp_path, plane(20))
    assert chamfer_metrics(plane(20), scene)["truth"] == "points"
    with pytest.raises(MissingPackageError, match=r"uner3d\[open3d\]"):
        chamfer_metrics(plane(20), scene, "mesh")


def test_bad_clouds_and_scenes_are_refused(tmp_path):
    scene = write_scene(tmp_path, plane(20), mesh=False)
    assert chamfer_metrics(plane(20), scene)["truth"] == "points"
    with pytest.raises(FileNotFoundError, match=r"gt_mesh\.ply"):
        chamfer_metrics(plane(20), scene, "mesh")
    with pytest.raises(ValueError, match=r"truth: .*'exact'"):
        chamfer_metrics(plane(20), scene, "exact")
    with pytest.raises(ValueError, match="at least one point"):
        chamfer_metrics(Cloud(np.zeros((0, 3))), scene)
    with pytest.raises(ValueError, match="1 points are not finite"):
        chamfer_metrics(Cloud(np.array([[0, 0, np.inf], [0, 0, 0]])), scene)
    (tmp_path / "scene.json").write_text('{"box_min": [0, 0, 0]}')
    with pytest.raises(ValueError, match=r"scene\.json: expected .*box_max"):
        chamfer_metrics(plane(20), scene)
    with pytest.raises(FileNotFoundError, match=r"scene\.json"):
        chamfer_metrics(plane(20), tmp_path / "nowhere")


@pytest.mark.data
@pytest.mark.parametrize("name", ["spot", "cracker_table"])
def test_agrees_with_the_independent_evaluator(tmp_path, name):
    scene = DATA / "synthetic" / name
    if not (scene.is_dir() and EVALUATOR.is_file()):
        pytest.skip(f"{scene} or {EVALUATOR} is not here: set UNER3D_DATA")
    pytest.importorskip("open3d", exc_type=ImportError)
    truth = metrics.load_truth(scene)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(truth.points), 40_000)  # with repetition and gaps
    xyz = truth.points[rows] + rng.normal(size=(40_000, 3)) * truth.footprint * rng.choice([0.2, 1, 4], (40_000, 1))
    xyz[:500] = rng.uniform(-9, 9, (500, 3)) * np.linalg.norm(truth.box_max - truth.box_min) / 2  # floaters
    rgb = np.clip(truth.rgb[rows].astype(int) + rng.integers(-20, 20, (40_000, 3)), 0, 255).astype(np.uint8)
    cloud = Cloud(xyz.astype(np.float32), rgb=rgb)
    write_ply(tmp_path / "c.ply", cloud)
    command = [sys.executable, str(EVALUATOR), str(tmp_path / "c.ply"), str(scene), "--json"]
    expected = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    got = chamfer_metrics(cloud, scene)
    assert got.pop("truth") == "mesh" and got.keys() == expected.keys()
    assert 0.005 < expected["out_all"] < 0.5 and 0.2 < expected["f1"] < 0.99  # a cloud that exercises every measure
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key
