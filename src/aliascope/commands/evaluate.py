"""The command ``aliascope evaluate``: images through a model, into a run directory."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)

from aliascope.commands.progress import INTERRUPTED, BarOrLines, Rate
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.evaluation.options import Options
    from aliascope.evaluation.team import Team
    from aliascope.runs.measurement import Measurement
    from aliascope.tasks.models import LoadedModel
from aliascope.commands.choices import (
    Accounting,
    Crop,
    Device,
    Engine,
    ModelName,
    Resize,
    Seed,
    Weights,
    Workspace,
    file_name,
)
from aliascope.commands.console import console_for_tables
from aliascope.commands.show import show_measurement


def _numbers(text: str) -> tuple[float, ...]:
    """Read "0.5,0.5,0.5"."""
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise AliascopeError(
            f"{text!r} is not a list of numbers; write one per channel, as in 0.5,0.5,0.5."
        ) from None


def _named_values(texts: list[str]) -> dict[str, Any]:
    """Read "momentum=0.9" as numbers, booleans or words."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise AliascopeError(
                f"{text!r} is no argument of an attack; write NAME=VALUE, as in random_start=False."
            )
        try:
            values[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            values[name] = value
    return values


def evaluate(
    model: ModelName,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="samples|oscillations[:A]|FOLDER|SHARDS",
            help="20 photographs that come with a package; 10,000 images of oscillations; or a "
            "folder: of class folders named by WordNet id or class index, of images without "
            "labels, or of shards (.tar as WebDataset has them, .parquet), which may also be given "
            "as FILE, 'val-*.tar' or 'val-{000..063}.tar'.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the run.",
            show_default="runs/MODEL-DATA",
        ),
    ] = None,
    weights: Weights = "default",
    start: Annotated[int, typer.Option(help="First image, counted from 0.")] = 0,
    max_samples: Annotated[
        int | None, typer.Option(help="Images to measure at most.", show_default="all")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Images in a pass.")] = 16,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that decode images.", show_default="cores, at most 8"),
    ] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workspace: Workspace = None,
    seed: Seed = 0,
    threshold_db: Annotated[
        float,
        typer.Option(
            metavar="DB", help="A fold passes above this many decibels below the reference level."
        ),
    ] = 20.0,
    reference: Annotated[
        str,
        typer.Option(
            metavar="max|mean",
            help="Reference level: the largest or the mean power of the decimated spectrum, per "
            "sample and channel.",
        ),
    ] = "max",
    grid: Annotated[
        str,
        typer.Option(
            metavar="auto|seed|native",
            help="Bins of the spectrum: as many as the dense signal has samples (seed, as "
            "published) or as the decimated one (native); auto: seed up to rate 4.",
        ),
    ] = "auto",
    fold_scale: Annotated[
        str,
        typer.Option(
            metavar="unit|contribution",
            help="Compare folds as they are (as published), or divided by their number.",
        ),
    ] = "unit",
    detail: Annotated[
        str,
        typer.Option(
            metavar="site|channel|pixel|folds",
            help="What to keep: counts per site, per channel too, the category of every bin too, "
            "the complex folds too (large: 170 MB an image for a ResNet-34).",
        ),
    ] = "site",
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|bfloat16",
            help="Of the network's products, measured and attacked; its signals are measured in "
            "float32.",
        ),
    ] = "float32",
    save_features: Annotated[
        bool, typer.Option("--save-features", help="Keep the input of the classifier's last layer.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder.")
    ] = False,
    max_bad: Annotated[
        float,
        typer.Option(
            metavar="FRACTION", help="Stop when more of the images than this cannot be read."
        ),
    ] = 0.01,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Measure the K-th of N shares of the batches, into a folder that all N use; the "
            "last to end concludes the run.",
            show_default="all of them",
        ),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Attack the images: pgd, fgsm, or a class of torchattacks."
        ),
    ] = None,
    eps: Annotated[
        str,
        typer.Option(
            metavar="EPS,...",
            help="Largest disturbances of a pixel, on [0, 1]; each image is measured at each.",
        ),
    ] = "0,0.0001,0.0005,0.001,0.005,0.01,0.05",
    attack_steps: Annotated[int, typer.Option(help="Steps of an iterated attack.")] = 100,
    attack_step_size: Annotated[
        float | None,
        typer.Option(
            metavar="STEP", help="Step, on pixels in [0, 1].", show_default="2.5 * EPS / steps"
        ),
    ] = None,
    attack_argument: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="More for the torchattacks class; repeatable."),
    ] = None,
    compile_attack: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile the network (torch.compile) for an attack's steps."
        ),
    ] = False,
    save_adversarial: Annotated[
        int, typer.Option(metavar="N", help="Keep the disturbed pixels of the first N images.")
    ] = 0,
    accounting: Accounting = "exact",
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="bilinear, bicubic, nearest, ... Default: the weights' recipe."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Mean of the normalisation, of pixels in [0, 1]. Default: the weights' recipe.",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Standard deviation of the normalisation. Default: the weights' recipe.",
        ),
    ] = None,
) -> None:
    """Run images through a model and measure aliasing."""
    from aliascope.evaluation.options import Options
    from aliascope.evaluation.team import local_device, local_processes, team_of
    from aliascope.models.devices import automatic_device
    from aliascope.runs.fractions import check_accounting
    from aliascope.spectrum import Criterion
    from aliascope.tasks.models import load_model

    check_accounting(accounting)
    options = Options(
        start=start,
        max_samples=max_samples,
        batch_size=batch_size,
        seed=seed,
        detail=detail,
        criterion=Criterion(threshold_db, reference, grid, fold_scale),
        precision=precision,
        save_features=save_features,
        attack=attack,
        eps=_numbers(eps),
        attack_steps=attack_steps,
        attack_step_size=attack_step_size,
        attack_arguments=_named_values(attack_argument or []),
        save_adversarial=save_adversarial,
    )
    folder = output or Path("runs", f"{file_name(model)}-{file_name(data)}")
    cores = (os.cpu_count() or 1) // local_processes()
    with team_of(shard) as team:
        loaded = load_model(
            model,
            weights=weights,
            resize=resize,
            crop=crop,
            interpolation=interpolation,
            mean=None if mean is None else _numbers(mean),
            std=None if std is None else _numbers(std),
            seed=seed,
        )
        measurement = _evaluate(
            loaded,
            data,
            folder,
            options,
            team,
            device=local_device(automatic_device(device)),
            workers=max(1, min(8, cores)) if workers is None else workers,
            resume=resume,
            engine=engine,
            workspace=None if workspace is None else round(workspace * 2**20),
            max_bad=max_bad,
            compile=compile_attack,
        )
    if team.leads:
        show_measurement(measurement, folder, accounting)


def _evaluate(
    loaded: LoadedModel,
    data: str,
    folder: Path,
    options: Options,
    team: Team,
    *,
    device: str,
    **how: Any,
) -> Measurement:
    from aliascope.evaluation.loop import evaluate as evaluate_images
    from aliascope.evaluation.probe import no_sites, probe
    from aliascope.evaluation.team import QuietError
    from aliascope.tasks.images import first_size, open_data

    console = console_for_tables()
    preprocessing = loaded.preprocessing
    found = probe(loaded, device, None if preprocessing.crop else first_size(data, preprocessing))
    if not any(site.supported for site in found.sites):
        raise AliascopeError(no_sites(loaded.name, found.sites))
    images = open_data(data, preprocessing, num_classes=found.classes, seed=options.seed)
    if team.leads:
        share = "" if team.alone else f", {team.index + 1} of {team.size} processes"
        console.print(
            f"{loaded.name} (weights {loaded.weights}) on {data}, {device}{share}\n"
            f"images: {preprocessing.describe()}",
            style="dim",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    with _ImagesProgress() as progress:
        try:
            return evaluate_images(
                loaded,
                images,
                folder,
                options,
                device=device,
                progress=progress.report if team.leads else None,
                team=team,
                **how,
            )
        except QuietError:
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            progress.stop()
            if team.leads:
                print(
                    f"aliascope: interrupted after {progress.done} images, kept in {folder}; "
                    "run the same command with --resume to go on.",
                    file=sys.stderr,
                )
            raise typer.Exit(INTERRUPTED) from None


class _ImagesProgress(BarOrLines):
    """Progress of an evaluation."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("measuring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images,"),
            Rate(lambda _, rate: f"{rate:.1f} images/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )

    def report(self, done: int, total: int) -> None:
        """Say how many images are done, of how many."""
        if due := self.advance_to(done, total):
            rate, left = due
            self.say(f"{done} of {total} images, {rate:.1f} images/s, {left:.0f} min left")
