"""What an ablation found, in the terminal: a verdict a stage, and the numbers it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement as Width
from rich.table import Table
from rich.text import Text

from aliascope.commands.console import printable
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import members
from aliascope.runs.conditions import Condition
from aliascope.runs.shown import percent
from aliascope.runs.words import in_a_sentence

Column = tuple[str, Callable[[Any], str], int]
"""Head, cell of a row, and rank: those of high ranks go first where there is no room."""

STYLES = {"used": "bold", "harmful": "bold", "undecided": "dim"}


def print_conditions(
    ablation: Ablation, console: Console, condition: Condition | None = None
) -> None:
    """Print an ablation under each of its conditions, or under one.

    Parameters
    ----------
    ablation : Ablation
        What to print.
    console : Console
        Where.
    condition : Condition, optional
        Which; all by default.
    """
    several = len(ablation.conditions) > 1
    for each in ablation.conditions if condition is None else [condition]:
        if several:
            console.print(f"\n{printable(each.name)}:", highlight=False, markup=False)
        print_ablation(ablation.at(each), console)


def print_ablation(ablation: Ablation, console: Console) -> None:
    """Print verdicts, numbers and what they depend on.

    Parameters
    ----------
    ablation : Ablation
        What to print.
    console : Console
        Where.
    """
    table, energy = ablation.table(), ablation.energy()
    clean, verdicts = ablation.clean(), ablation.verdicts()
    if "accuracy" in clean:
        interval = f"{percent(clean['accuracy_low'])} to {percent(clean['accuracy_high'])}"
        console.print(
            f"unchanged: top-1 {percent(clean['accuracy'])} % of {clean['n']:.0f} images "
            f"(95 % interval {interval})",
            highlight=False,
        )
    else:
        console.print(f"{clean['n']:.0f} images without labels", highlight=False)
    for name, verdict in verdicts.items():
        console.print()
        share = energy.get(name, math.nan)
        known = "" if math.isnan(share) else f", aliased energy {percent(share)} %"
        title = Text(" +\n".join(printable(each) for each in members(name)))
        title.append(f"{known}: ").append(str(verdict), STYLES.get(verdict, ""))
        console.print(title)
        console.print(printable(verdict.why), style="dim", highlight=False, markup=False)
        console.print(_table(table.loc[name], console))
    console.print(printable(in_a_sentence(ablation)), highlight=False, markup=False)
    for line in notes(ablation):
        console.print(line, style="dim", highlight=False, markup=False)


def notes(ablation: Ablation) -> list[str]:
    """Say what the numbers depend on."""
    options = ablation.measurement.run.get("options", {})
    lines = [
        "Changes and p compare the same images (Tango's interval, McNemar's exact test); verdicts "
        "adjust over stages by Holm's method. gain takes as much energy from everything.",
    ]
    if options.get("recalibrate"):
        lines.append(
            f"Batch norm was re-estimated from {options['recalibrate']} other images, clean and "
            "under each intervention but swaps."
        )
    return lines


def _table(rows: Any, console: Console) -> Table:
    columns = _columns(rows)
    unlimited = console.options.update(max_width=10_000)
    for limit in sorted({rank for _, _, rank in columns}, reverse=True):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("intervention", no_wrap=True)
        kept = [column for column in columns if column[2] <= limit]
        for head, _, _ in kept:
            table.add_column(head, justify="right", no_wrap=True)
        for name, row in rows.iterrows():
            table.add_row(str(name), *(cell(row) for _, cell, _ in kept))
        if Width.get(console, unlimited, table).maximum <= console.width:
            break
    return table


def _columns(rows: Any) -> list[Column]:
    columns: list[Column] = [("energy\ntaken %", lambda row: _percent(row["energy_taken"]), 0)]
    if rows["accuracy_change"].notna().any():
        columns += [
            ("accuracy\n%", lambda row: _percent(row["accuracy"]), 2),
            ("change in points\n[95 %]", lambda row: _points(row, "accuracy_change"), 0),
            ("p\nHolm", lambda row: _p(row["p_holm"]), 1),
            ("over gain\n[95 %]", lambda row: _points(row, "versus_gain"), 3),
        ]
    if rows["agreement"].notna().any():
        labelled = rows["accuracy_change"].notna().any()
        columns += [
            ("agreement %\n[95 %]", lambda row: _share(row, "agreement"), 5 if labelled else 0),
            ("follows\ndonor %", lambda row: _percent(row["follows"]), 1),
            ("KL\nnats", lambda row: f"{row['kl']:.3g}", 4),
        ]
    if rows["n"].nunique() > 1:
        columns.insert(1, ("images", lambda row: f"{row['n']:.0f}", 1))
    columns.append(("output\nchange %", lambda row: _percent(row["output_change"]), 6))
    return columns


def _percent(share: float) -> str:
    return "" if math.isnan(share) else percent(share)


def _points(row: Any, name: str) -> str:
    if math.isnan(row[name]):
        return ""
    mean, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _share(row: Any, name: str) -> str:
    mean, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _p(p: float) -> str:
    if math.isnan(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
