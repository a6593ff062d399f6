"""Scenes that no training has seen, predicted without a fit from 1, 2, 3 and 8 of their photos.

``python -m benchmarks.bench_feed_forward SCENES... [--weights default] [--views 1 2 3 8] [--out out/feed_forward]``
writes results.json and table.md: held-out PSNR beside that of an image which has the mean colour of the photo itself
everywhere, the cloud's distance from the truth in pixel footprints, seconds from photos to cloud; and pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uner3d import api
from uner3d.cloud.generate import EmptyCloud
from uner3d.cloud.metrics import chamfer_metrics
from uner3d.cloud.ply_read import read_ply
from uner3d.data import load_scene
from uner3d.files import digest
from uner3d.held_out import evaluate_images
from uner3d.info import git_commit
from uner3d.train.checkpoint import write_json
from uner3d.train.fit import flush_denormals
from uner3d.train.weights import weights_path


def spread_order(centres: NDArray[np.float64]) -> list[int]:
    """Numbers of cameras (V, 3) so that each is the farthest from those before it: any first few cover the scene."""
    order = [0]
    while len(order) < len(centres):
        distance = np.linalg.norm(centres[:, None] - centres[order], axis=-1).min(1)
        order.append(int(distance.argmax()))
    return order


def mean_colour_psnr(photo: NDArray[np.uint8]) -> float:
    """PSNR of the best image of one colour: what knowing nothing but the mean is worth."""
    values = photo.astype(np.float64).reshape(-1, 3) / 255
    return float(-10 * np.log10(values.var(0).mean()))


def run_one(folder: Path, n_views: int, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Predict one scene from its ``n_views`` most spread photos, and its row."""
    scene = load_scene(folder, downscale=args.downscale, holdout=args.holdout)
    if n_views > len(scene.views):
        raise SystemExit(f"{folder}: expected at least {n_views} photos to predict from, got {len(scene.views)}")
    chosen = spread_order(np.stack([view.camera.center for view in scene.views]))[:n_views]
    scene = replace(scene, views=[scene.views[k] for k in chosen], chosen=chosen)
    begin = time.monotonic()
    fitted = api.predict(scene, args.weights, run=out / "run", encoder=args.encoder, downscale=args.downscale,
                         holdout=args.holdout)  # fmt: skip
    try:
        n_points = api.write_to(fitted, out / "cloud.ply").n_points
    except EmptyCloud:
        n_points = 0
    seconds = time.monotonic() - begin
    held = evaluate_images(fitted, scene.test_views)
    masked = [h.psnr_mask for h in held if h.psnr_mask is not None]
    row = {"scene": f"{folder.parent.name}/{folder.name}", "views": n_views, "points": n_points,
           "psnr": float(np.mean([h.psnr for h in held])), "psnr_mask": float(np.mean(masked)) if masked else None,
           "mean_colour": float(np.mean([mean_colour_psnr(h.photo) for h in held])), "seconds": round(seconds, 1),
           "commit": git_commit()}  # fmt: skip
    Image.fromarray(np.concatenate([np.concatenate([h.photo, (h.rendering * 255 + 0.5).astype(np.uint8)], 1)
                                    for h in held[:3]], 0)).save(out / "held_out.png")  # fmt: skip
    if n_points and (folder / "gt_mesh.ply").is_file():
        try:
            scores = chamfer_metrics(read_ply(out / "cloud.ply"), folder)
        except ValueError:  # no point of it lies on the object
            return row | {"points": 0}
        row |= {name: float(scores[name]) for name in ("acc", "comp", "cd", "f2", "out_all")}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the scenes, a line for each number of views; an empty cloud is missing from ``clouds`` alone."""
    names = ("psnr", "mean_colour", "acc", "comp", "cd", "f2", "seconds")
    lines = ["| views | scenes | clouds | " + " | ".join(names) + " |", "| --- " * (len(names) + 3) + "|"]
    for n_views in sorted({row["views"] for row in rows}):
        some = [row for row in rows if row["views"] == n_views]
        cells = [np.mean([row[name] for row in some if row.get(name) is not None] or [np.nan]) for name in names]
        clouds = sum(row["points"] > 0 for row in some)
        lines.append(f"| {n_views} | {len(some)} | {clouds} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all scenes and numbers of views that OUT does not hold yet."""
    flush_denormals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--encoder", default="cnn", choices=["cnn", "resnet34"])
    parser.add_argument("--views", nargs="+", type=int, default=[1, 2, 3, 8])
    parser.add_argument("--downscale", type=float, default=1.0)
    parser.add_argument("--holdout", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/feed_forward"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "results.json"
    about = {"weights": digest(weights_path(args.weights)), "encoder": args.encoder, "downscale": args.downscale,
             "holdout": args.holdout}  # fmt: skip
    earlier = json.loads(path.read_text()) if path.is_file() else {"about": about, "rows": []}
    if earlier["about"] != about:
        raise SystemExit(f"{path}: holds results of {earlier['about']}, not of {about}: choose another --out")
    rows: list[dict[str, Any]] = earlier["rows"]
    done = {(row["scene"], row["views"]) for row in rows}
    for folder in args.scenes:
        for n_views in args.views:
            if (f"{folder.parent.name}/{folder.name}", n_views) in done:
                continue
            out = args.out / f"{folder.name}-{n_views}"
            out.mkdir(exist_ok=True)
            row = run_one(folder, n_views, out, args)
            rows.append(row)
            write_json(path, {"about": about, "rows": rows})
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    (args.out / "table.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
