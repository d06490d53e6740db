"""The table of a run in the terminal: aliased energy first, then the categories and their floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement as Width
from rich.table import Table
from rich.text import Text

from aliascope.categories import COLUMNS, LABELS
from aliascope.commands.tables import COLOURS, bar, nested
from aliascope.runs.energy import ENERGY, FEWEST_KEPT, INTERVAL
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import between, percent

ROUGH = "~"
"""Before an energy that is known only roughly."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """How much a table shows beside its numbers.

    Attributes
    ----------
    wide : bool
        Operation, dense signal and edge interval too.
    bars : bool
        Bars of the categories.
    bar : bool
        Bars of the energy, and heads in one line.
    intervals : bool
        The intervals of the model's categories.
    """

    wide: bool = True
    bars: bool = True
    bar: bool = True
    intervals: bool = True


LOOKS = (
    Look(),
    Look(bars=False),
    Look(wide=False, bars=False),
    Look(wide=False, bars=False, bar=False),
    Look(wide=False, bars=False, bar=False, intervals=False),
)
"""From the fullest to the leanest."""


@dataclass(frozen=True)
class Column:
    """One column: its head, and what it shows of a row; nothing where the row has no such value."""

    head: str
    cell: Callable[[Row], Text | str]
    needs: str


def measured_table(
    measurement: Measurement, console: Console, *, accounting: str = "exact"
) -> Table:
    """Tabulate what was measured at each site, as fully as the console is wide.

    Parameters
    ----------
    measurement : Measurement
        Of energy, categories, or both.
    console : Console
        Where it will be printed.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    rich.table.Table

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
    >>> measured_table(m, Console(width=200)).columns[1].header
    'op'
    """
    by_site = measurement.table(accounting=accounting)
    last = list(_overall(measurement, accounting))
    unlimited = console.options.update(max_width=10_000)
    for look in LOOKS:
        table = _table(measurement, by_site, last, look)
        if Width.get(console, unlimited, table).maximum <= console.width:
            break
    return table


def _table(
    measurement: Measurement, by_site: pd.DataFrame, last: list[tuple[Row, str]], look: Look
) -> Table:
    columns = _columns(measurement, look)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if look.bar else 0, 0, 0))
    table.add_column("site", no_wrap=look != LOOKS[-1], overflow="fold")
    for column in columns:
        lines = column.head if look.bar else column.head.replace("-", "-\n").replace(" ", "\n")
        table.add_column(lines, no_wrap=True)
    for depth, label, name in nested(list(by_site.index)):
        row: Row = {} if name is None else dict(by_site.loc[name])
        table.add_row(Text("  " * depth + label), *_cells(columns, row))
    table.add_section()
    for row, style in last:
        if "interval" in row and not look.intervals:
            continue
        cells = _cells(columns, row)
        table.add_row(Text(row["name"]), *cells, style=style)
    return table


def _columns(measurement: Measurement, look: Look) -> list[Column]:
    there = measurement.measures
    columns = [Column("rate", lambda row: row["rate"], "rate")]
    if look.wide:
        columns.insert(0, Column("op", lambda row: row["op"], "op"))
        columns.append(Column("dense signal", lambda row: row["dense_shape"], "dense_shape"))
    if "energy" in there:
        columns += [
            Column("aliased energy %", lambda row: _energy(row, look.bar), ENERGY),
            Column("95 %", lambda row: between(row[INTERVAL[0]], row[INTERVAL[1]]), ENERGY),
            Column("white %", lambda row: percent(row["white"]), ENERGY),
        ]
        if look.wide:
            columns.append(
                Column("edge %", lambda row: between(row["edge_low"], row["edge_high"]), ENERGY)
            )
    if "categories" in there:
        columns += [_category(column, look.bars) for column in COLUMNS]
    if "floor" in there:
        columns.append(Column("floor %", _floor, "floor_tangled"))
    return columns


def _cells(columns: list[Column], row: Row) -> list[Text | str]:
    return [column.cell(row) if column.needs in row else "" for column in columns]


def _energy(row: Row, with_bar: bool) -> Text:
    value = row[ENERGY]
    rough = row.get("kept", FEWEST_KEPT) < FEWEST_KEPT and not math.isnan(value)
    text = Text(f"{ROUGH if rough else ''}{percent(value)}".rjust(5))
    if not with_bar or math.isnan(value):
        return text
    return text + Text(f" {bar(value)}", style="cyan")


def _category(column: str, with_bar: bool) -> Column:
    def cell(row: Row) -> Text:
        if "interval" in row:
            return Text(row[column])
        text = Text(percent(row[column]).rjust(5))
        return text + Text(f" {bar(row[column])}", style=COLOURS[column]) if with_bar else text

    return Column(f"{LABELS[column]} %", cell, column)


def _floor(row: Row) -> str:
    return percent(row["floor_aliased"] + row["floor_tangled"]).rjust(5)


def _overall(measurement: Measurement, accounting: str) -> Iterator[tuple[Row, str]]:
    """Give the last rows: energy by rate; the mean of the categories, and its interval."""
    there = measurement.measures
    how = {"by": "overall", "accounting": accounting}
    rates: list[Row] = []
    if "energy" in there:
        table = measurement.energy("overall")
        rates = [
            {"name": _mean_of(int(row["sites"])), "rate": str(rate), **row}
            for rate, row in table.iterrows()
        ]
    if "categories" not in there:
        yield from ((row, "bold") for row in rates)
        return
    fractions = measurement.fractions(**how)
    n_sites = int(measurement.sites["supported"].sum())
    mean: Row = {"name": _mean_of(n_sites), **fractions.iloc[0]}
    if "floor" in there:
        mean |= dict(measurement.floor(**how).add_prefix("floor_").iloc[0])
    if len(rates) == 1:
        mean |= rates[0] | {"name": mean["name"]}
    else:
        yield from ((row, "bold") for row in rates)
    yield mean, "bold"
    ends = {
        column: between(mean[f"{column}_low"], mean[f"{column}_high"]).rjust(5)
        for column in COLUMNS
    }
    alone = all(math.isnan(mean[f"{column}_low"]) for column in COLUMNS)
    yield {"name": "one image" if alone else "95 % interval", "interval": True, **ends}, "dim"


def _mean_of(n_sites: int) -> str:
    return f"mean of {n_sites} site{'' if n_sites == 1 else 's'}"


def notes(measurement: Measurement) -> list[str]:
    """Explain what the table's numbers are and which to be careful with, a line each.

    Parameters
    ----------
    measurement : Measurement
        That of the table.

    Returns
    -------
    list of str

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)], measures=["categories"])
    >>> notes(m)
    []
    """
    there = measurement.measures
    lines = []
    if "energy" in there:
        lines.append(
            "aliased energy: share of the varying energy beyond the new Nyquist rate; "
            "white: what white noise has"
        )
        table = measurement.energy()
        few = table[(table["kept"] < FEWEST_KEPT) & table[ENERGY].notna()]
        if len(few):
            lines.append(
                f"{ROUGH} an axis keeps fewer than {FEWEST_KEPT} samples: known only roughly"
            )
        undefined = int(table[ENERGY].isna().sum())
        if undefined:
            lines.append(f"– not defined at {undefined} of {len(table)} sites: nothing varies")
    if "floor" in there:
        n = int(measurement.floor("overall")["n"].iloc[0])
        lines.append(
            "floor: aliased + tangled of the low part alone, in which nothing aliases "
            f"({n} image{'' if n == 1 else 's'})"
        )
    return lines
