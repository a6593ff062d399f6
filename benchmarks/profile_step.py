"""Where the time of a training step goes: PyTorch's profiler over some steps of a fit, by operation.

python -m benchmarks.profile_step SCENE [--preset base] [--masks off] [--warm 120] [--groups 10] [--rows 14]
                                        [--trace FILE]

The first ``--warm`` steps are not profiled: the density grid must have learnt what is empty. Times are those of the
calling thread, without what an operation calls in turn; the ops of this package stand under their names (uner3d::...).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

import uner3d
from uner3d.config import preset_config
from uner3d.train.fit import flush_denormals, prepare
from uner3d.train.schedule import Schedule, split_steps
from uner3d.train.trainer import Trainer
from uner3d.train.world import find_prior


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--masks", choices=("auto", "off"), default="auto")
    parser.add_argument("--warm", type=int, default=120, help="steps before those that are profiled")
    parser.add_argument("--groups", type=int, default=10, help="groups of steps, each on one encoding")
    parser.add_argument("--rows", type=int, default=14)
    parser.add_argument("--trace", type=Path, help="a trace for chrome://tracing too")
    args = parser.parse_args()
    flush_denormals()
    config = preset_config(args.preset)
    # Past the coarse stage when the profile begins, at full resolution, as most steps of a fit are.
    config.steps = split_steps(round(args.warm / config.coarse_share), config.coarse_share)
    world, _ = prepare(uner3d.load_scene(args.scene, masks=args.masks), config)
    if config.prior_loss > 0:
        world.prior = find_prior(world, config.seed)
    trainer, schedule = Trainer.create(config, world), Schedule(config, world.photos[1].size[1])
    while trainer.step < args.warm:
        trainer.run_group(schedule, config.reuse_maps)
    first, begin = trainer.step, time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(args.groups):
            trainer.run_group(schedule, config.reuse_maps)
    seconds, n_steps = time.perf_counter() - begin, trainer.step - first
    price = 1000 * seconds / n_steps
    print(f"{args.scene.name}, {args.preset}, {torch.get_num_threads()} threads: {price:.0f} ms a step")
    show(record, n_steps, args.rows)
    if args.trace:
        record.export_chrome_trace(str(args.trace))


def show(record: profile, n_steps: int, n_rows: int) -> None:
    """Print a Markdown table of the costliest operations."""
    events = sorted(record.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print("| Operation | ms a step | Share | Calls a step |\n| --- | --- | --- | --- |")
    for event in events[:n_rows]:
        own = event.self_cpu_time_total
        print(f"| `{event.key}` | {own / 1000 / n_steps:.1f} | {own / total:.0%} | {event.count / n_steps:.1f} |")


if __name__ == "__main__":
    main()
