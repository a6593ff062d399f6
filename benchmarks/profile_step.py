"""Where the time of a training step goes: PyTorch's profiler over some steps of a fit, by operation.

python -m benchmarks.profile_step SCENE [--preset base] [--masks off] [--warm 120] [--groups 10] [--rows 14]
                                        [--device cuda [--as-they-are]] [--trace FILE]

The first ``--warm`` steps are not profiled: the density grid must have learnt what is empty. Times are those of the
calling thread, without what an operation calls in turn; the ops of this package stand under their names (uner3d::...).
On CUDA they are the device's, of kernels; the milliseconds of a step are measured before the profiler is on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

import uner3d
from uner3d.config import preset_config
from uner3d.device import synchronise
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--as-they-are", action="store_true", help="on CUDA: steps are not replayed")
    parser.add_argument("--trace", type=Path, help="a trace for chrome://tracing too")
    args = parser.parse_args()
    flush_denormals()
    config = preset_config(args.preset)
    # Past the coarse stage when the profile begins, at full resolution, as most steps of a fit are.
    config.steps = split_steps(round(args.warm / config.coarse_share), config.coarse_share)
    config.replay_steps = not args.as_they_are
    device = torch.device(args.device)
    world, _ = prepare(uner3d.load_scene(args.scene, masks=args.masks), config, device)
    if config.prior_loss > 0:
        world.prior = find_prior(world, config.seed)
    trainer, schedule = Trainer.create(config, world), Schedule(config, world.photos[1].size[1])
    while trainer.step < args.warm:
        trainer.run_group(schedule, config.reuse_maps)
    run_groups(trainer, schedule, 2)  # the first ones of the fine stage
    price = 1000 * run_groups(trainer, schedule, args.groups)
    print(f"{args.scene.name}, {args.preset}, {args.device}, {torch.get_num_threads()} threads: {price:.1f} ms a step")
    first = trainer.step
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (args.device == "cuda")
    with profile(activities=activities) as record:
        run_groups(trainer, schedule, args.groups)
    show(record, trainer.step - first, args.rows, args.device)
    if args.trace:
        record.export_chrome_trace(str(args.trace))


def run_groups(trainer: Trainer, schedule: Schedule, n_groups: int) -> float:
    """Seconds a step of some groups, until the device has finished."""
    synchronise(trainer.world.device)
    first, begin = trainer.step, time.perf_counter()
    for _ in range(n_groups):
        trainer.run_group(schedule, trainer.config.reuse_maps)
    synchronise(trainer.world.device)
    return (time.perf_counter() - begin) / (trainer.step - first)


def show(record: profile, n_steps: int, n_rows: int, device: str) -> None:
    """Print a Markdown table of the costliest operations, on CUDA of the costliest kernels."""
    own = {"cpu": lambda event: event.self_cpu_time_total, "cuda": lambda event: event.self_device_time_total}[device]
    there = [event for event in record.key_averages() if event.device_type.name.lower() == device]
    events = sorted(there, key=lambda event: -own(event))
    total, calls = sum(map(own, events)), sum(event.count for event in events)
    print(f"{total / 1000 / n_steps:.2f} ms a step in {calls / n_steps:.0f} calls\n")
    print("| Operation | ms a step | Share | Calls a step |\n| --- | --- | --- | --- |")
    for event in events[:n_rows]:
        cost, share = own(event) / 1000 / n_steps, own(event) / total
        print(f"| `{event.key[:90]}` | {cost:.2f} | {share:.0%} | {event.count / n_steps:.1f} |")


if __name__ == "__main__":
    main()
