"""The command ``aliascope filters``: what there is, and what each is worth."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from aliascope.commands.choices import AsCsv, AsJson, numbers
from aliascope.commands.console import console_for_tables
from aliascope.errors import AliascopeError

COLUMNS = (
    "filter",
    "rate",
    "white_folds",
    "one_over_f_folds",
    "pass_band_loss_db",
    "multiply_adds",
)


def filters(
    rate: Annotated[
        str, typer.Option(metavar="R,...", help="Decimation rates, each 2 or more.")
    ] = "2,4",
    size: Annotated[
        int, typer.Option(metavar="N", help="Samples a side of the map whose filtering is counted.")
    ] = 56,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the filters: what share of noise still folds, and what they take from the rest.

    Along one axis. white: share of white noise that lies beyond the new Nyquist rate after the
    filter, and so folds; 1/f: the same of noise whose power falls as 1/f. loss: in the middle of
    what is kept, in decibels. multiply-adds: for each sample kept of a square map.
    """
    rates = numbers(rate, "rate", int)
    if not rates or min(rates) < 2:
        raise AliascopeError(f"rate is {rate!r}, but rates are whole numbers from 2 on.")
    if size < 1:
        raise AliascopeError(f"size is {size}, but it must be 1 or more.")
    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    rows = [row for each in rates for row in _rows(each, size)]
    if as_json:
        print(json.dumps({"kind": "filters", "filters": rows}, indent=1))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        console = console_for_tables()
        console.print(_table(rows, console))
        console.print(_legend(), highlight=False)


def _rows(rate: int, size: int) -> list[dict[str, Any]]:
    from aliascope.filters.attenuation import folded_share, multiply_adds, pass_band_loss
    from aliascope.filters.names import DESCRIPTIONS

    return [
        {
            "filter": name or "none",
            "rate": rate,
            "white_folds": folded_share(name, rate),
            "one_over_f_folds": folded_share(name, rate, "1/f"),
            "pass_band_loss_db": pass_band_loss(name, rate),
            "multiply_adds": multiply_adds(name, rate, size),
        }
        for name in (None, *DESCRIPTIONS)
    ]


def _table(rows: list[dict[str, Any]], console: Console) -> Table:
    from aliascope.commands.fitting import Column, Row, fitted, leaving

    columns = [
        Column("filter", left=True),
        *map(Column, ("rate", "white %", "1/f %", "loss dB", "multiply-adds")),
    ]
    shown = []
    for place, row in enumerate(rows):
        numbers = (
            *(str(row["rate"]), f"{100 * row['white_folds']:.1f}"),
            *(f"{100 * row['one_over_f_folds']:.1f}", f"{row['pass_band_loss_db']:.1f}"),
            str(row["multiply_adds"]),
        )
        begins = bool(place) and row["rate"] != rows[place - 1]["rate"]
        shown.append(Row([row["filter"], *numbers], section=begins))
    return fitted(leaving(columns, shown), console)


def _legend() -> Table:
    """Say what each filter is, once."""
    from aliascope.filters.names import DESCRIPTIONS

    legend = Table.grid(padding=(0, 2))
    for name, words in {"none": "plain decimation", **DESCRIPTIONS}.items():
        legend.add_row(name, words)
    return legend
