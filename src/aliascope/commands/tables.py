"""Tables for the terminal. They only read a measurement or a list of sites."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aliascope.categories import COLUMNS, LABELS
from aliascope.commands.console import printable
from aliascope.commands.fitting import Column, Row, fitted, leaving
from aliascope.runs.energy import ENERGY
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import percent
from aliascope.runs.sites import times

BAR_WIDTH = 6
COLOURS = {"no_pass": "grey50", "non_aliased": "blue", "aliased": "yellow", "tangled": "red"}
"""Terminal colours of the bars, near those of the paper."""


@dataclass
class _Node:
    """One line of the tree of modules."""

    label: str = ""
    site: str | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def nested(names: Sequence[str]) -> list[tuple[int, str, str | None]]:
    """Nest site names by module, a chain of single modules being one line.

    Parameters
    ----------
    names : sequence of str
        Names of sites.

    Returns
    -------
    list of (int, str, str or None)
        Depth, label, and the site's name on lines that are a site.

    Examples
    --------
    >>> for depth, label, site in nested(["stem", "layer.0.conv", "layer.0.skip.0"]):
    ...     print("  " * depth + label)
    stem
    layer.0
      conv
      skip.0
    """
    root = _Node()
    for name in names:
        path, hash_, number = name.partition("#")
        node = root
        for part in [*path.split("."), *([hash_ + number] if number else [])]:
            node = node.children.setdefault(part, _Node(part))
        node.site = name
    lines: list[tuple[int, str, str | None]] = []

    def walk(node: _Node, depth: int) -> None:
        for child in node.children.values():
            label = child.label
            while child.site is None and len(child.children) == 1:
                (child,) = child.children.values()
                label += ("" if child.label.startswith("#") else ".") + child.label
            lines.append((depth, label, child.site))
            walk(child, depth + 1)

    walk(root, 0)
    return lines


def sites_table(sites: pd.DataFrame, console: Console) -> Table:
    """Tabulate sites without measurements.

    Parameters
    ----------
    sites : DataFrame
        Columns name, op, rate, dense_shape, supported, recomposition_error.
    console : Console
        Where it will be printed.

    Returns
    -------
    rich.table.Table
    """
    columns = [
        Column("site", name=True),
        Column("op", rank=1, left=True),
        Column("rate", left=True),
        Column("dense signal", left=True),
        Column("recomposition error", rank=2, left=True),
    ]
    shown, rows = [], sites.set_index("name")
    for depth, label, name in nested(list(sites["name"])):
        cells: list[str | Text] = ["  " * depth + label, "", "", "", ""]
        if name is not None:
            site = rows.loc[name]
            cells[1:3] = [str(site["op"]), times(site["rate"]) or "?"]
            if site["supported"]:
                cells[3:] = [times(site["dense_shape"]), f"{site['recomposition_error']:.1e}"]
            else:
                cells[3] = Text("not measured", style="yellow")
        shown.append(Row(cells))
    return fitted(leaving(columns, shown), console)


def not_measured_lines(sites: pd.DataFrame) -> list[str]:
    """Say of each site that cannot be measured why, a line each.

    Parameters
    ----------
    sites : DataFrame
        Columns name, op, supported, reason.

    Returns
    -------
    list of str

    Examples
    --------
    >>> row = {"name": "up", "op": "interpolate", "supported": False, "reason": "rate 1.5"}
    >>> not_measured_lines(pd.DataFrame([row]))
    ['not measured: up (interpolate): rate 1.5']
    """
    return [
        printable(f"not measured: {site['name']} ({site['op']}): {site['reason']}")
        for _, site in sites[~sites["supported"].astype(bool)].iterrows()
    ]


def accuracy_lines(measurement: Measurement) -> list[str]:
    """Say the accuracies in words; nothing where there are no labels."""
    lines = []
    for name, row in measurement.accuracy().iterrows():
        words = str(name).replace("top", "top-")
        interval = f"95 % interval {row['low']:.1%} to {row['high']:.1%}"
        counts = f"{row['correct']:.0f} of {row['n']:.0f}"
        lines.append(f"{words}  {row['accuracy']:6.1%}  ({counts}, {interval})")
    return lines


def conditions_table(
    measurement: Measurement, console: Console, *, accounting: str = "exact"
) -> Table:
    """Tabulate accuracy, the model's energy and its fractions under each condition of a run.

    Parameters
    ----------
    measurement : Measurement
        Of a run with several conditions.
    console : Console
        Where it will be printed.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    rich.table.Table
    """
    there = measurement.measures
    shown = COLUMNS if "categories" in there else []
    columns = [
        *(Column("condition", left=True), Column("images", rank=2), Column("top-1 %")),
        Column("top-5 %", rank=3),
        *([Column("aliased energy %")] if "energy" in there else []),
        *(Column(f"{LABELS[name]} %", rank=name == COLUMNS[0]) for name in shown),
    ]
    rows = []
    for condition in measurement.conditions:
        at = measurement.at(condition)
        accuracy = at.accuracy()["accuracy"]
        numbers = [accuracy.get("top1"), accuracy.get("top5")]
        if "energy" in there:
            numbers.append(
                at.energy("overall")[ENERGY].iloc[0] if "energy" in at.measures else None
            )
        if shown:
            numbers += list(at.fractions(by="overall", accounting=accounting).iloc[0][shown])
        cells = ["" if number is None else percent(number) for number in numbers]
        rows.append(Row([printable(condition.name), str(len(at.samples)), *cells]))
    return fitted(leaving(columns, rows), console)


def comparison_table(table: pd.DataFrame) -> Table:
    """Show how correctly and incorrectly classified images compare.

    Parameters
    ----------
    table : DataFrame
        Of :func:`aliascope.runs.comparisons.comparison`.

    Returns
    -------
    rich.table.Table
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("category")
    for column in ("median correct %", "median incorrect %", "p", "rank-biserial"):
        shown.add_column(column, justify="right")
    for name, row in table.iterrows():
        medians = [f"{100 * row[f'median_{group}']:.2f}" for group in ("correct", "incorrect")]
        tested = not math.isnan(row["p"])
        effect = [f"{row['p']:.3g}", f"{row['rank_biserial']:.2f}"] if tested else ["", ""]
        shown.add_row(LABELS[str(name)], *medians, *effect)
    return shown


def shares_table(shares: pd.Series[float]) -> Table:
    """List fractions of bins, by the columns of the categories, in percent."""
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(justify="right")
    for name, share in shares.items():
        table.add_row(LABELS[str(name)], f"{100 * share:.1f} %")
    return table


def bar(value: float, width: int = BAR_WIDTH) -> str:
    """Draw a fraction in eighths of a character.

    Examples
    --------
    >>> bar(0.5, width=4), bar(0.0, width=4)
    ('██  ', '    ')
    """
    eighths = round(value * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)
