"""Colours of points, blended from the pixels that the views show there by learned scores."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from ._check import FLOATS, check_tensor
from ._output import empty_cpu
from ._register import define, differentiable, typed
from ._views import address, check_pixels, check_views, contiguous
from .reference.blend_views import blend_views as twin
from .sample_views import sample_views

MOST_HIDDEN = 64
N_ANGLES = 7  # of inputs beside the features: a pixel, the direction under which it is seen, a cosine


def blend_views(
    maps: Tensor,
    K_maps: Tensor,
    images: Tensor,
    K: Tensor,
    cam_from_world: Tensor,
    points: Tensor,
    directions: Tensor,
    hidden: Tensor,
    feature_weight: Tensor,
    angle_weight: Tensor,
    score_weight: Tensor,
    view_weights: Tensor | None = None,
    sharpness: float = 30.0,
) -> Tensor:
    """Colour of each point: a convex combination of the pixels that the views show there, by scores of a small MLP.

    After the blending of IBRNet (Wang et al. 2021). With r_v the unit vector from a view's centre to the point, d the
    direction given for the point, f_v the sample of the view's map and p_v that of its image:

        h_v = relu(feature_weight f_v + angle_weight [p_v, r_v - d, r_v . d] + hidden)
        s_v = score_weight . h_v + sharpness (r_v . d - 1)
        colour = sum_v w_v exp(s_v) p_v / sum_v w_v exp(s_v)

    over the views that see the point (in front of the camera, inside of map and image, as in :func:`sample_views`) and
    have a positive weight w_v; 0 where there are none. ``hidden`` is what the point itself adds to the first layer, its
    bias included. Nothing of size (N, V, C) is in memory, but in the backward for the gradient of ``maps``. On other
    devices than the CPU this runs as torch's operations around :func:`sample_views`, which do hold that.

    Args:
        maps: (V, h, w, C) features, channels last, float32 or float64 (CPU), float32 (CUDA).
        K_maps: (V, 3, 3) pinhole matrices in pixels of the maps.
        images: (V, H, W, 3) photos.
        K: (V, 3, 3) pinhole matrices in pixels of the images.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        points: (N, 3) in the world.
        directions: (N, 3) unit vectors, those of the rays that meet the points.
        hidden: (N, G), G <= 64.
        feature_weight: (G, C).
        angle_weight: (G, 7).
        score_weight: (G,).
        view_weights: (N, V), not negative; None: 1.
        sharpness: how much the nearest viewing angles are favoured before anything is learnt: a lobe around the ray,
            which the scores then correct.

    Returns:
        (N, 3), differentiable (once) in ``maps``, ``hidden`` and the three weights of the layers; in nothing else.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> K, pose, x = torch.eye(3).expand(2, 3, 3), torch.eye(3, 4).repeat(2, 1, 1), torch.tensor([[0.5, 0.5, 1.0]])
    >>> maps, images = torch.zeros(2, 1, 1, 1), torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 1, 3)
    >>> pointed = torch.nn.functional.normalize(x, dim=1)
    >>> layers = torch.zeros(4, 1), torch.zeros(4, 7), torch.zeros(4)
    >>> blend_views(maps, K, images, K, pose, x, pointed, torch.zeros(1, 4), *layers)
    tensor([[0.5000, 0.5000, 0.5000]])
    """
    _check(maps, K_maps, images, K, cam_from_world, points, directions, hidden, feature_weight, angle_weight,
           score_weight, view_weights)  # fmt: skip
    if not math.isfinite(sharpness):
        raise ValueError(f"sharpness: expected a finite value, got {sharpness}")
    given = (maps, K_maps, images, K, cam_from_world, points, directions, hidden, feature_weight, angle_weight,
             score_weight, view_weights, sharpness)  # fmt: skip
    if maps.device.type != "cpu":
        return twin(*given, sample=sample_views)
    return _OP(*given)


def _check(maps: object, K_maps: object, images: object, K: object, cam_from_world: object, points: object,
           directions: object, hidden: object, feature_weight: object, angle_weight: object, score_weight: object,
           view_weights: object) -> None:  # fmt: skip
    sizes: dict[str, int] = {}
    check_tensor("maps", maps, ("V", "h", "w", "C"), dtype=FLOATS, sizes=sizes)
    like = cast(Tensor, maps)
    check_tensor("K_maps", K_maps, ("V", 3, 3), like=like, sizes=sizes)
    check_tensor("images", images, ("V", "H", "W", 3), like=like, sizes=sizes)
    check_views(K, cam_from_world, points, like, sizes)
    for shape in (like.shape, cast(Tensor, images).shape):
        check_pixels(shape[1], shape[2])
    check_tensor("directions", directions, ("N", 3), like=like, sizes=sizes)
    check_tensor("hidden", hidden, ("N", "G"), like=like, sizes=sizes)
    if sizes["G"] > MOST_HIDDEN:
        raise ValueError(f"hidden: expected at most {MOST_HIDDEN} units, got {sizes['G']}")
    check_tensor("feature_weight", feature_weight, ("G", "C"), like=like, sizes=sizes)
    check_tensor("angle_weight", angle_weight, ("G", N_ANGLES), like=like, sizes=sizes)
    check_tensor("score_weight", score_weight, ("G",), like=like, sizes=sizes)
    if view_weights is not None:
        check_tensor("view_weights", view_weights, ("N", "V"), like=like, sizes=sizes)


def _arguments(inputs: tuple[Tensor | None, ...], sharpness: float) -> tuple[tuple[Tensor | None, ...], tuple]:
    """Contiguous tensors, which must outlive the call, and what both kernels are given first."""
    inputs = contiguous(*inputs)
    maps, images, hidden = (cast(Tensor, inputs[i]) for i in (0, 2, 7))
    return inputs, (*map(address, inputs), sharpness, *maps.shape, *images.shape[1:3], *hidden.shape)


def _cpu(
    maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
    directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor, score_weight: Tensor,
    view_weights: Tensor | None, sharpness: float,
) -> Tensor:  # fmt: skip
    out = empty_cpu(points, points.shape)
    _kept, first = _arguments((maps, K_maps, images, K, cam_from_world, points, directions, hidden, feature_weight,
                               angle_weight, score_weight, view_weights), sharpness)  # fmt: skip
    typed("blend_views_forward", maps)(*first, out.data_ptr(), torch.get_num_threads())
    return out


def _no_cuda(*_args) -> Tensor:
    raise RuntimeError("uner3d::blend_views has no CUDA kernel: call uner3d.ops.blend_views, which does without")


def _fake(
    maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
    directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor, score_weight: Tensor,
    view_weights: Tensor | None, sharpness: float,
) -> Tensor:  # fmt: skip
    return points.new_empty(points.shape)


def _backward_cpu(
    grad: Tensor, maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
    directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor, score_weight: Tensor,
    view_weights: Tensor | None, sharpness: float, with_maps: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    layers = (hidden, feature_weight, angle_weight, score_weight)
    grads = tuple(empty_cpu(t, t.shape) for t in layers)
    features = empty_cpu(maps, (len(points), len(maps), maps.shape[3])) if with_maps else None
    grad = grad.contiguous()
    _kept, first = _arguments((maps, K_maps, images, K, cam_from_world, points, directions, hidden, feature_weight,
                               angle_weight, score_weight, view_weights), sharpness)  # fmt: skip
    typed("blend_views_backward", maps)(
        *first, grad.data_ptr(), address(features), *map(address, grads), torch.get_num_threads()
    )
    grad_maps = maps.new_empty(0)
    if features is not None:
        to_maps = torch.ops.uner3d.sample_views_backward.default
        grad_maps, _ = to_maps(features, maps, K_maps, cam_from_world, points, [True, False])
    return grad_maps, grads[0], grads[1], grads[2], grads[3]


def _backward_fake(
    grad: Tensor, maps: Tensor, K_maps: Tensor, images: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor,
    directions: Tensor, hidden: Tensor, feature_weight: Tensor, angle_weight: Tensor, score_weight: Tensor,
    view_weights: Tensor | None, sharpness: float, with_maps: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return (maps.new_empty(maps.shape if with_maps else (0,)), hidden.new_empty(hidden.shape),
            feature_weight.new_empty(feature_weight.shape), angle_weight.new_empty(angle_weight.shape),
            score_weight.new_empty(score_weight.shape))  # fmt: skip


_ARGS = (
    "Tensor maps, Tensor K_maps, Tensor images, Tensor K, Tensor cam_from_world, Tensor points, Tensor directions, "
    "Tensor hidden, Tensor feature_weight, Tensor angle_weight, Tensor score_weight, Tensor? view_weights, "
    "float sharpness"
)
_OP = define("blend_views", f"({_ARGS}) -> Tensor", cpu=_cpu, cuda=_no_cuda, fake=_fake)
_BACKWARD = define(
    "blend_views_backward", f"(Tensor grad, {_ARGS}, bool with_maps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_no_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.sharpness = inputs[-1]
    ctx.save_for_backward(*inputs[:-1])


def _backward(ctx, grad: Tensor):
    wanted = [ctx.needs_input_grad[i] for i in (0, 7, 8, 9, 10)]
    grads = _BACKWARD(grad, *ctx.saved_tensors, ctx.sharpness, wanted[0])
    grad_maps, *layers = (g if want else None for g, want in zip(grads, wanted, strict=True))
    return (grad_maps, *(None,) * 6, *layers, None, None)


differentiable("blend_views", setup_context=_setup_context, backward=_backward)
