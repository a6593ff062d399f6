"""Stated confidence against the share of points that are right."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uner3d.cloud.ply import write_ply
from uner3d.cloud.reliability import N_BINS, binned, reliability
from uner3d.cloud.types import Cloud

PX = 0.01


def test_bins_hold_what_is_stated_and_what_is_so():
    found = binned(np.array([0.31, 0.33, 0.35, 0.92, 1.0, 0.0]), np.array([True, False, False, True, True, False]))
    assert found.count.tolist() == [1, 0, 0, 3, 0, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(found.stated[[0, 3, 9]], [0, 0.33, 0.96])
    np.testing.assert_allclose(found.measured[[0, 3, 9]], [0, 1 / 3, 1])
    assert np.isnan(found.stated[1]) and np.isnan(found.measured[1])
    np.testing.assert_allclose(found.error, (3 * abs(0.33 - 1 / 3) + 2 * 0.04) / 6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(0, 2**31))
def test_no_point_is_lost(confidence, seed):
    right = np.random.default_rng(seed).random(len(confidence)) < 0.5
    found = binned(np.array(confidence), right)
    assert found.count.sum() == len(confidence) and len(found.count) == N_BINS
    assert np.nansum(found.measured * found.count) == pytest.approx(right.sum()) and 0 <= found.error <= 1


def test_a_truthful_cloud_has_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    assert binned(confidence, rng.random(200_000) < confidence).error < 0.01
    assert binned(confidence, rng.random(200_000) < confidence**2).error > 0.1


def test_a_cloud_without_confidence_is_refused(tmp_path):
    with pytest.raises(ValueError, match="confidence"):
        reliability(Cloud(np.zeros((1, 3))), tmp_path)


@pytest.fixture
def table_scene(tmp_path):
    """A flat square half a unit above a table, in a box of one unit."""
    u = (np.arange(100) + 0.5) / 100
    x, z = (axis.reshape(-1) for axis in np.meshgrid(u, u))
    truth = np.stack([x, np.full_like(x, 0.5), z], 1)
    meta = {"box_min": [0, 0, 0], "box_max": [1, 1, 1], "pixel_footprint": PX, "table": True}
    (tmp_path / "scene.json").write_text(json.dumps(meta))
    write_ply(tmp_path / "gt_points.ply", Cloud(truth))
    return tmp_path, truth


def test_points_of_the_object_are_judged_and_the_table_is_not(table_scene):
    folder, truth = table_scene
    wrong = truth + np.array([0, 1.5 * PX, 0])
    table = truth * np.array([1, 0, 1])
    cloud = Cloud(np.concatenate([truth, wrong, table]), confidence=np.repeat([0.95, 0.25, 0.55], len(truth)))
    found = reliability(cloud, folder)
    assert found.count.tolist() == [0, 0, len(truth), 0, 0, 0, 0, 0, 0, len(truth)]
    assert found.measured[9] == 1 and found.measured[2] == 0
    assert found.error == pytest.approx((0.05 + 0.25) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="none of them on the object"):
        reliability(Cloud(table, confidence=np.ones(len(table))), folder)
