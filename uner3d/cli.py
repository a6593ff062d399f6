"""The command line. Each command is a function whose docstring and field comments are its manual."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from uner3d.data.synthetic import ManyOptions
from uner3d.options import FitOptions, check_density, check_ply_target, fit_config, set_threads
from uner3d.synth_arguments import SynthArguments

Scene = Annotated[Path, tyro.conf.Positional]
OptionalScene = Annotated[Path | None, tyro.conf.Positional]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
OutOrDefault = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]

ABOUT = """Posed photos to dense, coloured point clouds at any density, without 3D supervision.

`uner3d COMMAND --help` is the manual of a command."""


def reconstruct(scene: Scene, fit: tyro.conf.OmitArgPrefixes[FitOptions], out: Out, points: int | None = None,
                spacing: float | None = None) -> None:  # fmt: skip
    """Turn a folder of posed photos into a coloured point cloud and a report.

    Writes OUT/cloud.ply, OUT/report.html, OUT/metrics.json and OUT/run/. Ctrl-C while training saves; go on with
    --resume.

    Args:
        scene: Folder of posed photos: nerfstudio / instant-ngp / Blender transforms.json, COLMAP text, IDR / NeuS DTU
            cameras*.npz, Middlebury *_par.txt, Strecha .camera, MVSNet cams/, pixelNeRF's SRN and DVR/NMR.
        out: Output folder.
        points: Number of points (exact). Default: a spacing of half a photo pixel on the surface.
        spacing: Mean distance between neighbouring points, in scene units.
    """
    check_density(points, spacing)
    config = fit_config(fit)
    from uner3d.reconstruct import reconstruct as run

    outcome = run(scene, out, config, points=points, spacing=spacing, resume=fit.resume,
                  overwrite=fit.overwrite, command=_command(), quiet=fit.quiet)  # fmt: skip
    metrics = outcome.metrics
    if metrics["psnr"] is not None:
        print(f"held-out PSNR {metrics['psnr']:.2f} dB over {metrics['held_out_views']} views")
    if metrics["points"]:
        print(f"{out / 'cloud.ply'}: {metrics['points']:,} points")
    print(out / "report.html")


def train(fit: tyro.conf.OmitArgPrefixes[FitOptions], out: Out, scene: OptionalScene = None,
          scenes: tuple[Path, ...] = ()) -> None:  # fmt: skip
    """Fit a field to a scene and write the run folder that `cloud`, `render` and `eval` work from; or, with --scenes,
    train one model across many scenes and write weights for `reconstruct --weights`.

    Under `torchrun --nproc-per-node N -m uner3d train --scenes ...` the scenes are shared between N processes.

    Args:
        scene: Folder of posed photos, as for `reconstruct`.
        out: Run folder.
        scenes: Folders of scenes, or of folders of scenes, to train across. Writes OUT/weights.safetensors.
    """
    if scene is None and not scenes:
        raise ValueError("train: expected a scene or --scenes, got neither")
    if scene is not None and scenes:
        raise ValueError("train: expected a scene or --scenes, got both")
    if scene is None:
        from uner3d.across import train_weights

        if (weights := train_weights(scenes, out, fit)) is not None:
            print(weights)
        return
    config = fit_config(fit)
    from uner3d.reconstruct import train_only

    train_only(scene, out, config, resume=fit.resume, overwrite=fit.overwrite, quiet=fit.quiet)
    print(out)


def cloud(run: Scene, out: OutOrDefault = None, points: int | None = None, spacing: float | None = None,
          device: str = "auto") -> None:  # fmt: skip
    """Write the cloud of a finished run at any density.

    Args:
        run: Run folder.
        out: PLY file to write. Default: cloud.ply in the run folder.
        points: Number of points (exact).
        spacing: Mean distance between neighbouring points, in scene units.
        device: auto, cpu, cuda or cuda:N: where the field is asked for its surface, the first time.
    """
    check_density(points, spacing)
    from uner3d import api
    from uner3d.progress import Stages

    if out is not None:
        check_ply_target(out)
    stages = Stages()
    fitted = api.load_fitted(run, device=device)
    if out is None:
        check_ply_target(out := run / "cloud.ply")
    with stages.stage("cloud") as update:
        result = api.write_to(fitted, out, points=points, spacing=spacing, progress=lambda share: update(share, ""))
    print(f"{out}: {result.n_points:,} points, {result.spacing:.4g} apart")


def render(run: Scene, out: OutOrDefault = None, views: Literal["test", "train"] = "test",
           device: str = "auto") -> None:  # fmt: skip
    """Render a run's views to PNG files: photo beside rendering.

    Args:
        run: Run folder.
        out: Folder for the pictures. Default: renders/test or renders/train in the run folder.
        views: The held-out photos, or those it was trained on.
        device: auto, cpu, cuda or cuda:N.
    """
    from uner3d.evaluate import render_views
    from uner3d.progress import Stages

    out = out or run / "renders" / views
    with Stages().once_begun("render") as update:
        n_pictures = render_views(run, out, views, device, lambda share: update(share, ""))
    print(f"{n_pictures} pictures in {out}")


def evaluate(target: Scene, gt: Path | None = None,
             protocol: Literal["images", "chamfer", "cloud-images", "auto", "srn", "nmr", "nmr-unseen", "dtu-images",
                               "dtu"] = "auto",
             json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
             device: str = "auto", weights: str = "default", views: int | None = None, scan: int | None = None,
             encoder: Literal["cnn", "resnet34"] = "cnn", out: OutOrDefault = None) -> None:  # fmt: skip
    """Measure a run or a cloud: held-out images (PSNR, SSIM), geometry (accuracy, completeness, F-score), or the cloud
    itself drawn into the held-out photos (PSNR). Or weights on a published data set, by its rules.

    Args:
        target: Run folder, or a PLY file. For srn, nmr, nmr-unseen and dtu-images the data set's folder.
        gt: For chamfer: a scene folder with exact truth (scene.json, gt_points.ply, gt_mesh.ply), or a PLY file. For
            cloud-images: a scene folder with a test split (default: the scene of the run). For dtu: the folder that
            holds DTU's Points/stl and ObsMask.
        protocol: images, chamfer or cloud-images; auto: images for a run, chamfer where --gt is given or the target is
            a cloud. dtu: DTU's Chamfer distance of a cloud. srn, nmr, nmr-unseen, dtu-images: docs/protocols.md.
        json_output: Print one JSON object.
        device: auto, cpu, cuda or cuda:N: where photos are rendered.
        weights: For srn, nmr and dtu-images: a file of `uner3d train --scenes`.
        views: For srn (1, 2) and dtu-images (1, 3, 6, 9): number of source views.
        scan: For dtu: the number of the scan.
        encoder: The encoder that the weights belong to.
        out: For srn, nmr and dtu-images: a JSON file that takes the results; the same command goes on with it.
    """
    from uner3d import published
    from uner3d.evaluate import evaluate as run
    from uner3d.progress import Stages

    with Stages(quiet=json_output).once_begun("eval") as update:
        if protocol in published.VIEW_SYNTHESIS:
            result = published.view_synthesis(target, protocol, weights, views, out, device, encoder,
                                              lambda share: update(share, ""))  # fmt: skip
            text = result.pop("table")
        elif protocol == "dtu":
            result, text = published.dtu_geometry(target, gt, scan), None
        else:
            result, text = run(target, gt, protocol, device, lambda share: update(share, "")), None
    text = text or "\n".join(f"{key:>22}  {_show(value)}" for key, value in result.items())
    print(json.dumps(result) if json_output else text)


def synth(scene: tyro.conf.OmitArgPrefixes[SynthArguments]) -> None:
    """Make posed photos of a known object, with the exact truth beside them; with --many, of many random objects."""
    from uner3d.data.synthetic.generate import check_options, run
    from uner3d.data.synthetic.many import run_many
    from uner3d.data.synthetic.many_options import check_many
    from uner3d.progress import Stages

    options = scene.options()
    if isinstance(options, ManyOptions):
        check_many(options)
        with Stages().stage("synth") as update:
            folder = run_many(options, lambda done, total, what: update(done / total, f"{done} of {total} {what}"))
    else:
        check_options(options)  # before a bar is shown
        with Stages().stage("synth") as update:
            folder = run(options, lambda done, total, what: update(done / max(total, 1), what))
    print(folder)


def bench(threads: int | None = None,
          json_output: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:  # fmt: skip
    """Time the CPU kernels against PyTorch and scipy for about a minute; results are checked first.

    Args:
        threads: CPU threads (default: torch's own choice).
        json_output: Print one JSON object.
    """
    set_threads(threads)
    from uner3d import bench as benchmarks
    from uner3d.progress import Stages

    stages = Stages(quiet=json_output)
    with stages.stage("bench") as update:
        result = benchmarks.run(progress=update)
    if json_output:
        print(json.dumps(result))
    else:
        from rich.console import Console

        Console().print(benchmarks.table(result))


def info() -> None:
    """Versions, instruction sets, CUDA and optional packages, as uner3d finds them here."""
    from uner3d.info import info_text

    print(info_text())


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command `uner3d`; returns the exit code."""
    commands: dict[str, Any] = {
        "reconstruct": reconstruct, "train": train, "cloud": cloud, "render": render, "eval": evaluate,
        "synth": synth, "bench": bench, "info": info,
    }  # fmt: skip
    from uner3d.cloud.generate import EmptyCloud
    from uner3d.train.fit import Interrupted, flush_denormals

    arguments = sys.argv[1:] if argv is None else argv
    flush_denormals()
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="uner3d", args=arguments, description=ABOUT)
    except Interrupted as stopped:
        print(f"uner3d: {stopped}\ngo on with: {_resume_command(arguments)}", file=sys.stderr)
        return 130
    except KeyboardInterrupt as stopped:
        print(f"uner3d: {str(stopped) or 'stopped'}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError, EmptyCloud) as error:
        print(f"uner3d: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _show(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _command(arguments: list[str] | None = None) -> str:
    return "uner3d " + shlex.join(sys.argv[1:] if arguments is None else arguments)


def _resume_command(arguments: list[str]) -> str:
    """The command that goes on: without --overwrite, which would say the opposite, and with --resume once."""
    return _command([a for a in arguments if a not in ("--overwrite", "--resume")] + ["--resume"])


if __name__ == "__main__":
    sys.exit(main())
