"""Each idea off in turn: what it is worth at small size, beside the noise of the seed.

python -m benchmarks.bench_ablation SCENE [SCENE ...] [--minutes 3] [--downscale 2] [--masks off] [--seeds 0 1 2]
    [--only IDEA ...] [--out out/ablation] [--resume]

Ideas of the fit are whole runs of the command with one setting changed, of the first seed; ideas of the extraction are
taken out of the run that has all, whose surface maps are fused again. "all" runs with every seed. OUT gets what
benchmarks.bench_reconstruction writes, and ablation.md: the scores, and the change of cd where the idea is missing.
Without the first matching there is nothing that could hide a point; without the half resolution first the learning rate
falls from the start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks._timing import environment, write_json
from benchmarks.bench_reconstruction import one_run, run_name, table
from uner3d import api
from uner3d.cloud import agree as agreement
from uner3d.cloud import generate
from uner3d.cloud.metrics import chamfer_metrics
from uner3d.cloud.ply import read_ply

ALL = "all"
FIT = {
    ALL: [],
    "first matching": ["prior_loss=0"],
    "final matching": ["refine=0"],
    "any matching": ["prior_loss=0", "refine=0"],
    "geometric loss": ["geometric_loss=0"],
    "rendering from points (IDW)": ["idw_loss=0"],
    "distortion loss": ["distortion_loss=0"],
    "structure in the loss (DSSIM)": ["dssim_loss=0"],
    "encoder that stops learning": ["encoder_until=1"],
    "half resolution first": ["coarse_share=0"],
    "octaves that open": ["open_octaves=0"],
    "weights of the package": ["weights=none"],
    "views that do not count where something hides the point": ["visibility=false"],
    "voxels of the scene": ["voxel_rate=0"],
}
COLUMNS = ["scene", "without", "seed", "steps", "acc", "comp", "cd", "change", "f2", "out_all", "col", "psnr"]


@contextlib.contextmanager
def own_points() -> Iterator[None]:
    """Points where their own view has them, not averaged over those that agree."""
    geometry = agreement._geometry

    def own(maps: Any, view: int, near: Any, points: Any) -> Any:
        count, conflicts, _ = geometry(maps, view, near, points)
        return count, conflicts, points

    with patch.object(agreement, "_geometry", own):
        yield


def all_own(maps: Any, agreed: Any, ranking: Any) -> None:
    """Every view keeps its version of a piece of surface."""
    agreed.owner |= agreed.kept


def none_contradicted(maps: Any, agreed: Any, ranking: Any) -> list[torch.Tensor]:
    """No rows of any view."""
    return [torch.zeros(0, dtype=torch.long)] * len(maps.depth)


EXTRACTION: dict[str, Callable[[], Any]] = {
    "nothing (fused again)": contextlib.nullcontext,  # has to change nothing
    "averaging over the views": own_points,
    "contradiction by better evidence": lambda: patch.object(agreement, "contradicted", none_contradicted),
    "colours as a witness": lambda: patch.object(agreement, "COLOUR_TOLERANCE", float("inf")),
    "free space before a background": lambda: patch.object(agreement, "_carve_free_space", lambda *_: None),
    "one owner of a piece of surface": lambda: patch.object(agreement, "_assign_owners", all_own),
    "colours of several photos": lambda: patch.object(generate, "COLOUR_SOURCES", 1),
}


def fused_again(scene: Path, run: Path, idea: str) -> dict[str, Any]:
    """Scores of a run's surface maps, fused without one idea."""
    fitted = api.load_fitted(run / "run", device="cpu")
    host = fitted.host
    maps, before = api.surfaces(fitted)
    maps.normals = before.normals  # those of matching; the file of a run has them there alone
    path = run / "without.ply"
    with EXTRACTION[idea]():
        agreed = agreement.agree(maps, host.photos[1], host.ranking, host.background)
        generate.write_cloud(path, maps, agreed, host.photos[1], host.ranking, fitted.frame)
    return chamfer_metrics(read_ply(path), scene)


def variants(seeds: list[int], only: list[str] | None) -> list[tuple[str, int]]:
    """Ideas to leave out with their seeds; that which has all comes first."""
    ideas = [(ALL, seed) for seed in seeds] + [(idea, seeds[0]) for idea in [*FIT, *EXTRACTION] if idea != ALL]
    return [(idea, seed) for idea, seed in ideas if idea == ALL or not only or idea in only]


def measure(scene: Path, idea: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a scene without an idea."""
    changed = FIT.get(idea, [])
    weights = next((text.partition("=")[2] for text in changed if text.startswith("weights=")), None)
    settings = [text for text in changed if not text.startswith("weights=")]
    changed_args = argparse.Namespace(**vars(args) | {"weights": weights, "settings": settings})
    name = run_name(scene, "base", seed, changed_args)
    if idea in EXTRACTION:
        scores = fused_again(scene, args.out / name, idea)
        row = {"scene": scene.name, "seed": seed, "commit": environment()["commit"]} | scores
    else:
        row = one_run(scene, name, "base", seed, changed_args)
    return row | {"without": idea, "key": key(scene, idea, seed, args)}


def key(scene: Path, idea: str, seed: int, args: argparse.Namespace) -> str:
    """What makes a row another one: the run it comes from, and what was left out of it."""
    return f"{run_name(scene, 'base', seed, args)} without {idea}"


def ablation_table(rows: list[dict[str, Any]], seed: int) -> str:
    """Rows as markdown, each with its change of cd from the one of its scene that has all, with the same ``seed``."""
    whole = {row["scene"]: row.get("cd") for row in rows if row["without"] == ALL and row["seed"] == seed}
    for row in rows:
        before, now = whole.get(row["scene"]), row.get("cd")
        row["change"] = now / before - 1 if before and now is not None else None
    shown = [row | {"change": "" if row["change"] is None else f"{row['change']:+.1%}"} for row in rows]
    return table(sorted(shown, key=lambda row: row["scene"]), COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--downscale", type=float, default=2.0)
    parser.add_argument("--masks", choices=["auto", "off"], default="off")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", choices=[idea for idea in [*FIT, *EXTRACTION] if idea != ALL])
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--resume", action="store_true", help="keep the rows that OUT already holds")
    args = parser.parse_args()
    record = args.out / "ablation.json"
    rows: list[dict[str, Any]] = json.loads(record.read_text())["rows"] if args.resume and record.is_file() else []
    args.weights, args.settings = None, []
    asked = {key(scene, idea, seed, args) for idea, seed in variants(args.seeds, None) for scene in args.scenes}
    rows = [row for row in rows if row["key"] in asked]  # of the same size, budget and masks
    done = {row["key"] for row in rows}
    for idea, seed in variants(args.seeds, args.only):
        for scene in args.scenes:
            if key(scene, idea, seed, args) in done:
                continue
            rows.append(measure(scene, idea, seed, args))
            text = ablation_table(rows, args.seeds[0])
            write_json(record, {"environment": environment(), "rows": rows})
            (args.out / "ablation.md").write_text(text)
            print(table([rows[-1]], COLUMNS), flush=True)


if __name__ == "__main__":
    main()
