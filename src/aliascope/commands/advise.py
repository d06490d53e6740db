"""The command ``aliascope advise``: what each filter would do to a network, without retraining."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from aliascope.commands import evaluate_choices as choice
from aliascope.commands.choices import (
    AsCsv,
    AsJson,
    Crop,
    Device,
    ModelName,
    Resize,
    Seed,
    Weights,
    numbers,
)
from aliascope.commands.console import console_for_tables, printable
from aliascope.commands.evaluate import own_cores, own_device
from aliascope.commands.fitting import Body, Column, Row, fitted, leaving
from aliascope.commands.progress import interruptible
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.runs.advice import Advice

Filters = Annotated[
    str, typer.Option(metavar="NAME,...", help="Filters to try; `aliascope filters` lists them.")
]


Sites = Annotated[
    str,
    typer.Option(
        metavar="all,most,stem",
        help="Where each is tried: at all sites; at the stages with 10 % of their energy beyond or "
        "more, removing which has at least a tenth of the largest effect; at the first stage.",
    ),
]


Recalibrate = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Also re-estimate batch norm, with each filter and without, from N of the images, "
        "which are not measured then.",
    ),
]


MaxSamples = Annotated[
    int, typer.Option(help="Images at most, spread over the whole set; kept in a temporary folder.")
]


Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Folder for advice.json, which al.Advice.load reads.",
        show_default="none",
    ),
]


def advise(
    model: ModelName,
    data: choice.DataName,
    output: Folder = None,
    filters: Filters = "blur:3,blur:5,ideal",
    sites: Sites = "all,most,stem",
    recalibrate: Recalibrate = 0,
    weights: Weights = "default",
    max_samples: MaxSamples = 1000,
    batch_size: choice.BatchSize = 16,
    workers: choice.Workers = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: choice.Interpolation = None,
    mean: choice.Mean = None,
    std: choice.Std = None,
) -> None:
    """Try filters on a network as it was trained; it promises nothing: accuracy mostly falls."""
    from aliascope.evaluation.advise_images import AdviceOptions, advise_images
    from aliascope.runs.advice import Advice
    from aliascope.tasks.models import load_model

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    if output is not None:
        Advice.refuse_folder(output)
    options = AdviceOptions(
        filters=_words(filters),
        sites=_words(sites),
        recalibrate=recalibrate,
        max_samples=max_samples,
        batch_size=batch_size,
        seed=seed,
    )
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
    with interruptible(lambda: "; nothing was kept."):
        found = advise_images(
            loaded,
            data,
            options,
            device=own_device(device),
            workers=own_cores() if workers is None else workers,
            progress=True,
        )
    if output is not None:
        found.save(output)
    show_advice(found, as_json=as_json, as_csv=as_csv)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def show_advice(found: Advice, *, as_json: bool = False, as_csv: bool = False) -> None:
    """Print advice as a table with what it rests on, or as data."""
    if as_json:
        print(found.to_json())
        return
    if as_csv:
        found.table().to_csv(sys.stdout, lineterminator="\n")
        return
    console = console_for_tables()
    console.print(_table(found, console))
    for line in found.said():
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
    console.print()
    print(found.code(), end="")


RANKS = {"filtered": 6, "multiply-adds": 5, "p": 4, "time ×": 3, "accuracy %": 2}
"""Which columns leave first where there is no room."""


def _table(found: Advice, console: Console) -> Table:
    """Make the table, without intervals of shares where there is no room for them."""

    def bodies() -> Iterator[Body]:
        for intervals in (True, False):
            heads, rows = found.cells(intervals=intervals)
            columns = [
                Column(head, RANKS.get(head, 0), left=place < 2) for place, head in enumerate(heads)
            ]
            made = leaving(columns, [Row(row) for row in rows])
            yield from itertools.islice(made, 2) if intervals else made

    return fitted(bodies(), console)
