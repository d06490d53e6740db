"""The command ``aliascope show``: a run's accuracy and its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aliascope.runs.measurement import Measurement
from aliascope.commands.choices import Accounting, Run
from aliascope.commands.console import WIDE, console_for_tables, printable


def show(run: Run, accounting: Accounting = "exact") -> None:
    """Show a run's accuracy and its table of fractions."""
    from aliascope.runs.measurement import load

    show_measurement(load(run), run, accounting)


def show_measurement(measurement: Measurement, folder: Path, accounting: str) -> None:
    """Print accuracy, table, what was not measured, and the settings."""
    from aliascope.commands.tables import accuracy_lines, conditions_table, fractions_table

    console = console_for_tables()
    console.print()
    for line in accuracy_lines(measurement):
        console.print(line, highlight=False)
    if len(measurement.conditions) > 1:
        console.print(conditions_table(measurement, accounting=accounting))
        console.print(printable(f"{measurement.condition.name}:"), highlight=False, markup=False)
    if len(measurement.counts):
        wide = console.width >= WIDE
        console.print(fractions_table(measurement, accounting=accounting, wide=wide))
    for _, site in measurement.sites[~measurement.sites["supported"].astype(bool)].iterrows():
        console.print(
            printable(f"not measured: {site['name']} ({site['op']}): {site['reason']}"),
            markup=False,
        )
    skipped = measurement.unreadable
    if skipped:
        console.print(
            f"{len(skipped)} images could not be read and were left out; all are named in "
            + printable(f"{folder / 'run.json'} (first: {skipped[0][1]}: {skipped[0][2]})"),
            style="yellow",
            markup=False,
        )
    if measurement.run.get("status") == "running":
        console.print(
            "This run is not finished; unless others are at work on it, go on with --resume.",
            style="yellow",
        )
    criterion = measurement.criterion
    level = (
        ""
        if criterion is None
        else (f", threshold {criterion.threshold_db:g} dB below the {criterion.reference}")
    )
    console.print(
        f"{len(measurement.samples)} images, {accounting} accounting{level}; run in {folder}",
        style="dim",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
