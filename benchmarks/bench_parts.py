"""What parts of the pipeline make alone, and one field at other densities: from finished runs of scenes with truth.

python -m benchmarks.bench_parts RUN [RUN ...] [--parts matching rays densities] [--points N ...] [--out out/parts]

RUN is what `uner3d reconstruct` wrote (benchmarks.bench_reconstruction writes such folders). Every cloud is made and
scored in this process; OUT gets results.json and table.md.

matching   the photos matched from random planes at full resolution and fused by the rules of the cloud, no field
rays       what an exporter of a radiance field does: random rays of the training photos end where their transmittance
           falls through one half, as many as our cloud has points; statistical outliers are removed (Open3D)
densities  the cloud with 20,000, 500,000 and 5,000,000 points (--points N ... for others)

spread is the standard deviation of the distances between nearest neighbours over their mean; seconds are those that a
part took from the finished fit on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._timing import environment, write_json
from benchmarks.bench_reconstruction import table
from uner3d import api, ops
from uner3d.cloud.agree import agree
from uner3d.cloud.generate import write_cloud
from uner3d.cloud.metrics import chamfer_metrics
from uner3d.cloud.ply import Cloud, read_ply
from uner3d.cloud.surface import SurfaceMaps, first_crossing
from uner3d.render.renderer import pixel_rays
from uner3d.train.checkpoint import load_scene_record
from uner3d.train.fit import flush_denormals
from uner3d.train.prior import THOROUGH, match_photos
from uner3d.train.world import is_small

COLUMNS = ["scene", "masks", "part", "points", "acc", "comp", "cd", "f2", "out", "out_all", "col", "spread", "seconds"]
DENSITIES = (20_000, 500_000, 5_000_000)
NEIGHBOURS, DEVIATIONS = 20, 2.0  # of the removal of statistical outliers; exporters use 10 deviations by default
CHUNK = 4096  # rays at a time


def spread(xyz: NDArray) -> float:
    """Coefficient of variation of the distances (n,) from points (n, 3) to the nearest other."""
    x = torch.from_numpy(np.ascontiguousarray(xyz - xyz.mean(0), np.float32))
    nearest = ops.knn(x, x, 2)[0][:, 1].sqrt()  # the nearest is the point itself
    return float(nearest.std() / nearest.mean())


def matched_alone(fitted: api.Fitted, path: Path) -> Cloud:
    """The cloud of depths that patch matching finds without a field."""
    host = fitted.host
    photos = host.photos[1]
    found = match_photos(photos, 1, host.ranking, host.extent, host.background, fitted.config.seed,
                         *(THOROUGH if is_small(host) else ()))  # fmt: skip
    maps = SurfaceMaps(found.depth, photos.K, photos.cam_from_unit, 1)
    write_cloud(path, maps, agree(maps, photos, host.ranking, host.background), photos, host.ranking, fitted.frame)
    return read_ply(path)


@torch.no_grad()
def random_rays(fitted: api.Fitted, n_points: int) -> Cloud:
    """About ``n_points`` points where random rays of the training photos meet the field's surface, inside the box,
    with the photos' colours, without statistical outliers."""
    photos, grid, config = fitted.photos, fitted.grid, fitted.config
    generator = torch.Generator().manual_seed(config.seed)
    height, width = photos.size
    found: list[tuple[NDArray, NDArray]] = []
    total = 0
    while total < n_points:
        for view in range(len(photos)):
            sources = fitted.model.encode_views(photos, fitted.world.conditioning[view][: config.sources])
            draw = torch.rand(CHUNK, 2, generator=generator)
            column, row = (draw * torch.tensor([width, height])).long().unbind(1)
            pixels = torch.stack([column, row], 1) + 0.5
            origins, directions = pixel_rays(photos.K[view], photos.cam_from_unit[view], pixels)
            depth = first_crossing(fitted.model.field, sources, grid, origins, directions, config.samples,
                                   float(config.octaves))  # fmt: skip
            x = origins + depth[:, None] * directions
            kept = (depth > 0) & (x.abs() <= fitted.world.extent).all(1)
            found.append((fitted.frame.to_world(x[kept].numpy()), photos.images[view][row, column][kept].numpy()))
            total += int(kept.sum())
        if total == 0:
            raise ValueError(f"{fitted.run}: expected a field with a surface, found none along {CHUNK} rays a view")
    xyz, rgb = (np.concatenate(parts) for parts in zip(*found, strict=True))
    chosen = torch.randperm(len(xyz), generator=generator)[:n_points].numpy()
    return without_outliers(Cloud(xyz[chosen], rgb=rgb[chosen]))


def without_outliers(cloud: Cloud) -> Cloud:
    """The cloud without its statistical outliers, as Open3D finds them."""
    import open3d

    points = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.xyz.astype(np.float64)))
    _, kept = points.remove_statistical_outlier(NEIGHBOURS, DEVIATIONS)
    return cloud[np.asarray(kept)]


def scored(scene: Path, part: str, cloud: Cloud, seconds: float | None, masks: str) -> dict[str, Any]:
    """The row of a cloud."""
    return {"scene": scene.name, "masks": masks, "part": part} | chamfer_metrics(cloud, scene) | {
        "spread": spread(cloud.xyz), "seconds": seconds and round(seconds, 1)}  # fmt: skip


def measure(run: Path, parts: list[str], points: list[int], out: Path) -> list[dict[str, Any]]:
    """The rows of a run: its own cloud, and what was asked for."""
    folder = run / "run" if (run / "run").is_dir() else run
    fitted = api.load_fitted(folder, device="cpu")
    scene = Path(load_scene_record(folder)["path"])
    own = read_ply(folder.parent / "cloud.ply")
    rows = [scored(scene, "cloud", own, None, fitted.config.masks)]

    def add(part: str, make: Callable[[], Cloud]) -> None:
        begin = time.monotonic()
        cloud = make()
        rows.append(scored(scene, part, cloud, time.monotonic() - begin, fitted.config.masks))

    if "matching" in parts:
        add("matching", lambda: matched_alone(fitted, out / "matching.ply"))
    if "rays" in parts:
        add("rays", lambda: random_rays(fitted, len(own)))
    for n in points:
        add(f"{n:,} points", partial(api.generate, fitted, points=n))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `uner3d reconstruct`")
    parser.add_argument("--parts", nargs="*", choices=["matching", "rays", "densities"],
                        default=["matching", "rays", "densities"])  # fmt: skip
    parser.add_argument("--points", nargs="*", type=int, default=[], help="clouds of so many points besides")
    parser.add_argument("--out", type=Path, default=Path("out/parts"))
    args = parser.parse_args()
    flush_denormals()
    args.out.mkdir(parents=True, exist_ok=True)
    points = [*(DENSITIES if "densities" in args.parts else ()), *args.points]
    rows: list[dict[str, Any]] = []
    for run in args.runs:
        found = measure(run, args.parts, points, args.out)
        rows += found
        write_json(args.out / "results.json", {"environment": environment(), "rows": rows})
        (args.out / "table.md").write_text(table(rows, COLUMNS))
        print(table(found, COLUMNS), flush=True)


if __name__ == "__main__":
    main()
