"""Strecha's .camera files."""

import numpy as np
import pytest
from posed_files import orbit, write_strecha

from uner3d.data import SceneError, load_scene


@pytest.fixture
def folder(tmp_path):
    write_strecha(tmp_path, orbit(4))
    return tmp_path


def edit(folder, row, text):
    """Replaces a row of the second camera file."""
    file = folder / "gt_dense_cameras/0001.png.camera"
    lines = file.read_text().splitlines()
    lines[row : row + 1] = text
    file.write_text("\n".join(lines) + "\n")


def test_rotation_is_camera_to_world(folder):
    rows = (folder / "gt_dense_cameras/0001.png.camera").read_text().splitlines()
    R = np.array([row.split() for row in rows[4:7]], float)
    center = np.array(rows[7].split(), float)
    camera = load_scene(folder).views[1].camera
    np.testing.assert_allclose(camera.center, center, atol=1e-9)
    pixels, depth = camera.project((center + 2 * R[:, 2])[None])
    np.testing.assert_allclose(pixels[0], camera.K[:2, 2], atol=1e-6)
    assert depth[0] == pytest.approx(2)


def test_files_beside_the_photos(folder):
    for file in [*(folder / "gt_dense_cameras").iterdir(), *(folder / "images").iterdir()]:
        file.rename(folder / file.name)
    assert len(load_scene(folder).views) == 4


def test_photos_without_files_are_skipped(folder):
    (folder / "images/0000.png").unlink()
    scene = load_scene(folder)
    assert len(scene.views) == 3 and any("1 of 4 photos are missing" in text for text in scene.warnings)


@pytest.mark.parametrize(
    ("row", "text", "message"),
    [
        (8, [], "expected 9 rows .* found 8"),
        (3, ["0.1 0 0"], "row 4 is '0.1 0 0', expected 0 0 0"),
        (7, ["1 2"], "expected 3 numbers .*centre.* found 2"),
        (4, ["1 0 nan"], "R.* is nan"),
        (4, ["2 0 0"], "R is not a rotation"),
        (0, ["0 0 20"], "focal length fx is 0"),
    ],
)
def test_wrong_rows_are_named(folder, row, text, message):
    edit(folder, row, text)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "0001.png.camera" in str(caught.value)
