"""Which surface points deserve to be exported: agreement between views, in geometry and in the photos' pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops
from uner3d.train.photos import Ranking, camera_centres

from .colour_check import colour_deviation
from .contradicted import contradicted
from .free_space import bare_pixels, contradictions, is_black, mixed_pixels
from .raster import footprint, lookup, project, raster_normals, raster_place, unproject
from .surface import SurfaceMaps

PIXEL_TOLERANCE = 1.0  # forward-backward error, in raster pixels
DEPTH_TOLERANCE = 0.01  # relative
CONFIRMED = 0.6  # correlation that confirms a point for which only one other view could be found
LEAST_MATCHING, LEAST_KEPT = 0.35, 0.2  # shares of the surface below which the poses are doubted
UNLIT = 0.2  # brightest channel of what cannot be told from a black background where it has no texture
COLOUR_VIEWS = 8  # nearest views whose colours are compared
COLOUR_TOLERANCE, GLOSS = 0.015, 3.0  # difference that noise explains, and multiples of the photo's own median
PATCH = 5  # samples along each side of an NCC patch


@dataclass
class Agreed:
    """Per view and raster pixel: points (V, h, w, 3) averaged over the agreeing views, unit frame; normals (V, h, w, 3)
    towards the camera; kept (V, h, w); n_views (V, h, w) that agree, the own one included; ncc (V, h, w) with the best
    two neighbours, NaN without texture; confidence (V, h, w) in [0, 1]; owner (V, h, w): no other view holds
    the same piece of surface with better evidence."""

    points: Tensor
    normals: Tensor
    kept: Tensor
    n_views: Tensor
    ncc: Tensor
    confidence: Tensor
    owner: Tensor


@torch.no_grad()
def agree(maps: SurfaceMaps, photos, ranking: Ranking, background: Tensor | None = None,
          n_neighbours: int = 10) -> Agreed:  # fmt: skip
    """Check every surface point against its neighbours' surfaces and photos.

    A point is kept where at least min(3, V - 1) views (its own included, and another where there is one) carry it forth
    and back within a pixel and 1 % of depth, or two whose photos correlate well, and more of them than see through it;
    unless others contradict it with better evidence (contradicted.py).
    Depths of one field agree with themselves easily, so the photos have a say: where the patches around the point have
    texture, they must correlate, and where one shows the bare ``background`` (3,), nothing else can be. Of a black one,
    all that is nearly black and hangs together with it, or has no texture (the cloth an object stands on), is a part.
    """
    n_views, height, width = maps.depth.shape
    needed = min(3, max(n_views - 1, min(n_views, 2)))
    shape = (n_views, height, width)
    no, none = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    out = Agreed(torch.zeros(*shape, 3), torch.zeros(*shape, 3), no.clone(), torch.zeros(shape, dtype=torch.uint8),
                 none.clone(), none.clone(), no.clone())  # fmt: skip
    for view in range(n_views):
        near = ranking[view][:n_neighbours]
        x = maps.points(view)
        if maps.normals is not None:
            normals = maps.normals[view]
        else:
            normals = raster_normals(x, maps.depth[view], maps.cam_from_unit[view])
        index = (maps.depth[view].view(-1) > 0).nonzero()[:, 0]
        if len(index) == 0:
            continue
        points, flat_normals = x.view(-1, 3)[index], normals.view(-1, 3)[index]
        count, conflicts, mean = _geometry(maps, view, near, points)
        ncc = patch_agreement(photos, view, near[:4], points, flat_normals, footprint(maps, view)[index] / maps.stride)
        textured = ~ncc.isnan()
        met = (count >= needed) | ((count == 2) & (ncc > CONFIRMED))
        kept = met & (conflicts < count) & ~(textured & (ncc < 0.2))
        pixel = _photo_pixel(maps, index)
        deviation = colour_deviation(photos, view, near[:COLOUR_VIEWS], mean, *pixel, maps)
        if kept.any():  # gloss makes all of a photo deviate a little, and its outlines no less
            kept &= deviation <= COLOUR_TOLERANCE + GLOSS * deviation[kept].median()
        if background is not None and photos.masks is None and is_black(background):
            kept &= ~unlit(photos, view, maps, index) | (textured & (ncc > 0.7))
        score = count / (count + conflicts + 1.0) * torch.where(textured, 0.5 + 0.5 * ncc, torch.full_like(ncc, 0.6))
        if maps.certainty is not None and n_views == 1:  # nothing else tells how sure a single photo's depths are
            score = maps.certainty[view].view(-1)[index]
        for target, value in ((out.points, mean), (out.normals, flat_normals), (out.kept, kept),
                              (out.n_views, count.clamp(max=255).to(torch.uint8)), (out.ncc, ncc),
                              (out.confidence, score.clamp(0, 1))):  # fmt: skip
            target[view].view(height * width, *target.shape[3:])[index] = value
    nearest = [row[:n_neighbours] for row in ranking]
    for view, rows in enumerate(contradicted(maps, out, nearest)):
        out.kept[view].view(-1)[rows] = False
    if background is not None and photos.masks is None:
        _carve_free_space(maps, out, photos, background)
    _assign_owners(maps, out, nearest)
    matching, confirmed = agreement_shares(maps, out)
    if matching < LEAST_MATCHING or confirmed < LEAST_KEPT:
        out.confidence *= min(matching, confirmed)  # a whole that is in doubt makes none of its points credible
    return out


def _carve_free_space(maps: SurfaceMaps, agreed: Agreed, photos, background: Tensor) -> None:
    """Drop points that would hide a background which a photo shows, and what an unlit surface in front of a black one
    took from there (a window of matching that reaches across a silhouette finds the object beside it)."""
    bare = bare_pixels(photos, background)
    for view in range(len(maps.depth)):
        index = agreed.kept[view].view(-1).nonzero()[:, 0]
        pixel = (view, *_photo_pixel(maps, index))
        points = agreed.points[view].view(-1, 3)[index]
        free = contradictions(points, photos.images[pixel].float() / 255, maps, photos, bare, background) > 0
        if is_black(background):
            free |= bare[pixel]
        agreed.kept[view].view(-1)[index] = ~free
        agreed.kept[view] &= ~mixed_pixels(agreed.kept[view], bare[view], maps.stride)


def _photo_pixel(maps: SurfaceMaps, index: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (N,), (N,) in the photo of raster pixels, which are counted row by row."""
    width, half = maps.depth.shape[2], maps.stride // 2
    return index // width * maps.stride + half, index % width * maps.stride + half


def unlit(photos, view: int, maps: SurfaceMaps, index: Tensor) -> Tensor:
    """Whether the photo is nearly black at raster pixels ``index`` (N,), counted row by row."""
    return photos.images[(view, *_photo_pixel(maps, index))].amax(-1) < 255 * UNLIT


def _assign_owners(maps: SurfaceMaps, agreed: Agreed, ranking: Ranking) -> None:
    """Give each piece of surface to the view with the best evidence for it, so that it is sampled once and the views'
    slightly different versions do not lie on top of each other."""
    pose = maps.cam_from_unit
    towards = F.normalize(camera_centres(pose)[:, None, None] - agreed.points, dim=-1)
    cosine = (towards * agreed.normals).sum(-1).clamp_min(0)
    score = agreed.confidence * agreed.n_views * cosine * agreed.kept
    # Smoothed, so that ownership comes in patches and not in single pixels.
    score = F.avg_pool2d(score[:, None], 7, stride=1, padding=3)[:, 0]
    height, width = maps.depth.shape[1:]
    for view in range(maps.depth.shape[0]):
        index = agreed.kept[view].view(-1).nonzero()[:, 0]
        points = agreed.points[view].view(-1, 3)[index]
        own = score[view].view(-1)[index]
        best = torch.zeros_like(own)
        for other in ranking[view].tolist():
            pixel, depth = project(maps.K[other], pose[other], points)
            row, column, inside = raster_place(pixel, height, width)
            same = inside & (depth > 0) & agreed.kept[other][row, column]
            same &= (maps.depth[other][row, column] / depth - 1).abs() < 1.5 * DEPTH_TOLERANCE
            rival = score[other][row, column] * (1.0 + 1e-4 * (other < view))  # equal evidence: the earlier view
            best = torch.maximum(best, torch.where(same, rival, torch.zeros_like(rival)))
        agreed.owner[view].view(-1)[index] = own >= best


def agreement_shares(maps: SurfaceMaps, agreed: Agreed) -> tuple[float, float]:
    """Share of the textured surface that looks alike in neighbouring photos, and share of the surface that enough views
    confirm; (1, 1) where there is too little texture to tell."""
    surface = maps.depth > 0
    textured = surface & (agreed.ncc != 0) & ~agreed.ncc.isnan()
    if int(textured.sum()) < 100:
        return 1.0, 1.0
    return float((agreed.ncc[textured] > 0.5).float().mean()), float(agreed.kept[surface].float().mean())


def disagreement_warning(maps: SurfaceMaps, agreed: Agreed) -> str | None:
    """A sentence where the photos contradict the surface: wrong poses, mostly; None where all is well."""
    if not (maps.depth > 0).any():
        return "the views do not agree on any surface; check the camera poses"
    matching, kept = agreement_shares(maps, agreed)
    if matching >= LEAST_MATCHING and kept >= LEAST_KEPT:
        return None
    return (
        f"the views do not agree: only {matching:.0%} of the textured surface looks alike in neighbouring photos and "
        f"{kept:.0%} of it is confirmed by enough views; check the camera poses. The points carry low confidence"
    )


def few_photos_warning(n_views: int) -> str | None:
    """A sentence on what one or two photos cannot tell; None where a third can check what two agree on."""
    if n_views == 1:
        return "1 photo: its depths are predicted, nothing measures them, and what it does not show is missing"
    if n_views == 2:
        return ("2 photos: the cloud holds what both show; no third one checks what they agree on, so that repeated or "
                "glossy texture may lie at a wrong depth, and what one of them hides is missing")  # fmt: skip
    return None


def _geometry(maps: SurfaceMaps, view: int, near: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number of agreeing views (own included), number of views that see through, and the mean point."""
    pose = maps.cam_from_unit
    pixel, z = project(maps.K[view], pose[view], points)
    count, conflicts = torch.ones(len(points)), torch.zeros(len(points))
    total = points.clone()
    for other in near.tolist():
        there, depth = project(maps.K[other], pose[other], points)
        seen, valid = lookup(maps.depth[other], there)
        valid &= depth > 0
        y = unproject(maps.K[other], pose[other], there, seen)
        back, back_z = project(maps.K[view], pose[view], y)
        close = (back - pixel).norm(dim=-1) < PIXEL_TOLERANCE
        close &= valid & ((back_z - z).abs() < DEPTH_TOLERANCE * z)
        count += close
        conflicts += valid & (seen > depth * (1 + 3 * DEPTH_TOLERANCE))
        total += torch.where(close[:, None], y, torch.zeros_like(y))
    return count, conflicts, total / count[:, None]


@torch.no_grad()
def patch_agreement(photos, view: int, near: Tensor, points: Tensor, normals: Tensor, pixel_size: Tensor) -> Tensor:
    """Normalised cross-correlation (N,) of tangent-plane patches between the view and its neighbours: mean of the best
    two; NaN where the own patch has no texture. ``pixel_size`` (N,): width of a photo pixel at the point."""
    helper = torch.where(normals[:, :1].abs() < 0.9, torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]]))
    u = F.normalize(torch.linalg.cross(normals, helper.expand_as(normals)), dim=-1)
    v = torch.linalg.cross(normals, u)
    offsets = torch.arange(PATCH) - PATCH // 2
    dy, dx = torch.meshgrid(offsets, offsets, indexing="ij")
    dx, dy = dx.reshape(1, -1, 1), dy.reshape(1, -1, 1)
    views = torch.cat([torch.tensor([view]), near])
    grey = (photos.images[views].float().mean(-1, keepdim=True) / 255).contiguous()
    result = torch.empty(len(points))
    for chunk in torch.arange(len(points)).split(20000):
        size = pixel_size[chunk, None, None]
        x = points[chunk, None] + size * (dx * u[chunk, None] + dy * v[chunk, None])
        values, valid = ops.sample_views(grey, photos.K[views], photos.cam_from_unit[views], x.reshape(-1, 3))
        values = values.view(len(chunk), PATCH * PATCH, -1)
        seen = valid.view(len(chunk), PATCH * PATCH, -1).all(1)
        centred = values - values.mean(1, keepdim=True)
        spread = centred.square().mean(1)
        cross = (centred * centred[..., :1]).mean(1)
        # A grey-level noise of 1/255 in the denominator keeps flat patches from correlating by chance.
        ncc = cross / ((spread + 1.5e-5) * (spread[:, :1] + 1.5e-5)).sqrt()
        ncc = torch.where(seen, ncc, torch.full_like(ncc, -1.0))[:, 1:]
        best = ncc.topk(min(2, ncc.shape[1]), dim=1).values.mean(1)
        result[chunk] = torch.where(spread[:, 0] > 4e-4, best, torch.full_like(best, float("nan")))
    return result
