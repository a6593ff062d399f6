"""Published data sets' layouts, written from their definitions: SRN, DVR/NMR, MVSNet and its DTU training set.

cameras are the project's (principal point from the corner of the photo), photos uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from uner3d.data import Camera


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def assert_ball_is_seen(scene, ball: np.ndarray, radius: float) -> None:
    """Each camera puts a dark ball before white where its photo shows it, in front of it; the box holds the ball."""
    for view in scene.views:
        rows, columns = np.nonzero(view.image()[..., 0] < 128)
        pixel, depth = view.camera.project(ball[None])
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], pixel[0], atol=0.3)
        assert depth[0] > 0
    assert (scene.box[0] < ball - radius).all() and (scene.box[1] > ball + radius).all()


def _rows(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{v:.12g}" for v in row) for row in matrix)


def _square(upper: np.ndarray) -> np.ndarray:
    return np.concatenate([upper, [[0, 0, 0, 1]]])


def write_srn(path: Path, cameras: Sequence[Camera], photos: Sequence[np.ndarray], factor: float = 1.0) -> None:
    """An SRN object. factor: the intrinsics are stated for photos that many times as large."""
    K, width, height = cameras[0].K * factor, cameras[0].width * factor, cameras[0].height * factor
    (path / "pose").mkdir(parents=True)
    size = f"{height:g} {width:g}"
    (path / "intrinsics.txt").write_text(
        f"{K[0, 0]:.12g} {K[0, 2]:.12g} {K[1, 2]:.12g} 0.\n0. 0. 0.\n1.\n{size}\n"
    )
    for k, (camera, photo) in enumerate(zip(cameras, photos, strict=True)):
        save(path / f"rgb/{k:06d}.png", photo)
        words = " ".join(f"{v:.12g}" for v in _square(camera.world_from_cam).ravel())
        (path / f"pose/{k:06d}.txt").write_text(words)


def write_nmr(
    path: Path, cameras: Sequence[Camera], photos: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None = None,
    edge: float | None = None,
) -> None:  # fmt: skip
    """A DVR/NMR object, with the inverses that such files carry; edge: of its cube, by scale_mat_i, where not 1."""
    matrices = {}
    for k, (camera, photo) in enumerate(zip(cameras, photos, strict=True)):
        to_unit = np.array([[2 / camera.width, 0, -1], [0, 2 / camera.height, -1], [0, 0, 1]])
        camera_mat = np.eye(4)
        camera_mat[:3, :3] = to_unit @ camera.K
        world_mat = _square(camera.cam_from_world)
        for name, matrix in (("camera_mat", camera_mat), ("world_mat", world_mat)):
            matrices |= {f"{name}_{k}": matrix, f"{name}_inv_{k}": np.linalg.inv(matrix)}
        if edge is not None:
            matrices[f"scale_mat_{k}"] = np.diag([edge, edge, edge, 1.0])
        save(path / f"image/{k:04d}.png", photo)
        if masks is not None:
            save(path / f"mask/{k:04d}.png", masks[k])
    np.savez(path / "cameras.npz", **matrices)


def camera_file(camera: Camera, depths: str = "2.2 0.01 161 3.8", scale: float = 1.0) -> str:
    """MVSNet's text for a camera; scale: of its intrinsics."""
    K = camera.K * [[scale], [scale], [1]]
    return f"extrinsic\n{_rows(_square(camera.cam_from_world))}\n\nintrinsic\n{_rows(K)}\n\n{depths}\n"


def write_mvsnet(path: Path, cameras: Sequence[Camera], photos: Sequence[np.ndarray]) -> None:
    """cams/, images/ and pair.txt, in which each view lists the next one."""
    (path / "cams").mkdir(parents=True)
    pairs = [str(len(cameras))]
    for k, (camera, photo) in enumerate(zip(cameras, photos, strict=True)):
        (path / f"cams/{k:08d}_cam.txt").write_text(camera_file(camera))
        save(path / f"images/{k:08d}.png", photo)
        pairs += [str(k), f"1 {(k + 1) % len(cameras)} 100.0"]
    (path / "pair.txt").write_text("\n".join(pairs) + "\n")


def write_mvsnet_training(root: Path, scan: str, cameras: Sequence[Camera], photos: Sequence[np.ndarray],
                          lights: Sequence[int] = (0, 3)) -> Path:  # fmt: skip
    """Cameras/train for a quarter of the photos' size, Rectified/<scan>_train; the folder of the photos.

    Photos in all lights but 3 are black. There is a camera more than photos, as in DTU's scans of 49 views.
    """
    folder, cameras = root / f"Rectified/{scan}_train", [*cameras, cameras[0]]
    (root / "Cameras/train").mkdir(parents=True, exist_ok=True)
    for k, camera in enumerate(cameras):
        (root / f"Cameras/train/{k:08d}_cam.txt").write_text(camera_file(camera, "2.2 0.008", 0.25))
    for k, photo in enumerate(photos):
        for light in lights:
            save(folder / f"rect_{k + 1:03d}_{light}_r5000.png", photo if light == 3 else np.zeros_like(photo))
    return folder
