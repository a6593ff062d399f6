"""Quality of `uner3d reconstruct` on scenes with exact truth: scenes x presets x seeds, resumable.

python -m benchmarks.bench_reconstruction SCENE [SCENE ...] [--preset base] [--seed 0] [--minutes 10] [--masks auto]
    [--downscale 1] [--weights none] [--settings NAME=VALUE ...] [--out out/reconstruction] [--resume]

Every run is the whole command in a process of its own. OUT gets a folder a run, results.json, table.md and, for each
run, a picture of held-out photos beside the cloud as drawn there and its distance from the truth (blue: on it, red:
five pixel footprints off); reliability.png shows what confidence is worth. Finished runs are kept with --resume, so
that a table can grow. Scores are those of `uner3d eval`, which agree with the independent scorers of the shared data.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._child import run_module
from benchmarks._timing import environment, write_json
from uner3d.cloud.reliability import RIGHT_PX

COLUMNS = ["scene", "preset", "settings", "masks", "seed", "minutes", "downscale", "steps", "points", "acc", "comp",
           "cd", "f1", "f2", "out_all", "col", "cloud_psnr", "psnr", "calibration", "seconds",
           "memory_mb"]  # fmt: skip
PICTURES = 3  # held-out views drawn
FAR_PX = 5.0


def run_name(scene: Path, preset: str, seed: int, args: argparse.Namespace) -> str:
    name = f"{scene.name}-{preset}-masks_{args.masks}-{args.minutes:g}min-down{args.downscale:g}-seed{seed}"
    return "-".join([name, *changes(args)])


def changes(args: argparse.Namespace) -> list[str]:
    """What is other than the preset has it, as name=value; of a file of weights its name alone."""
    return [*([f"weights={Path(args.weights).name}"] if args.weights else []), *args.settings]


def reconstruct(scene: Path, out: Path, preset: str, seed: int, args: argparse.Namespace) -> None:
    """The command, in a process of its own; raises RuntimeError with its words where it fails."""
    command = ["reconstruct", str(scene.resolve()), "-o", str(out.resolve()), "--preset", preset, "--seed", str(seed),
               "--minutes", str(args.minutes), "--masks", args.masks, "--downscale", str(args.downscale),
               "--overwrite", "--quiet"]  # fmt: skip
    if args.weights:
        named = args.weights in ("none", "default")
        command += ["--weights", args.weights if named else str(Path(args.weights).resolve())]
    if args.settings:
        command += ["--settings", *args.settings]
    done = run_module("uner3d.cli", *command)
    if done.returncode:
        raise RuntimeError(f"uner3d {' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")


def measure(scene: Path, out: Path) -> dict[str, Any]:
    """Scores of what a run wrote, and its own account of itself."""
    from uner3d.cloud.ply import read_ply
    from uner3d.cloud.reliability import reliability
    from uner3d.evaluate import evaluate

    metrics = json.loads((out / "metrics.json").read_text())
    row: dict[str, Any] = {"steps": sum(metrics["settings"]["steps"]), "points": metrics["points"],
                           "psnr": metrics["psnr"], "seconds": metrics["seconds_total"],
                           "memory_mb": metrics["peak_memory_mb"], "stages": metrics["seconds"]}  # fmt: skip
    if metrics["points"]:
        row |= evaluate(out / "cloud.ply", scene, "chamfer")
        row["cloud_psnr"] = evaluate(out / "cloud.ply", scene, "cloud-images")["psnr"]
        bins = reliability(read_ply(out / "cloud.ply"), scene)
        row["calibration"] = bins.error
        row["reliability"] = {name: [None if np.isnan(x) else x for x in getattr(bins, name).tolist()]
                              for name in ("count", "stated", "measured")}  # fmt: skip
    return row


def reliability_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Stated confidence against the share of points within RIGHT_PX, a line a run, as PNG."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(5, 5))).subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for row in rows:
        bins = row.get("reliability")
        if bins:
            stated, measured = (np.array(bins[name], float) for name in ("stated", "measured"))
            axes.plot(stated, measured, marker="o", markersize=3, label=row["run"])
    axes.set(xlabel="confidence", ylabel=f"share of points within {RIGHT_PX:g} px", xlim=(0, 1), ylim=(0, 1))
    if len(axes.lines) > 1:
        axes.legend(fontsize=5)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def picture(scene: Path, out: Path) -> NDArray[np.uint8]:
    """Held-out photos, the cloud drawn there, and its points coloured by their distance from the true surface."""
    import matplotlib

    from uner3d.cloud.image_metrics import draw_points
    from uner3d.cloud.metrics import load_truth
    from uner3d.cloud.ply import read_ply
    from uner3d.data import load_scene

    truth, cloud = load_truth(scene), read_ply(out / "cloud.ply")
    far = np.clip(distances(cloud.xyz, truth) / (FAR_PX * truth.footprint), 0, 1)
    colours = (matplotlib.colormaps["turbo"](far)[:, :3] * 255).astype(np.uint8)
    rows = []
    for view in load_scene(scene).test_views[:PICTURES]:
        drawn = [draw_points(cloud.xyz, rgb, view, truth.footprint)[0] for rgb in (cloud.rgb, colours)]
        rows.append(np.concatenate([view.image() / 255, *drawn], 1))
    return (np.concatenate(rows) * 255 + 0.5).astype(np.uint8)


def distances(xyz: NDArray, truth: Any) -> NDArray[np.float64]:
    """From points (n, 3) to the nearest true point, scene units."""
    from scipy.spatial import cKDTree

    return cKDTree(truth.points).query(xyz, workers=-1)[0]


def table(rows: list[dict[str, Any]], columns: list[str] | None = None) -> str:
    """Rows as markdown; the columns of this benchmark have, where there are several rows, the means of what is a
    figure."""
    means_too, columns = columns is None, columns or COLUMNS
    shown = [[_cell(row.get(name)) for name in columns] for row in rows]
    if means_too and len(rows) > 1:
        scores = ("acc", "comp", "cd", "f1", "f2", "out_all", "col", "cloud_psnr", "psnr")
        means = {name: float(np.mean([row[name] for row in rows if row.get(name) is not None] or [np.nan]))
                 for name in scores}  # fmt: skip
        shown.append(["**mean**", *(_cell(means.get(name)) for name in columns[1:])])
    lines = ["| " + " | ".join(cells) + " |" for cells in [columns, ["---"] * len(columns), *shown]]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, (int, float)):
        return f"{int(value):,}"
    return "" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path, help="scene folders with exact truth")
    parser.add_argument("--preset", nargs="+", default=["base"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--masks", choices=["auto", "off"], default="auto")
    parser.add_argument("--downscale", type=float, default=1.0)
    parser.add_argument("--weights", help="the start of the fit, as the command has it")
    parser.add_argument("--settings", nargs="*", default=[], help="other settings of the fit, as name=value")
    parser.add_argument("--out", type=Path, default=Path("out/reconstruction"))
    parser.add_argument("--resume", action="store_true", help="keep the runs that OUT already holds")
    args = parser.parse_args()
    record, saved = args.out / "results.json", {}
    if args.resume and record.is_file():
        saved = {row["run"]: row for row in json.loads(record.read_text())["runs"]}
    for scene, preset, seed in itertools.product(args.scenes, args.preset, args.seed):
        name = run_name(scene, preset, seed, args)
        if name in saved:
            continue
        saved[name] = one_run(scene, name, preset, seed, args)
        write_json(record, {"environment": environment(), "runs": list(saved.values())})
        (args.out / "table.md").write_text(table(list(saved.values())))
        reliability_plot(list(saved.values()), args.out / "reliability.png")
        print(table([saved[name]]), flush=True)


def one_run(scene: Path, name: str, preset: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a run that is made now, in the folder ``name`` of OUT, with its picture."""
    from PIL import Image

    out = args.out / name
    reconstruct(scene, out, preset, seed, args)
    row = {"run": name, "scene": scene.name, "preset": preset, "seed": seed, "masks": args.masks,
           "settings": " ".join(changes(args)), "minutes": args.minutes, "downscale": args.downscale,
           "commit": environment()["commit"]}  # fmt: skip
    row |= measure(scene, out)
    if row["points"]:
        Image.fromarray(picture(scene, out)).save(args.out / f"{name}.png")
    return row


if __name__ == "__main__":
    main()
