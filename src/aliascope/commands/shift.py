"""The command ``aliascope shift``: how often a shifted image leads to the same answer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aliascope.commands import evaluate_choices as choice
from aliascope.commands.choices import (
    AsCsv,
    AsJson,
    Crop,
    Device,
    Intervene,
    ModelName,
    Resize,
    Seed,
    Weights,
    file_name,
    numbers,
)
from aliascope.commands.console import console_for_tables, printable
from aliascope.commands.evaluate import named_values, own_cores, own_device
from aliascope.commands.filter_choice import FilterChoice
from aliascope.commands.progress import going_through_images
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from aliascope.evaluation.shift_options import ShiftOptions
    from aliascope.evaluation.team import Team
    from aliascope.runs.consistency import Consistency
    from aliascope.seam.handlers import Handler
    from aliascope.tasks.models import LoadedModel

ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        "-p",
        metavar="NAME",
        help="shift (ours), or one published: zhang2019, aps2021, lps2022, lps2022-circular, "
        "afc2023, afc2023-adversarial, azulay2019 (docs/shift-consistency.md).",
    ),
]


Mode = Annotated[
    str | None,
    typer.Option(
        metavar="crop|circular|black",
        help="Real pixels come in from a margin, or images are shifted around their edge; "
        "azulay2019: crop, or small on black.",
        show_default="crop",
    ),
]


MaxShift = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Largest shift.", show_default="8")
]


Shifts = Annotated[
    str | None, typer.Option(metavar="N|all", help="Shifts an image.", show_default="8")
]


Fraction = Annotated[
    str | None,
    typer.Option(
        metavar="U,...",
        help="Shift by 1/U pixels, by ideal interpolation: 1, 2, 3 or 4, or several.",
        show_default="1",
    ),
]


Eps = Annotated[
    float | None, typer.Option(metavar="EPS", help="Largest disturbance of a pixel, on [0, 1].")
]


ShiftFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Where the result goes; may be the folder of a run.",
        show_default="runs/MODEL-DATA-PROTOCOL",
    ),
]


def shift(
    model: ModelName,
    data: choice.DataName,
    protocol: ProtocolName = "shift",
    output: ShiftFolder = None,
    mode: Mode = None,
    max_shift: MaxShift = None,
    shifts: Shifts = None,
    fraction: Fraction = None,
    weights: Weights = "default",
    start: choice.Start = 0,
    max_samples: choice.MaxSamples = None,
    batch_size: choice.BatchSize = 16,
    workers: choice.Workers = None,
    device: Device = "auto",
    seed: Seed = 0,
    precision: choice.Precision = "float32",
    filter: FilterChoice = None,
    intervene: Intervene = None,
    resume: choice.Resume = False,
    max_bad: choice.MaxBad = 0.01,
    shard: choice.Shard = None,
    attack: choice.AttackName = None,
    eps: Eps = None,
    attack_steps: choice.AttackSteps = 100,
    attack_step_size: choice.AttackStepSize = None,
    attack_argument: choice.AttackArguments = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: choice.Interpolation = None,
    mean: choice.Mean = None,
    std: choice.Std = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Shift images and count how often the model says the same of them."""
    from aliascope.evaluation.shift_options import ShiftOptions
    from aliascope.evaluation.team import team_of
    from aliascope.tasks.models import load_model

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    options = ShiftOptions(
        protocol=protocol,
        mode=mode,
        max_shift=max_shift,
        shifts=_count(shifts),
        fraction=None if fraction is None else tuple(numbers(fraction, "fraction", int)),
        seed=seed,
        start=start,
        max_samples=max_samples,
        batch_size=batch_size,
        precision=precision,
        attack=attack,
        eps=eps,
        attack_steps=attack_steps,
        attack_step_size=attack_step_size,
        attack_arguments=named_values(attack_argument or []),
    )
    folder = output or Path("runs", f"{file_name(model)}-{file_name(data)}-{file_name(protocol)}")
    with team_of(shard) as team:
        loaded = load_model(
            model,
            weights=weights,
            resize=resize,
            crop=crop,
            interpolation=interpolation,
            mean=None if mean is None else tuple(numbers(mean, "mean")),
            std=None if std is None else tuple(numbers(std, "std")),
            seed=seed,
        )
        place = own_device(device)
        loaded, handlers = _prepared(loaded, filter, intervene or [], place)
        found = _shift(
            loaded,
            data,
            folder,
            options,
            team,
            quiet=as_json or as_csv,
            device=place,
            workers=own_cores() if workers is None else workers,
            resume=resume,
            max_bad=max_bad,
            handlers=handlers,
        )
    if not team.leads:
        return
    if as_json:
        print(found.to_json())
    elif as_csv:
        found.table().to_csv(sys.stdout, lineterminator="\n")
    else:
        show_consistency(found, folder)


def _prepared(
    loaded: LoadedModel, filter: str | None, intervene: list[str], device: str
) -> tuple[LoadedModel, Sequence[Handler]]:
    """Give the model as it is shifted under, and the handlers that it is opened with."""
    from aliascope.evaluation.probe import probe
    from aliascope.filters.written import antialias_as_written
    from aliascope.protocols.intervening import interventions_of

    if filter is not None:
        antialias_as_written(loaded.network, filter)
    handlers = interventions_of(intervene, probe(loaded, device).sites) if intervene else []
    return loaded, handlers


def _count(text: str | None) -> int | str | None:
    """Read how many shifts: a number, or "all"."""
    if text is None or not text.lstrip("-").isdecimal():
        return text
    return int(text)


def _shift(
    loaded: LoadedModel,
    data: str,
    folder: Path,
    options: ShiftOptions,
    team: Team,
    *,
    quiet: bool,
    device: str,
    **how: Any,
) -> Consistency:
    """Shift the images, with progress."""
    from aliascope.evaluation.probe import probe
    from aliascope.evaluation.shift_folder import shift_images
    from aliascope.evaluation.shift_options import with_margin
    from aliascope.tasks.images import first_size, open_data

    protocol = options.make_protocol()
    recipe = with_margin(loaded.preprocessing, protocol)
    size = None if loaded.preprocessing.crop else first_size(data, recipe)
    if size and protocol.mode == "crop" and min(size) > protocol.margin:
        size = (size[0] - protocol.margin, size[1] - protocol.margin)
    classes = probe(loaded, device, size).classes
    if team.leads and not quiet:
        _say_what(loaded, data, protocol.mode, recipe.describe(), device)
    with going_through_images("shifting", folder, leads=team.leads) as tell:
        return shift_images(
            loaded,
            lambda prepare: open_data(data, prepare, num_classes=classes, seed=options.seed),
            folder,
            options,
            device=device,
            progress=tell,
            team=team,
            **how,
        )


def _say_what(loaded: LoadedModel, data: str, mode: str, prepared: str, device: str) -> None:
    crop = loaded.preprocessing.crop
    sees = f"; the network sees {crop} × {crop} of it" if crop and mode == "crop" else ""
    console_for_tables().print(
        f"{loaded.name} (weights {loaded.weights}) on {data}, {device}\nimages: {prepared}{sees}",
        style="dim",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def show_consistency(found: Consistency, folder: Path) -> None:
    """Print the table of kinds of shift, and what it depends on."""
    from aliascope.runs.shown import counted

    console = console_for_tables()
    console.print(_table(found, console))
    skipped = found.unreadable
    if skipped:
        console.print(
            f"{counted(len(skipped), 'image')} could not be read and left out (first: "
            + printable(f"{skipped[0][1]}: {skipped[0][2]})"),
            style="yellow",
            markup=False,
        )
    if found.description.get("status") == "running":
        console.print(
            "This is not finished; unless others are at work on it, go on with --resume.",
            style="yellow",
        )
    console.print(
        printable(f"{found.said()}; in {folder}"),
        style="dim",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


RANKS = {"each": 4, "shifted %": 3, "images": 2, "under all %": 1}
"""Which columns leave first where there is no room; the line below says the first and last."""


def _table(found: Consistency, console: Console) -> Table:
    """Make the table of kinds of shift; intervals go below their means where there is no room."""
    from aliascope.commands.fitting import Body, Column, Row, fitted, leaving

    heads, rows = found.cells()
    columns = [Column(head, RANKS.get(head, 0), left=not place) for place, head in enumerate(heads)]

    def bodies() -> Iterator[Body]:
        yield from itertools.islice(leaving(columns, [Row(row) for row in rows]), 2)
        below = [[cell.replace(" (", "\n").rstrip(")") for cell in row] for row in rows]
        yield from leaving(columns, [Row(row) for row in below])

    return fitted(bodies(), console)
