"""The scene on disk: NeRF-synthetic convention, with the truth beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.truth import TruePoints

_PLY_TYPES = {"f4": "float", "f8": "double", "u1": "uchar"}


def write_transforms(path: Path, split: str, views: Sequence[Viewpoint]) -> None:
    """``transforms_<split>.json``: intrinsics in pixels, camera-to-world poses in OpenGL axes."""
    first = views[0]
    content = {
        "camera_angle_x": 2 * math.atan(first.width / 2 / first.focal),
        "fl_x": first.focal,
        "fl_y": first.focal,
        "cx": first.width / 2,
        "cy": first.height / 2,
        "w": first.width,
        "h": first.height,
        "frames": [
            {"file_path": photo_name(split, k), "transform_matrix": view.world_from_camera.tolist()}
            for k, view in enumerate(views)
        ],
    }
    write_json(path / f"transforms_{split}.json", content)


def photo_name(split: str, index: int) -> str:
    """The path of a photo within the scene."""
    return f"{split}/{index:03d}.png"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_points(path: Path, points: TruePoints) -> None:
    """The true points, as a binary PLY."""
    rows = _vertex_rows(points.xyz, points.normals, points.colours)
    path.write_bytes(_ply_header(rows, 0) + rows.tobytes())


def write_mesh(path: Path, vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> None:
    """Triangles, as a binary PLY with double coordinates."""
    table = np.empty(len(vertices), [(axis, "<f8") for axis in "xyz"])
    for k, axis in enumerate("xyz"):
        table[axis] = vertices[:, k]
    faces = np.empty(len(triangles), [("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, triangles
    path.write_bytes(_ply_header(table, len(faces)) + table.tobytes() + faces.tobytes())


def _vertex_rows(
    xyz: NDArray[np.float64], normals: NDArray[np.float64], colours: NDArray[np.uint8]
) -> NDArray[np.void]:
    names = [(n, "<f4") for n in ("x", "y", "z", "nx", "ny", "nz")] + [(n, "u1") for n in ("red", "green", "blue")]
    rows = np.empty(len(xyz), names)
    for k, (name, _) in enumerate(names):
        rows[name] = (xyz, normals, colours)[k // 3][:, k % 3]
    return rows


def _ply_header(vertices: NDArray[np.void], n_faces: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {_PLY_TYPES[vertices.dtype[n].str[1:]]} {n}" for n in vertices.dtype.names or ()]
    if n_faces:
        lines += [f"element face {n_faces}", "property list uchar int vertex_indices"]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()
