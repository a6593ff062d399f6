"""One tiny scene, a coloured ball photographed from all around, written in each of the formats that are read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import published
from PIL import Image

from uner3d.data import Camera

BALL_RADIUS = 0.6
N_VIEWS = 7
_FLIP = np.array([1.0, -1.0, -1.0])


def look_at(center: np.ndarray, target: np.ndarray, up: tuple[float, float, float] = (0, 0, 1)) -> np.ndarray:
    """cam_from_world (3, 4), OpenCV axes."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    R = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([R, -R @ center[:, None]], axis=1)


def orbit(
    n: int = N_VIEWS, width: int = 40, height: int = 30, focal: float = 44.0, centred: bool = False
) -> list[Camera]:
    """Cameras around the ball, 3 away; the principal point lies off the middle and fx is not fy, unless centred."""
    fy, cx, cy = (focal, width / 2, height / 2) if centred else (1.02 * focal, width / 2 + 0.7, height / 2 - 0.4)
    K = np.array([[focal, 0, cx], [0, fy, cy], [0, 0, 1]])
    cameras = []
    for k in range(n):
        azimuth, elevation = 2 * math.pi * k / n, 0.35 + 0.3 * math.sin(2.4 * k)
        ring = 3 * math.cos(elevation)
        center = np.array([ring * math.cos(azimuth), ring * math.sin(azimuth), 3 * math.sin(elevation)])
        cameras.append(Camera(K, look_at(center, np.array([0.02, -0.01, 0.03])), width, height))
    return cameras


def render(camera: Camera, distortion: tuple[float, ...] | None = None, factor: int = 4) -> np.ndarray:
    """The photo of the ball, uint8 (H, W, 4) with straight alpha, factor^2 rays a pixel; colour smooth in space.

    distortion (k1, k2, k3, k4, p1, p2) is inverted by fixed-point iteration, independently of the package.
    """
    inner = (np.arange(factor) + 0.5) / factor
    u = (np.arange(camera.width)[:, None] + inner).ravel()
    v = (np.arange(camera.height)[:, None] + inner).ravel()
    x, y = np.meshgrid((u - camera.K[0, 2]) / camera.K[0, 0], (v - camera.K[1, 2]) / camera.K[1, 1])
    x, y = _straight(x, y, distortion)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ camera.cam_from_world[:, :3]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = -(rays @ camera.center)
    half2 = BALL_RADIUS**2 - camera.center @ camera.center + along**2
    hit = half2 > 0
    points = camera.center + rays * (along - np.sqrt(np.maximum(half2, 0)))[..., None]
    colour = np.where(hit[..., None], 0.5 + 0.45 * np.sin(3 * points + [0, 1, 2]), 0.0)
    rgba = np.concatenate([colour, hit[..., None]], axis=-1)
    rgba = rgba.reshape(camera.height, factor, camera.width, factor, 4).mean(axis=(1, 3))
    rgba[..., :3] /= np.maximum(rgba[..., 3:], 1e-9)
    return np.round(rgba.clip(0, 1) * 255).astype(np.uint8)


def _straight(x: np.ndarray, y: np.ndarray, distortion: tuple[float, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    if distortion is None:
        return x, y
    k1, k2, k3, k4, p1, p2 = distortion
    a, b = x, y
    for _ in range(100):
        r2 = a * a + b * b
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + k4 * r2**4
        tx, ty = 2 * p1 * a * b + p2 * (r2 + 2 * a * a), p1 * (r2 + 2 * b * b) + 2 * p2 * a * b
        a, b = (x - tx) / radial, (y - ty) / radial
    return a, b


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3), composited on white."""
    alpha = rgba[..., 3:].astype(np.float64) / 255
    return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def opengl_pose(camera: Camera) -> list[list[float]]:
    """Camera-to-world (4, 4) with OpenGL axes, as transforms.json has it."""
    pose = np.eye(4)
    pose[:3] = camera.world_from_cam
    pose[:3, :3] *= _FLIP
    return pose.tolist()


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_blender(path: Path, cameras: list[Camera], n_test: int = 2) -> None:
    """NeRF-synthetic: a field of view, names without suffix, alpha. Needs centred cameras."""
    for split, some in (("train", cameras), ("test", cameras[:n_test])):
        angle = 2 * math.atan(some[0].width / 2 / some[0].K[0, 0])
        frames = [{"file_path": f"./{split}/r_{k}", "transform_matrix": opengl_pose(c)} for k, c in enumerate(some)]
        write_json(path / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})
        for k, camera in enumerate(some):
            save(path / f"{split}/r_{k}.png", render(camera))


def write_nerfstudio(path: Path, cameras: list[Camera], distortion: tuple[float, ...] | None = None) -> None:
    """nerfstudio: intrinsics in pixels, distortion, photos without alpha."""
    lens = dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), distortion or (), strict=False))
    frames = []
    for k, camera in enumerate(cameras):
        save(path / f"images/{k:03d}.png", on_white(render(camera, distortion)))
        frames.append({"file_path": f"images/{k:03d}.png", "transform_matrix": opengl_pose(camera)})
    K = cameras[0].K
    intrinsics = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    size = {"w": cameras[0].width, "h": cameras[0].height}
    write_json(path / "transforms.json", {"camera_model": "OPENCV", **intrinsics, **size, **lens, "frames": frames})


def _centres_at_integers(camera: Camera) -> np.ndarray:
    return camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]


def write_idr(path: Path, cameras: list[Camera], masks: bool = True) -> None:
    """IDR: projections up to scale and sign, a normalising sphere of radius 1.5 around (0.1, 0, 0), mask files."""
    matrices = {}
    for k, camera in enumerate(cameras):
        world_mat = np.eye(4)
        world_mat[:3] = (-2.5 if k % 2 else 0.7) * _centres_at_integers(camera) @ camera.cam_from_world
        scale_mat = np.diag([1.5, 1.5, 1.5, 1.0])
        scale_mat[0, 3] = 0.1
        matrices |= {f"world_mat_{k}": world_mat, f"scale_mat_{k}": scale_mat}
        rgba = render(camera)
        save(path / f"image/{k:06d}.png", on_white(rgba))
        if masks:
            save(path / f"mask/{k:03d}.png", np.repeat(rgba[..., 3:], 3, axis=2))
    np.savez(path / "cameras_sphere.npz", **matrices)


def write_middlebury(path: Path, cameras: list[Camera]) -> None:
    """Middlebury: one line per photo."""
    lines = [str(len(cameras))]
    for k, camera in enumerate(cameras):
        R, t = camera.cam_from_world[:, :3], camera.cam_from_world[:, 3]
        values = np.concatenate([_centres_at_integers(camera).ravel(), R.ravel(), t])
        lines.append(f"ball{k:04d}.png " + " ".join(f"{v:.12g}" for v in values))
        save(path / f"ball{k:04d}.png", on_white(render(camera)))
    (path / "ball_par.txt").write_text("\n".join(lines) + "\n")


def write_strecha(path: Path, cameras: list[Camera]) -> None:
    """Strecha: a .camera file per photo, camera-to-world."""
    (path / "gt_dense_cameras").mkdir()
    for k, camera in enumerate(cameras):
        rows = [*_centres_at_integers(camera), np.zeros(3), *camera.cam_from_world[:, :3].T, camera.center]
        lines = [" ".join(f"{v:.12g}" for v in row) for row in rows] + [f"{camera.width} {camera.height}"]
        (path / f"gt_dense_cameras/{k:04d}.png.camera").write_text("\n".join(lines) + "\n")
        save(path / f"images/{k:04d}.png", on_white(render(camera)))


def _quaternion(R: np.ndarray) -> np.ndarray:
    """w, x, y, z by the eigenvector of the largest eigenvalue of Bar-Itzhack's symmetric matrix."""
    (a, b, c), (d, e, f), (g, h, i) = R
    N = np.array(
        [[a + e + i, h - f, c - g, d - b], [0, a - e - i, b + d, c + g], [0, 0, e - a - i, f + h], [0, 0, 0, i - a - e]]
    )
    return np.linalg.eigh(N + np.triu(N, 1).T)[1][:, -1]


def write_colmap(path: Path, cameras: list[Camera], sparse: np.ndarray | None = None) -> None:
    """COLMAP text in sparse/0, photos listed in reverse order, their lists of 2-D points empty or not."""
    folder = path / "sparse" / "0"
    folder.mkdir(parents=True)
    K, size = cameras[0].K, f"{cameras[0].width} {cameras[0].height}"
    intrinsics = f"{K[0, 0]:.12g} {K[1, 1]:.12g} {K[0, 2]:.12g} {K[1, 2]:.12g}"
    (folder / "cameras.txt").write_text(f"# Camera list\n1 PINHOLE {size} {intrinsics}\n")
    lines = ["# Image list with two lines of data per image:"]
    for k, camera in reversed(list(enumerate(cameras))):
        pose = np.concatenate([_quaternion(camera.cam_from_world[:, :3]), camera.cam_from_world[:, 3]])
        lines.append(f"{k + 1} " + " ".join(f"{v:.12g}" for v in pose) + f" 1 photo {k}.png")
        lines.append("" if k % 2 else "3.5 4.5 -1 7.5 8.5 12")
        save(path / f"images/photo {k}.png", on_white(render(camera)))
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    if sparse is not None:
        rows = [f"{k} {x:.9g} {y:.9g} {z:.9g} 128 128 128 0.5 1 2" for k, (x, y, z) in enumerate(sparse)]
        (folder / "points3D.txt").write_text("\n".join(["# 3D point list", *rows]) + "\n")


def write_srn(path: Path, cameras: list[Camera]) -> None:
    """Scene Representation Networks. Needs centred cameras: there is one focal length."""
    published.write_srn(path, cameras, [on_white(render(camera)) for camera in cameras])


def write_nmr(path: Path, cameras: list[Camera]) -> None:
    """DVR / NMR, with masks and a cube that holds the ball."""
    photos = [render(camera) for camera in cameras]
    published.write_nmr(path, cameras, [on_white(p) for p in photos], [p[..., 3] for p in photos], edge=1.3)


def write_mvsnet(path: Path, cameras: list[Camera]) -> None:
    """MVSNet, with depths."""
    published.write_mvsnet(path, cameras, [on_white(render(camera)) for camera in cameras])


MASKED = ("blender", "idr", "nmr")  # have masks
CENTRED = ("blender", "srn")  # cannot say otherwise
WRITERS: dict[str, Callable[[Path, list[Camera]], None]] = {
    "blender": write_blender,
    "nerfstudio": write_nerfstudio,
    "idr": write_idr,
    "middlebury": write_middlebury,
    "strecha": write_strecha,
    "colmap": write_colmap,
    "srn": write_srn,
    "nmr": write_nmr,
    "mvsnet": write_mvsnet,
}


def write(name: str, path: Path, n: int = N_VIEWS) -> list[Camera]:
    """The scene in that format; returns its true cameras."""
    cameras = orbit(n, centred=name in CENTRED)
    WRITERS[name](path, cameras)
    return cameras
