"""What an ablation found, in the terminal: a verdict a stage, and the numbers it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aliascope.commands.console import printable
from aliascope.commands.fitting import Column as Head
from aliascope.commands.fitting import Row, fitted, leaving, shortened
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import members
from aliascope.runs.conditions import Condition
from aliascope.runs.shown import counted, p_value, percent
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
    images = counted(int(clean["n"]), "image")
    if "accuracy" in clean:
        interval = f"{percent(clean['accuracy_low'])} to {percent(clean['accuracy_high'])}"
        console.print(
            f"unchanged: top-1 {percent(clean['accuracy'])} % of {images} "
            f"(95 % interval {interval})",
            highlight=False,
        )
    else:
        console.print(f"{images} without labels", highlight=False)
    for name, verdict in verdicts.items():
        console.print()
        share = energy.get(name, math.nan)
        known = "" if math.isnan(share) else f", aliased energy {percent(share)} %"
        names = shortened([printable(each) for each in members(name)], console.width - 2)
        title = Text(" +\n".join(names))
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
    heads = [Head("intervention", left=True), *(Head(head, rank) for head, _, rank in columns)]
    body = [
        Row([str(name), *(cell(row) for _, cell, _ in columns)]) for name, row in rows.iterrows()
    ]
    return fitted(leaving(heads, body), console)


def _columns(rows: Any) -> list[Column]:
    columns: list[Column] = [("energy taken %", lambda row: _percent(row["energy_taken"]), 0)]
    if rows["accuracy_change"].notna().any():
        columns += [
            ("accuracy %", lambda row: _percent(row["accuracy"]), 2),
            ("change in points [95 %]", lambda row: _points(row, "accuracy_change"), 0),
            ("p (Holm)", lambda row: p_value(row["p_holm"]), 1),
            ("over gain [95 %]", lambda row: _points(row, "versus_gain"), 3),
        ]
    if rows["agreement"].notna().any():
        labelled = rows["accuracy_change"].notna().any()
        columns += [
            ("agreement % [95 %]", lambda row: _share(row, "agreement"), 5 if labelled else 0),
            ("follows donor %", lambda row: _percent(row["follows"]), 1),
            ("KL, nats", lambda row: f"{row['kl']:.3g}", 4),
        ]
    if rows["n"].nunique() > 1:
        columns.insert(1, ("images", lambda row: f"{row['n']:.0f}", 1))
    columns.append(("output change %", lambda row: _percent(row["output_change"]), 6))
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
