"""Middlebury *_par.txt."""

import numpy as np
import pytest
from posed_files import orbit, write_middlebury

from uner3d.data import SceneError, load_scene


@pytest.fixture
def folder(tmp_path):
    write_middlebury(tmp_path, orbit(4))
    return tmp_path


def edit(folder, change):
    """Rewrites the lines of ball_par.txt after change(lines)."""
    lines = (folder / "ball_par.txt").read_text().splitlines()
    change(lines)
    (folder / "ball_par.txt").write_text("\n".join(lines) + "\n")


def test_the_projection_holds_for_pixel_centres_at_integers(folder):
    """K [R t] x of the file is the pixel's index; half a pixel is added."""
    values = np.array((folder / "ball_par.txt").read_text().splitlines()[2].split()[1:], float)
    P = values[:9].reshape(3, 3) @ np.column_stack([values[9:18].reshape(3, 3), values[18:]])
    x = np.array([[0.2, -0.3, 0.4]])
    expected = P @ [*x[0], 1]
    pixels, _ = load_scene(folder).views[1].camera.project(x)
    np.testing.assert_allclose(pixels[0], expected[:2] / expected[2] + 0.5, atol=1e-9)


def test_few_digits_of_a_rotation_are_tolerated_and_repaired(folder):
    def round_rotations(lines):
        for k in range(1, len(lines)):
            name, *values = lines[k].split()
            values[9:18] = [f"{float(v):.3f}" for v in values[9:18]]
            lines[k] = " ".join([name, *values])

    edit(folder, round_rotations)
    for view in load_scene(folder).views:
        R = view.camera.cam_from_world[:, :3]
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)


def test_photos_without_files_are_skipped(folder):
    (folder / "ball0003.png").unlink()
    scene = load_scene(folder)
    assert len(scene.views) == 3 and any("ball0003.png" in text for text in scene.warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.__setitem__(0, "5"), "line 1 announces 5 photos, but 4 follow"),
        (lambda lines: lines.pop(0), "line 1: expected the number of photos, found 'ball0000.png"),
        (lambda lines: lines.clear(), "line 1: expected the number of photos, found 'nothing'"),
        (
            lambda lines: lines.__setitem__(2, lines[2] + " 1"),
            r"line 3 \(ball0001.png\): expected 21 numbers .* found 22",
        ),
        (lambda lines: lines.__setitem__(2, lines[2].replace(" 0 ", " x ", 1)), r"line 3 .*could not convert .*'x'"),
    ],
)
def test_wrong_lines_are_named(folder, change, message):
    edit(folder, change)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(folder)
    assert "ball_par.txt" in str(caught.value)
