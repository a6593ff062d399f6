"""Scene Representation Networks: `intrinsics.txt`, photos in rgb/, a camera-to-world matrix per photo in pose/.

intrinsics.txt holds `f cx cy 0`, an origin, a scale and `height width`, a line each; then, where poses are
world-to-camera, a line `1`. Axes are OpenCV's (x right, y down, z forward), the principal point counts from the corner
of the photo. The ShapeNet cars and chairs have a white background, their objects lie around the world's origin and the
cameras on a sphere around it (Sitzmann et al., Scene Representation Networks, NeurIPS 2019).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, floats, intrinsics, photos_in, read_text, rotation

NAME = "SRN intrinsics.txt"
LOOKS_FOR = "intrinsics.txt with pose/*.txt and photos in rgb/ (Scene Representation Networks)"
# Half the edge of the box over the distance of the cameras: 0.5 at the cars' distance of 1.3, 0.77 at the chairs' of 2,
# which is the reach of the depths that pixelNeRF samples there (0.8 to 1.8, 1.25 to 2.75).
_REACH = 5 / 13


def find(path: Path) -> Path | None:
    """The file with the intrinsics."""
    found = path / "intrinsics.txt"
    return found if found.is_file() and any((path / "pose").glob("*.txt")) else None


def read(path: Path, found: Path) -> RawScene:
    """One frame per pose, sorted by name, as photos are."""
    K, width, height, world_to_cam = _intrinsics(found)
    photos = {photo.stem: photo for photo in photos_in(path / "rgb")}
    poses = {file.stem: file for file in sorted((path / "pose").glob("*.txt"))}
    without = [photo.name for stem, photo in photos.items() if stem not in poses]
    if without:
        raise SceneError(f"{path / 'rgb' / without[0]}: expected its pose in {path / 'pose'}, found none of that name")
    frames = []
    for stem, file in poses.items():
        photo = photos.get(stem, path / "rgb" / f"{stem}.png")
        cam_from_world = _cam_from_world(file, world_to_cam)
        frames.append(Frame(photo.name, photo, K, cam_from_world, str(file), width, height))
    return RawScene(frames, box_hint=_box(frames))


def _intrinsics(file: Path) -> tuple[np.ndarray, float, float, bool]:
    """K, width, height, and whether poses are world-to-camera."""
    lines = [(i, line) for i, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
    sizes = [k for k, (_, line) in enumerate(lines) if len(line.split()) == 2]
    if len(lines) < 4 or not sizes:
        raise SceneError(
            f"{file}: expected lines `f cx cy 0`, origin, scale and `height width`, found {len(lines)} lines"
            f"{'' if sizes else ', none of them of two numbers'}"
        )
    number, first = lines[0]
    f, cx, cy, _ = floats(first, 4, f"{file}: line {number}", "f, cx, cy, 0").tolist()
    number, line = lines[sizes[-1]]
    height, width = floats(line, 2, f"{file}: line {number}", "height and width").tolist()
    if not (height >= 1 and width >= 1):
        raise SceneError(f"{file}: line {number}: height and width are {height:g} {width:g}, expected pixels >= 1")
    flag = lines[sizes[-1] + 1 :]
    if flag and flag[0][1].strip() not in ("0", "1"):
        raise SceneError(f"{file}: line {flag[0][0]}: world-to-camera is {flag[0][1].strip()!r}, expected 0 or 1")
    K = intrinsics(f, f, cx, cy, f"{file}: line {lines[0][0]}")
    return K, width, height, bool(flag) and flag[0][1].strip() == "1"


def _cam_from_world(file: Path, world_to_cam: bool) -> np.ndarray:
    pose = floats(read_text(file), 16, str(file), "a 4 x 4 matrix").reshape(4, 4)
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise SceneError(f"{file}: last row is {pose[3].tolist()}, expected [0, 0, 0, 1]")
    R, t = rotation(pose[:3, :3], str(file), "its left 3 x 3"), pose[:3, 3:]
    return np.concatenate([R, t] if world_to_cam else [R.T, -R.T @ t], axis=1)


def _box(frames: list[Frame]) -> np.ndarray | None:
    """A cube around the origin, where the cameras stand on a sphere around it."""
    distances = np.array([np.linalg.norm(frame.cam_from_world[:, 3]) for frame in frames])
    mean = float(distances.mean())
    if mean <= 0 or np.abs(distances - mean).max() > 0.1 * mean:
        return None
    return np.array([[-1.0] * 3, [1.0] * 3]) * (_REACH * mean)
