"""Where along rays samples are worth taking, by a grid of densities."""

from __future__ import annotations

import torch
from torch import Tensor

from ._check import check_tensor
from ._output import empty_cpu
from ._register import define, typed
from ._views import address, contiguous
from .density_grid import check_values
from .reference.ray_edges import ray_edges as twin


def ray_edges(
    knots: Tensor,
    origins: Tensor,
    directions: Tensor,
    values: Tensor,
    extent: Tensor,
    uniform: float | Tensor,
    n_samples: int,
    jitter: Tensor | None = None,
    contracted: bool = False,
) -> Tensor:
    """Edges of samples between the knots of each ray, dense where a grid of densities promises rendering weight.

    The knots t_0 .. t_M cut ray r into M steps, of which each takes the density of the grid at its middle. With
    tau_i = sigma_i |d| (t_{i+1} - t_i), and b_i = 0.2 sum_{j<i} tau_j (softened, since a grid lags behind its field):

    - weight: exp(-b_i) (1 - exp(-tau_i)); occupied: 1 where tau_i > 0.05 and b_i < 5, else 0; each then becomes the
      greatest of a step and its two neighbours;
    - share of a step: (1 - s) / 2 (weight + occupied) + (s + 1e-4) [sigma_i > 0], each divided by its sum over the ray;
      s is ``uniform``, or 1 where no step is occupied, since that is where a surface can still be found;
    - edge k lies where the running sum of the shares, scaled to 1, reaches u_k = (k + jitter_k - 1/2) / n_samples, cut
      to [0, 1], or k / n_samples without jitter.

    Where the grid holds nothing but zeros along a ray, its edges lie at the ends of the last step.

    On other devices than the CPU this runs as torch's operations, which wait for nothing, so that CUDA graphs can hold
    it. Densities >= 0 and ascending knots are expected and not checked, nor are non-finite values.

    Args:
        knots: (N, M + 1) float32 or float64, M > 0, in multiples of the direction.
        origins, directions: (N, 3); directions of any length: densities are per unit of length.
        values: (n, n, n) densities, n up to 1290; cells are those of :func:`grid_cells`.
        extent: (3,) half sizes of the grid's box, positive.
        uniform: share of the samples, from 0 to 1, that all steps of the ray with any density get alike; a number or a
            tensor (), on a GPU without waiting for it.
        n_samples: from 1.
        jitter: (N, n_samples + 1) in [0, 1), random for training.
        contracted: as for :func:`grid_cells`.

    Returns:
        (N, n_samples + 1), ascending and within the knots up to rounding. Not differentiable.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> knots, middle = torch.linspace(0, 4, 5)[None], torch.tensor([[-2.0, 0, 0]])
    >>> grid = torch.tensor([0.0, 0, 9, 0])[:, None, None].expand(4, 4, 4)
    >>> ray_edges(knots, middle, torch.tensor([[1.0, 0, 0]]), grid, torch.full((3,), 2.0), 0.0, 2)
    tensor([[1.0000, 2.5000, 4.0000]])
    """
    sizes: dict[str, int] = {}
    check_tensor("knots", knots, ("N", "M + 1"))
    if knots.shape[1] < 2:
        raise ValueError(f"knots: expected at least 2 of each ray, got shape {tuple(knots.shape)}")
    sizes["N"] = knots.shape[0]
    check_tensor("origins", origins, ("N", 3), like=knots, sizes=sizes)
    check_tensor("directions", directions, ("N", 3), like=knots, sizes=sizes)
    check_values(values, sizes, like=knots)
    check_tensor("extent", extent, (3,), like=knots)
    if not isinstance(n_samples, int) or n_samples < 1:
        raise ValueError(f"n_samples: expected an integer from 1, got {n_samples!r}")
    if isinstance(uniform, Tensor):
        check_tensor("uniform", uniform, (), like=knots)
    elif not 0 <= uniform <= 1:
        raise ValueError(f"uniform: expected a share from 0 to 1, got {uniform}")
    if jitter is not None:
        check_tensor("jitter", jitter, ("N", n_samples + 1), like=knots, sizes=sizes)
    if knots.device.type != "cpu":
        return twin(knots, origins, directions, values, extent, uniform, n_samples, jitter, contracted)
    share = uniform if isinstance(uniform, Tensor) else knots.new_full((), uniform)
    return _OP(knots, origins, directions, values, extent, share, n_samples, jitter, contracted)


def _cpu(
    knots: Tensor, origins: Tensor, directions: Tensor, values: Tensor, extent: Tensor, uniform: Tensor,
    n_samples: int, jitter: Tensor | None, contracted: bool,
) -> Tensor:  # fmt: skip
    edges = empty_cpu(knots, (knots.shape[0], n_samples + 1))
    inputs = contiguous(extent, values, knots, origins, directions, jitter)
    typed("ray_edges", knots)(
        address(inputs[0]), values.shape[0], contracted, *map(address, inputs[1:]), edges.data_ptr(), knots.shape[0],
        knots.shape[1] - 1, n_samples, uniform.item(), torch.get_num_threads(),
    )  # fmt: skip
    return edges


def _fake(
    knots: Tensor, origins: Tensor, directions: Tensor, values: Tensor, extent: Tensor, uniform: Tensor,
    n_samples: int, jitter: Tensor | None, contracted: bool,
) -> Tensor:  # fmt: skip
    return knots.new_empty(knots.shape[0], n_samples + 1)


_OP = define(
    "ray_edges",
    "(Tensor knots, Tensor origins, Tensor directions, Tensor values, Tensor extent, Tensor uniform, int n_samples, "
    "Tensor? jitter, bool contracted) -> Tensor",
    cpu=_cpu,
    cuda=twin,
    fake=_fake,
)
