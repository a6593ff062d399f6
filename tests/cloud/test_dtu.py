"""DTU's Chamfer distance, against a plain reimplementation of its definition and known answers."""

import numpy as np
import pytest
from scipy.io import savemat

from uner3d.cloud.dtu import dtu_metrics, load_dtu_truth
from uner3d.cloud.ply import write_ply
from uner3d.cloud.types import Cloud


def write_truth(root, points, observed, box, voxel, plane, scan=24):
    (root / "Points/stl").mkdir(parents=True)
    (root / "ObsMask").mkdir()
    write_ply(root / f"Points/stl/stl{scan:03d}_total.ply", Cloud(points.astype(np.float32)))
    savemat(root / f"ObsMask/ObsMask{scan}_10.mat", {"ObsMask": observed, "BB": box, "Res": voxel})
    savemat(root / f"ObsMask/Plane{scan}.mat", {"P": np.reshape(plane, (4, 1))})
    return root


@pytest.fixture
def dtu(tmp_path):
    """A scanned plane at z = 600, 100 x 100 mm, half a millimetre apart; observed where x < 60; z > 590 is above."""
    grid = np.arange(0, 100, 0.5)
    points = np.stack([*np.meshgrid(grid, grid), np.full((200, 200), 600.0)], -1).reshape(-1, 3)
    observed = np.zeros((21, 21, 11), np.uint8)
    observed[:12] = 1
    box = np.array([[0.0, 0, 575], [105, 105, 630]])
    return write_truth(tmp_path, points, observed, box, 5.0, [0, 0, 1, -590])


def expected(xyz, truth):
    """The definition, over all pairs, with neighbours removed one point at a time in the order given."""
    kept = []
    for x in xyz:
        if not kept or np.min(np.linalg.norm(np.array(kept) - x, axis=1)) > 0.2:
            kept.append(x)
    cropped = np.array([x for x in kept if np.all(x >= truth.box[0] - 60) and np.all(x < truth.box[1] + 120)])
    seen = []
    for x in cropped:
        i, j, k = np.round((x - truth.box[0]) / truth.voxel).astype(int)
        inside = all(0 <= n < size for n, size in zip((i, j, k), truth.observed.shape, strict=True))
        if inside and truth.observed[i, j, k]:
            seen.append(x)
    above = [p for p in truth.points if p @ truth.plane[:3] + truth.plane[3] > 0]
    to_truth = np.array([np.min(np.linalg.norm(truth.points - x, axis=1)) for x in seen])
    to_cloud = np.array([np.min(np.linalg.norm(cropped - p, axis=1)) for p in above])
    return to_truth, to_cloud


def test_known_answer(dtu):
    """A copy 1 mm above the scan, the half of it that was not observed 5 mm off: accuracy sees the first half alone."""
    truth = load_dtu_truth(dtu, 24)
    xyz = np.add(truth.points, [0, 0, 1.0])
    xyz[xyz[:, 0] > 62, 2] += 4
    result = dtu_metrics(Cloud(xyz), truth)
    assert result["acc"] == pytest.approx(1.0, abs=1e-6) and 1 < result["comp"] < 5
    assert result["cd"] == pytest.approx((result["acc"] + result["comp"]) / 2)
    assert result["acc_dropped"] == result["comp_dropped"] == 0 and result["points"] == len(xyz)


def test_against_the_definition(tmp_path):
    draw = np.random.default_rng(3)
    points = draw.uniform([0, 0, 580], [30, 30, 620], (700, 3)).astype(np.float32)
    observed = (draw.random((7, 8, 9)) < 0.7).astype(np.uint8)
    box = np.array([[0.0, -2, 578], [31, 33, 622]])
    truth = load_dtu_truth(write_truth(tmp_path, points, observed, box, 5.0, [0.1, 0.2, 1, -600], scan=3), 3)
    near = points[:400] + draw.normal(0, 0.5, (400, 3))
    far = draw.uniform([-100, -100, 400], [160, 170, 800], (200, 3))
    xyz = np.concatenate([near, near + draw.normal(0, 0.03, near.shape), far])
    result = dtu_metrics(Cloud(xyz), truth, seed=5)
    to_truth, to_cloud = expected(np.random.default_rng(5).permutation(xyz), truth)
    assert result["scored"] == len(to_truth)
    assert result["acc"] == pytest.approx(to_truth[to_truth < 20].mean(), rel=1e-6)
    assert result["comp"] == pytest.approx(to_cloud[to_cloud < 20].mean(), rel=1e-6)
    assert result["acc_dropped"] == pytest.approx(np.mean(to_truth >= 20))
    assert result["comp_dropped"] == pytest.approx(np.mean(to_cloud >= 20))


def test_distances_of_20_mm_are_dropped(dtu):
    truth = load_dtu_truth(dtu, 24)
    far = np.add(truth.points[truth.points[:, 0] < 20], [0, 0, 21.0])
    result = dtu_metrics(Cloud(np.concatenate([truth.points, far])), truth)
    assert result["acc"] == pytest.approx(0, abs=1e-6) and 0.1 < result["acc_dropped"] < 0.5
    assert result["comp"] == pytest.approx(0, abs=1e-6)


def test_density_buys_nothing(dtu):
    truth = load_dtu_truth(dtu, 24)
    draw = np.random.default_rng(0)
    observed = truth.points[truth.points[:, 0] < 50][:3000]
    dense = np.repeat(observed, 20, axis=0) + draw.normal(0, 0.01, (60000, 3))
    assert dtu_metrics(Cloud(dense), truth)["scored"] == 3000


def test_what_cannot_be_scored_is_named(dtu):
    truth = load_dtu_truth(dtu, 24)
    with pytest.raises(ValueError, match="of 1 points 0 lie where DTU's mask says observed"):
        dtu_metrics(Cloud(np.zeros((1, 3))), truth)
    with pytest.raises(ValueError, match="expected at least one point"):
        dtu_metrics(Cloud(np.zeros((0, 3))), truth)
    with pytest.raises(FileNotFoundError, match="stl025_total.ply: no such file"):
        load_dtu_truth(dtu, 25)
    savemat(dtu / "ObsMask/Plane24.mat", {"P": np.ones(3)})
    with pytest.raises(ValueError, match="Plane24.mat: P: expected 4 numbers, got 3"):
        load_dtu_truth(dtu, 24)
    savemat(dtu / "ObsMask/Plane24.mat", {"Q": np.ones(4)})
    with pytest.raises(ValueError, match="Plane24.mat: expected a variable P, found none"):
        load_dtu_truth(dtu, 24)
    (dtu / "ObsMask/ObsMask24_10.mat").write_bytes(b"not a matrix" * 20)
    with pytest.raises(ValueError, match=r"ObsMask24_10.mat: cannot be read as a MATLAB file"):
        load_dtu_truth(dtu, 24)
