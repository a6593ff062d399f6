"""What the renderer asks of an object, and the object made of signed distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uner3d.data.synthetic import sdf
from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.shapes import Shape
from uner3d.data.synthetic.surface_nets import extract_mesh
from uner3d.data.synthetic.trace import cone_starts, light_visibility, openness, sphere_trace

Mesh = tuple[NDArray[np.float64], NDArray[np.int32]]


class Surface(Protocol):
    """An object around the origin. Points and directions are (3, N).

    ``radius``: all of it lies within that of the origin. ``two_sided``: normals may point inward."""

    radius: float
    two_sided: bool

    def mesh(self, tolerance: float) -> Mesh:
        """Vertices (V, 3) and triangles (F, 3) that stay within about ``tolerance`` of the surface."""
        ...

    def starts(self, views: Sequence[Viewpoint]) -> Tensor:
        """Per pixel (V, H, W), a distance before which no ray of the pixel hits; inf where none hits at all."""
        ...

    def cast(self, origin: Tensor, direction: Tensor, start: Tensor, tolerance: float) -> Tensor:
        """Distance (N,) to the first hit of rays from one origin (3,) or many (3, N), inf where there is none."""
        ...

    def look_up(self, origin: Tensor, direction: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points, unit normals and albedo, each (3, N), where rays hit at distance t (N,)."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """n points uniform on the surface, their unit normals and albedo, each (3, n), float64."""
        ...

    def blocked(self, p: Tensor, normal: Tensor, toward: Tensor, distance: Tensor) -> Tensor:
        """Whether the object hides surface points p from something ``distance`` away in direction ``toward``: (N,)."""
        ...

    def light(self, p: Tensor, normal: Tensor, toward: tuple[float, float, float]) -> Tensor:
        """How much of a distant light reaches points (N,), in [0, 1]."""
        ...

    def openness(self, p: Tensor, normal: Tensor) -> Tensor:
        """How much of the sky reaches points (N,), in [0, 1]."""
        ...


class ShapeSurface:
    """A named shape, centred on its bounding box and scaled."""

    two_sided = False

    def __init__(self, shape: Shape, scale: float | None) -> None:
        self._shape = shape
        self._scale = 1.0
        self._offset = torch.zeros(3, 1, dtype=torch.float64)
        vertices, _ = extract_mesh(self.distance, shape.extent, min(0.6 * shape.finest, shape.extent / 40))
        low, high = vertices.min(0), vertices.max(0)
        center = (low + high) / 2
        self._offset = torch.from_numpy(center).reshape(3, 1)
        self._scale = 1.0 if scale is None else scale / float((high - low).max())
        self.radius = float(np.linalg.norm(vertices - center, axis=1).max()) * self._scale
        self._triangles: Mesh | None = None

    def _local(self, p: Tensor) -> Tensor:
        return p / self._scale + self._offset.to(p.dtype)

    def distance(self, p: Tensor) -> Tensor:
        """Signed distance (N,) of points (3, N), in scene units, positive outside."""
        return self._shape.distance(self._local(p)) * self._scale

    def mesh(self, tolerance: float) -> Mesh:
        # An arc of radius r leaves its chord of length h by h^2 / 8r.
        finest = self._shape.finest * self._scale
        spacing = min((8 * finest * tolerance) ** 0.5, 0.75 * finest)
        self._triangles = extract_mesh(self.distance, (self._shape.extent + 0.1) * self._scale, spacing)
        return self._triangles

    def starts(self, views: Sequence[Viewpoint]) -> Tensor:
        return cone_starts(self.distance, self.radius, views)

    def cast(self, origin: Tensor, direction: Tensor, start: Tensor, tolerance: float) -> Tensor:
        return sphere_trace(self.distance, self.radius, origin, direction, start, tolerance)

    def look_up(self, origin: Tensor, direction: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p = origin.reshape(3, -1) + direction * t
        value, gradient = sdf.value_and_gradient(self.distance, p)
        # One Newton step along the ray: the march stops a little before the surface.
        slope = (gradient * direction).sum(0).clamp(max=-0.2)
        p = p - direction * (value / slope)
        return p, gradient / sdf.norm(*gradient), self._shape.albedo(self._local(p))

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        if self._triangles is None:
            raise RuntimeError("sample() draws from the mesh: call mesh() first")
        p = torch.from_numpy(sample_triangles(*self._triangles, n, rng)[0].T.copy())
        p = sdf.project(self.distance, p)
        _, gradient = sdf.value_and_gradient(self.distance, p)
        return p, gradient / sdf.norm(*gradient), self._shape.albedo(self._local(p))

    def blocked(self, p: Tensor, normal: Tensor, toward: Tensor, distance: Tensor) -> Tensor:
        lifted = p + normal * (2e-3 * self.radius)
        return light_visibility(self.distance, self.radius, lifted, toward, sharpness=None) < 0.5

    def light(self, p: Tensor, normal: Tensor, toward: tuple[float, float, float]) -> Tensor:
        direction = torch.tensor(toward, dtype=p.dtype).reshape(3, 1).expand_as(p)
        return light_visibility(self.distance, self.radius, p + normal * (0.01 * self.radius), direction, sharpness=12)

    def openness(self, p: Tensor, normal: Tensor) -> Tensor:
        return openness(self.distance, self.radius, p, normal)


def sample_triangles(
    vertices: NDArray[np.float64], triangles: NDArray[np.int32], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """n points (n, 3) uniform on the triangles, which triangle each lies on (n,), its barycentric weights (n, 3)."""
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    which = np.searchsorted(np.cumsum(area) / area.sum(), rng.random(n)).clip(max=len(area) - 1)
    root, share = np.sqrt(rng.random(n)), rng.random(n)
    weights = np.stack([1 - root, root * (1 - share), root * share], 1)
    return np.einsum("nk,nkd->nd", weights, corners[which]), which, weights
