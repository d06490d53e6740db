"""The command ``aliascope``: options in, a run directory, a table or a figure out."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)

from aliascope import __version__
from aliascope.errors import AliascopeError
from aliascope.imagenet_commands import imagenet_app
from aliascope.oscillation_commands import oscillations_app
from aliascope.plots import plot_app
from aliascope.progress import INTERRUPTED, BarOrLines, Rate
from aliascope.report_command import report
from aliascope.selftest_command import selftest

if TYPE_CHECKING:
    from aliascope.measurement import Measurement
    from aliascope.models import LoadedModel
    from aliascope.options import Options
    from aliascope.team import Team

WIDE = 112
"""Columns that the table with bars and shapes takes; a narrower terminal gets a plain one."""

WIDTH_OF_FILES = 160
"""Columns of output that is no terminal."""

app = typer.Typer(
    name="aliascope",
    help="Measure where, and how much, a PyTorch vision network aliases.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(plot_app, name="plot")
app.add_typer(imagenet_app, name="imagenet")
app.add_typer(oscillations_app, name="oscillations")
app.command(name="report")(report)
app.command(name="selftest")(selftest)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"aliascope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_say_version
        ),
    ] = False,
) -> None:
    pass


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="torchvision:NAME, timm:NAME, efficientnet_lite0, oscillations (a network that comes "
        "with Aliascope) or oscillations:RUN (a training of yours), or MODULE:FUNCTION for a "
        "function that returns your own network.",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        metavar="default|none|FILE",
        help="Published weights, random ones (from --seed), or a file: safetensors, or a state "
        "dict saved by torch.save.",
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Resize the shorter side to this; 0 does not resize. Default: the weights' recipe.",
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Cut a centred square of this size; 0 does not crop. Default: the weights' recipe.",
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; auto takes cuda where it is."),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|torch|numba",
        help="What counts: torch on any device, or compiled code on a CPU; auto takes the faster.",
    ),
]
Workspace = Annotated[
    float | None,
    typer.Option(
        metavar="MB",
        help="Memory that measuring may take beside the network's own.",
        show_default="256 on a CPU, 1024 on a GPU",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of random numbers, random weights included.")]
Accounting = Annotated[
    str,
    typer.Option(
        metavar="exact|published",
        help="exact: the categories partition the bins. published: as the authors' code counted "
        "(see docs/definitions.md).",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]


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


@app.command()
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
    from aliascope.measurement import check_accounting
    from aliascope.models import load_model
    from aliascope.options import Options
    from aliascope.probe import automatic_device
    from aliascope.team import local_device, local_processes, team_of

    check_accounting(accounting)
    options = Options(
        start=start,
        max_samples=max_samples,
        batch_size=batch_size,
        seed=seed,
        detail=detail,
        threshold_db=threshold_db,
        reference=reference,
        grid=grid,
        fold_scale=fold_scale,
        precision=precision,
        save_features=save_features,
        attack=attack,
        eps=_numbers(eps),
        attack_steps=attack_steps,
        attack_step_size=attack_step_size,
        attack_arguments=_named_values(attack_argument or []),
        save_adversarial=save_adversarial,
    )
    folder = output or Path("runs", f"{_file_name(model)}-{_file_name(data)}")
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
        _show(measurement, folder, accounting)


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
    from aliascope.data import first_size, open_data
    from aliascope.evaluate import evaluate as evaluate_images
    from aliascope.probe import no_sites, probe
    from aliascope.team import QuietError

    console = _console()
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


@app.command()
def sites(
    model: ModelName,
    weights: Weights = "none",
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the square input.", show_default="the model's crop"
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """List where a model decimates, without data."""
    import pandas as pd

    from aliascope.models import load_model
    from aliascope.probe import automatic_device, no_sites, probe
    from aliascope.tables import sites_table

    if size is not None and size < 1:
        raise AliascopeError(f"size is {size}, but it must be 1 or more.")
    loaded = load_model(model, weights=weights, seed=seed)
    found = probe(loaded, automatic_device(device), (size, size) if size else None)
    if not found.sites:
        raise AliascopeError(no_sites(model))
    console = _console()
    console.print(sites_table(pd.DataFrame([vars(site) for site in found.sites])))
    measured = sum(site.supported for site in found.sites)
    console.print(f"{measured} sites can be measured, {len(found.sites) - measured} cannot.")


@app.command()
def show(run: Run, accounting: Accounting = "exact") -> None:
    """Show a run's accuracy and its table of fractions."""
    from aliascope.measurement import load

    _show(load(run), run, accounting)


# -- shared --------------------------------------------------------------------------------------


def _show(measurement: Measurement, folder: Path, accounting: str) -> None:
    from aliascope.tables import accuracy_lines, epsilons_table, fractions_table

    console = _console()
    console.print()
    for line in accuracy_lines(measurement):
        console.print(line, highlight=False)
    if len(measurement.epsilons) > 1:
        console.print(epsilons_table(measurement, accounting=accounting))
        console.print(f"at eps {measurement.eps:g}:", highlight=False)
    if len(measurement.counts):
        wide = console.width >= WIDE
        console.print(fractions_table(measurement, accounting=accounting, wide=wide))
    for _, site in measurement.sites[~measurement.sites["supported"].astype(bool)].iterrows():
        console.print(
            _printable(f"not measured: {site['name']} ({site['op']}): {site['reason']}"),
            markup=False,
        )
    skipped = measurement.unreadable
    if skipped:
        console.print(
            f"{len(skipped)} images could not be read and were left out; all are named in "
            + _printable(f"{folder / 'run.json'} (first: {skipped[0][1]}: {skipped[0][2]})"),
            style="yellow",
            markup=False,
        )
    if measurement.run.get("status") == "running":
        console.print(
            "This run is not finished; unless others are at work on it, go on with --resume.",
            style="yellow",
        )
    n = len(measurement.samples)
    options = measurement.run.get("options") or measurement.run.get("criterion", {})
    console.print(
        f"{n} images, {accounting} accounting, threshold {options.get('threshold_db')} dB below "
        f"the {options.get('reference')}; run in {folder}",
        style="dim",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_FILES)


def _file_name(text: str) -> str:
    """Make a name fit for a folder: torchvision:resnet34 becomes torchvision-resnet34."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in text.rstrip("/"))
    return kept.strip("-.") or "run"


def _joined_epsilons(words: list[str]) -> list[str]:
    """Let ``--eps 0 0.001 0.01`` be written with spaces, which typer's options cannot take."""
    joined: list[str] = []
    for word in words:
        numbers = joined[-1].split(",") if len(joined) > 1 and joined[-2] == "--eps" else []
        if numbers and all(map(_is_number, [*numbers, word])):
            joined[-1] += f",{word}"
        else:
            joined.append(word)
    return joined


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _printable(text: str) -> str:
    """Escape what would steer the terminal or break the line, as names of files may."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _refuse(message: str) -> NoReturn:
    print(f"aliascope: {_printable(message)}", file=sys.stderr)
    raise SystemExit(2)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as the command's own words where it is meant for its user."""
    if category is UserWarning:
        print(f"aliascope: {_printable(str(message))}", file=sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, file=file or sys.stderr, end="")


def main(args: list[str] | None = None) -> None:
    """Run the command; bad input is one sentence on standard error and exit code 2.

    Parameters
    ----------
    args : list of str, optional
        Arguments; those of the process by default.

    Examples
    --------
    >>> main(["show", "no/such/run"])
    Traceback (most recent call last):
    SystemExit: 2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every encoding has × and █
    command: Any = typer.main.get_command(app)
    warnings.showwarning = _say_warning
    try:
        words = _joined_epsilons(sys.argv[1:] if args is None else args)
        code = command.main(args=words, prog_name="aliascope", standalone_mode=False)
    except AliascopeError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        print("aliascope: interrupted.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        # Typer's own complaints, whichever copy of click it brings.
        complaint = getattr(error, "format_message", None)
        if complaint is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(complaint())
            raise SystemExit(2) from None
        context = getattr(error, "ctx", None)
        where = f" (see {context.command_path} -h)" if context else ""
        _refuse(f"{complaint().rstrip('.')}{where}.")
    raise SystemExit(code or 0)
