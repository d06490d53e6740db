"""The command ``aliascope show``: a run's accuracy and its table, or its numbers as JSON or CSV."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aliascope.commands.choices import Accounting, AsCsv, AsJson, AtCondition, Run
from aliascope.commands.console import console_for_tables, printable, say_where
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.runs.ablation import Ablation
    from aliascope.runs.measurement import Measurement


def show(
    run: Run,
    accounting: Accounting = "exact",
    condition: AtCondition = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show a run's accuracy and its table: energy, categories, floor; and what an ablation found.

    Of an ablation, --json holds all of it under "ablation"; --csv is always the table of sites
    (`aliascope ablate --resume --csv` gives that of the ablation).
    """
    from aliascope.runs.ablation import Ablation
    from aliascope.runs.measurement import load
    from aliascope.runs.shown import described

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    measurement = load(run)
    if condition is not None:
        measurement = measurement.at(condition)
    if as_json:
        found = Ablation.found_in(measurement)
        text = measurement.to_json(accounting=accounting)
        print(text if found is None else _with_ablation(text, found))
    elif as_csv:
        measurement.table(accounting=accounting).to_csv(sys.stdout, lineterminator="\n")
    else:
        console = console_for_tables()
        for line in described(measurement.run):
            console.print(printable(line), style="dim", highlight=False, markup=False)
        show_measurement(measurement, run, accounting, one_condition=condition is not None)


def _with_ablation(text: str, found: Ablation) -> str:
    """Put an ablation into the JSON of its measurement."""
    content = {**json.loads(text), "ablation": json.loads(found.to_json())}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def show_measurement(
    measurement: Measurement, folder: Path, accounting: str, *, one_condition: bool = False
) -> None:
    """Print accuracy, table, what was not measured, an ablation if there is one, the settings."""
    from aliascope.commands.ablation_table import print_conditions
    from aliascope.commands.site_table import measured_tables, notes
    from aliascope.commands.tables import accuracy_lines, conditions_table, not_measured_lines
    from aliascope.runs.ablation import Ablation
    from aliascope.runs.shown import counted, said_of

    console = console_for_tables()
    console.print()
    for line in accuracy_lines(measurement):
        console.print(line, highlight=False)
    if len(measurement.conditions) > 1:
        console.print(conditions_table(measurement, console, accounting=accounting))
        console.print(printable(f"{measurement.condition.name}:"), highlight=False, markup=False)
    if measurement.measures:
        tables = measured_tables(measurement, console, accounting=accounting)
        for table in tables:
            console.print(table)
        for line in notes(measurement, tables):
            console.print(line, style="dim", highlight=False, markup=False)
    for line in not_measured_lines(measurement.sites):
        console.print(line, markup=False)
    found = Ablation.found_in(measurement)
    if found is not None:
        print_conditions(found, console, measurement.condition if one_condition else None)
    skipped = measurement.unreadable
    if skipped:
        console.print(
            f"{counted(len(skipped), 'image')} could not be read and left out; all are named in "
            + printable(f"{folder / 'run.json'} (first: {skipped[0][1]}: {skipped[0][2]})"),
            style="yellow",
            markup=False,
        )
    if measurement.run.get("status") == "running":
        console.print(
            "This run is not finished; unless others are at work on it, go on with --resume.",
            style="yellow",
        )
    say_where(said_of(measurement, accounting), folder, console)
