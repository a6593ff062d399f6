"""A textured mesh file as the object. Needs Open3D, imported here alone and only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.surface import Mesh, sample_triangles

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")


def import_open3d() -> Any:
    """The open3d module, or an ImportError that says what to install."""
    try:
        import open3d
    except (ImportError, OSError) as error:
        if "libusb" in str(error):
            raise ImportError(
                f"Open3D is installed but the system library libusb-1.0-0 is missing ({error}): "
                "install it, on Debian and Ubuntu with `apt-get install libusb-1.0-0`"
            ) from error
        raise ImportError(
            f"a mesh file as input needs Open3D ({error}): `pip install uner3d[open3d]`; "
            "on Debian and Ubuntu it also needs the system library libusb-1.0-0"
        ) from error
    return open3d


class MeshSurface:
    """The triangles of a file, centred on their bounding box; each side of a triangle counts as outside."""

    two_sided = True

    def __init__(self, path: Path, scale: float | None, up: str) -> None:
        o3d = import_open3d()
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such mesh file")
        mesh = o3d.io.read_triangle_mesh(str(path), enable_post_processing=True)
        self._vertices = np.asarray(mesh.vertices, dtype=np.float64).copy()
        self._triangles = np.asarray(mesh.triangles, dtype=np.int32).copy()
        if len(self._triangles) == 0:
            raise ValueError(f"{path}: holds no triangles, expected a mesh that Open3D can read")
        if not np.isfinite(self._vertices).all():
            raise ValueError(f"{path}: some vertices are not finite")
        if up == "z":
            self._vertices = self._vertices[:, [0, 2, 1]] * (1, 1, -1)
        low, high = self._vertices.min(0), self._vertices.max(0)
        factor = 1.0 if scale is None else scale / max(float((high - low).max()), 1e-30)
        self._vertices = (self._vertices - (low + high) / 2) * factor
        self.radius = float(np.linalg.norm(self._vertices, axis=1).max())
        self._albedo = _TriangleColours(mesh)
        corners = self._vertices[self._triangles]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._normals = normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-30)
        self._o3d, self._scene = o3d, o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(self._vertices.astype(np.float32)), o3d.core.Tensor(self._triangles.astype(np.uint32))
        )

    def mesh(self, tolerance: float) -> Mesh:
        return self._vertices, self._triangles

    def starts(self, views: Sequence[Viewpoint]) -> Tensor:
        return torch.zeros(len(views), views[0].height, views[0].width)

    def _cast(self, origin: Tensor, direction: Tensor) -> dict[str, Any]:
        rays = torch.cat([origin.reshape(3, -1).expand_as(direction), direction]).T.contiguous().float()
        return {k: v.numpy() for k, v in self._scene.cast_rays(self._o3d.core.Tensor(rays.numpy())).items()}

    def cast(self, origin: Tensor, direction: Tensor, start: Tensor, tolerance: float) -> Tensor:
        return torch.from_numpy(self._cast(origin, direction)["t_hit"])

    def look_up(self, origin: Tensor, direction: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hit = self._cast(origin, direction)
        which, uv = hit["primitive_ids"].astype(np.int64), hit["primitive_uvs"]
        weights = np.stack([1 - uv[:, 0] - uv[:, 1], uv[:, 0], uv[:, 1]], 1)
        normal = torch.from_numpy(self._normals[which].T.astype(np.float32))
        normal = torch.where((normal * direction).sum(0) > 0, -normal, normal)
        return origin.reshape(3, -1) + direction * t, normal, self._colours(which, weights).float()

    def _colours(self, which: NDArray[np.int64], weights: NDArray[Any]) -> Tensor:
        return torch.from_numpy(self._albedo(self._triangles, which, weights).T.copy())

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        points, which, weights = sample_triangles(self._vertices, self._triangles, n, rng)
        normal = torch.from_numpy(self._normals[which].T.copy())
        return torch.from_numpy(points.T.copy()), normal, self._colours(which, weights)

    def blocked(self, p: Tensor, normal: Tensor, toward: Tensor, distance: Tensor) -> Tensor:
        if p.shape[1] == 0:
            return torch.zeros(0, dtype=torch.bool)
        lifted = p + normal * (1e-3 * self.radius)
        return torch.from_numpy(self._cast(lifted, toward)["t_hit"]) < distance

    def light(self, p: Tensor, normal: Tensor, toward: tuple[float, float, float]) -> Tensor:
        direction = torch.tensor(toward, dtype=p.dtype).reshape(3, 1).expand_as(p)
        return 1 - self.blocked(p, normal, direction, torch.full_like(p[0], torch.inf)).to(p.dtype)

    def openness(self, p: Tensor, normal: Tensor) -> Tensor:
        return torch.ones_like(p[0])


class _TriangleColours:
    """The texture images of a mesh, else its vertex colours, else grey, at places on its triangles."""

    def __init__(self, mesh: Any) -> None:
        images = [np.asarray(image) for image in mesh.textures]
        self._images = [i if i.ndim == 3 else np.repeat(i[..., None], 3, 2) for i in images if i.size]
        self._uv = np.asarray(mesh.triangle_uvs).reshape(-1, 3, 2) if mesh.has_triangle_uvs() else None
        self._material = np.asarray(mesh.triangle_material_ids)
        self._vertex = np.asarray(mesh.vertex_colors) if mesh.has_vertex_colors() else None

    def __call__(
        self, triangles: NDArray[np.int32], which: NDArray[np.int64], weights: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Colours (N, 3) in [0, 1] at barycentric ``weights`` (N, 3) of triangles ``which`` (N,)."""
        if self._images and self._uv is not None:
            uv = np.einsum("nk,nkd->nd", weights, self._uv[which])
            material = self._material[which] if len(self._material) else np.zeros(len(which), int)
            colour = np.full((len(which), 3), 0.7)
            for k, image in enumerate(self._images):
                colour[material == k] = _bilinear(image, uv[material == k])
            return colour
        if self._vertex is not None:
            return np.einsum("nk,nkd->nd", weights, self._vertex[triangles[which]])
        return np.full((len(which), 3), 0.7)


def _bilinear(image: NDArray[np.uint8], uv: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (N, 3) at texture coordinates (N, 2); the image repeats, its first row is v = 0 as Open3D loads it."""
    height, width = image.shape[:2]
    x, y = (uv[:, 0] % 1) * width - 0.5, (uv[:, 1] % 1) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - left)[:, None], (y - top)[:, None]

    def at(row: NDArray[Any], column: NDArray[Any]) -> NDArray[np.float64]:
        return image[row % height, column % width, :3].astype(np.float64) / 255

    upper = at(top, left) * (1 - a) + at(top, left + 1) * a
    return upper * (1 - b) + (at(top + 1, left) * (1 - a) + at(top + 1, left + 1) * a) * b
