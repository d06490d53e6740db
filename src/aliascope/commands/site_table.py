"""The table of a run in the terminal: aliased energy first, then the categories and their floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aliascope.categories import COLUMNS, LABELS
from aliascope.commands import fitting
from aliascope.commands.fitting import SHORT, SHORTEST, Body, fitted, width_of
from aliascope.commands.tables import COLOURS, bar, nested
from aliascope.runs.energy import ENERGY, FEWEST_KEPT, INTERVAL
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import between, counted, percent

ROUGH = "~"
"""Before an energy that is known only roughly."""

NAME = 14
"""Characters to which names are shortened before the table falls apart into two."""

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
    ends : bool
        The ends of the interval of the model's categories in a row each.
    white : bool
        What white noise has.
    shortest : int or None
        To how many characters names may be shortened.
    """

    wide: bool = False
    bars: bool = False
    bar: bool = False
    ends: bool = False
    white: bool = True
    shortest: int | None = None


LOOKS = (
    Look(wide=True, bars=True, bar=True),
    Look(wide=True, bar=True),
    Look(bar=True),
    Look(),
    Look(ends=True),
    Look(ends=True, shortest=SHORT),
    Look(ends=True, white=False, shortest=NAME),
)
"""From the fullest to the leanest; what fits none of them is shown as two tables."""


@dataclass(frozen=True)
class Column:
    """One column: its head, and what it shows of a row; nothing where the row has no such value."""

    head: str
    cell: Callable[[Row], Text | str]
    needs: str


def measured_tables(
    measurement: Measurement, console: Console, *, accounting: str = "exact"
) -> list[Table]:
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
    list of rich.table.Table
        One; or where the console is too narrow two, of energy and of categories with their floor.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)])
    >>> measured_tables(m, Console(width=200))[0].columns[1].header
    'op'
    >>> len(measured_tables(m, Console(width=40)))
    2
    """
    by_site = measurement.table(accounting=accounting)
    last = list(_overall(measurement, accounting))

    def bodies(look: Look, kinds: tuple[bool, bool]) -> Body:
        return _body(_columns(measurement, look, *kinds), by_site, last, look)

    made = fitted((bodies(look, (True, True)) for look in LOOKS), console)
    if width_of(made, console) <= console.width:
        return [made]
    there = measurement.measures
    parts = [("energy" in there, False), (False, "categories" in there or "floor" in there)]
    looks = (*LOOKS[3:-1], Look(ends=True, shortest=SHORTEST))
    return [
        fitted((bodies(look, kinds) for look in looks), console) for kinds in parts if any(kinds)
    ]


def _body(
    columns: list[Column], by_site: pd.DataFrame, last: list[tuple[Row, str]], look: Look
) -> Body:
    rows = []
    for depth, label, name in nested(list(by_site.index)):
        row: Row = {} if name is None else dict(by_site.loc[name])
        rows.append(fitting.Row(["  " * depth + label, *_cells(columns, row)]))
    begins = True
    for row, style in last:
        if not any(column.needs in row for column in columns if column.needs != "rate"):
            continue
        for each in _ends(row) if look.ends and "interval" in row else [row]:
            cells = [each["name"], *_cells(columns, each)]
            rows.append(fitting.Row(cells, style, section=begins))
            begins = False
    heads = [fitting.Column("site", name=True)]
    heads += [fitting.Column(column.head, left=True) for column in columns]
    gap = 2 if look.bar else 1
    return Body(heads, rows, broken=not look.bar, gap=gap, shortest=look.shortest)


def _ends(row: Row) -> list[Row]:
    """Write an interval in two rows, its lower end in the first."""
    ends = [{**row, "name": f"95 %, {word}"} for word in ("from", "to")]
    for column in COLUMNS:
        low, _, high = str(row[column]).strip().partition("–")
        ends[0][column], ends[1][column] = low.rjust(5), high.rjust(5)
    return ends if any(str(row[column]).strip() != "–" for column in COLUMNS) else [row]


def _columns(
    measurement: Measurement, look: Look, of_energy: bool, of_categories: bool
) -> list[Column]:
    there = measurement.measures
    columns = []
    if look.wide:
        columns.append(Column("op", lambda row: row["op"], "op"))
    if of_energy or "energy" not in there:
        columns.append(Column("rate", lambda row: row["rate"], "rate"))
    if look.wide:
        columns.append(Column("dense signal", lambda row: row["dense_shape"], "dense_shape"))
    if "energy" in there and of_energy:
        columns += [
            Column("aliased energy %", lambda row: _energy(row, look.bar), ENERGY),
            Column("95 %", lambda row: between(row[INTERVAL[0]], row[INTERVAL[1]]), ENERGY),
        ]
        if look.white:
            columns.append(Column("white %", lambda row: percent(row["white"]), ENERGY))
        if look.wide:
            columns.append(
                Column("edge %", lambda row: between(row["edge_low"], row["edge_high"]), ENERGY)
            )
    if "categories" in there and of_categories:
        columns += [_category(column, look.bars) for column in COLUMNS]
    if "floor" in there and of_categories:
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
    return f"mean of {counted(n_sites, 'site')}"


def notes(measurement: Measurement, tables: Sequence[Table] = ()) -> list[str]:
    """Explain what the table's numbers are and which to be careful with, a line each.

    Parameters
    ----------
    measurement : Measurement
        That of the table.
    tables : sequence of rich.table.Table
        From :func:`measured_tables`; what they have no column of needs no word.

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
        heads = [str(column.header) for table in tables for column in table.columns]
        lines.append(
            "aliased energy: share of the varying energy beyond the new Nyquist rate"
            + ("; white: what white noise has" if any("white" in head for head in heads) else "")
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
            f"({counted(n, 'image')})"
        )
    return lines
