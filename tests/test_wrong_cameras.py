"""Photos with the cameras of another scan: the run says so, and its points are not credible."""

import shutil

import pytest

from uner3d import api
from uner3d.cloud.agree import disagreement_warning
from uner3d.data import load_scene

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.mark.parametrize(("cameras", "right"), [("", True), ("_WRONG_as_shipped", False)])
def test_wrong_cameras_are_reported(data_root, tmp_path, cameras, right):
    source = data_root / "dtu_scan24_3views"
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "image").symlink_to(source / "image")
    shutil.copy(source / f"cameras_sphere{cameras}.npz", tmp_path / "scene" / "cameras_sphere.npz")
    scene = load_scene(tmp_path / "scene", downscale=8)
    fitted = api.fit(scene, run=tmp_path / "run", steps=[20, 20], rays=256, samples=16)
    maps, agreed = api.surfaces(fitted)
    doubt, confidence = disagreement_warning(maps, agreed), agreed.confidence[agreed.kept]
    if right:
        assert doubt is None and len(confidence) > 20_000 and confidence.median() > 0.3
    else:
        assert "the views do not agree" in doubt and "check the camera poses" in doubt
        assert len(confidence) < 20_000 and (confidence < 0.1).all()
