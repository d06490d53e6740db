"""The command ``aliascope compare``: runs on the same images, site by site."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from aliascope.categories import LABELS as CATEGORIES
from aliascope.commands.choices import AsCsv, AsJson
from aliascope.commands.console import console_for_tables, printable
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from aliascope.runs.comparison import Comparison

LABELS = {"aliased_energy": "aliased energy", **CATEGORIES}
"""What tables call the values."""


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...", help="Folders of runs; each is compared with the first."
        ),
    ],
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of all runs, such as eps=0.001.", show_default="each run's first"
        ),
    ] = None,
    values: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What to show: aliased_energy, no_pass, non_aliased, aliased, tangled.",
            show_default="all that both measured",
        ),
    ] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare runs on the same images: paired differences at each site, with intervals."""
    from aliascope.runs.comparison import compare as compared

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    if len(runs) < 2:
        raise AliascopeError(f"One run is given ({runs[0]}); name another to compare it with.")
    found = [compared(runs[0], other, condition=condition) for other in runs[1:]]
    if as_json:
        texts = [each.to_json() for each in found]
        print(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
        return
    if as_csv:
        import pandas as pd

        tables = {str(run): each.table() for run, each in zip(runs[1:], found, strict=True)}
        table = pd.concat(tables, names=["run"]) if len(found) > 1 else found[0].table()
        table.to_csv(sys.stdout, lineterminator="\n")
        return
    console = console_for_tables()
    wanted = [word.strip() for word in values.split(",") if word.strip()]
    for each in found:
        _show(each, console, wanted)


def _show(found: Comparison, console: Console, wanted: list[str]) -> None:
    from aliascope.runs.shown import counted

    for value in wanted:
        if value not in found.values:
            raise AliascopeError(
                f"values has {value!r}, but both runs measured {', '.join(found.values)}."
            )
    table = _table(found, console, wanted or found.values)
    console.print(f"\n{printable(found.names[0])} → {printable(found.names[1])}", markup=False)
    console.print(table)
    accuracy = found.accuracy()
    if accuracy.n:
        ends = f"{100 * accuracy.low:+.1f} to {100 * accuracy.high:+.1f}"
        console.print(
            f"top-1 {100 * accuracy.mean:+.1f} points (95 % interval {ends}; McNemar's p "
            f"{accuracy.p:.3g}); predictions agree on {100 * found.agreement():.1f} %",
            highlight=False,
        )
    images = counted(len(found.images), "image")
    console.print(
        f"{images} in both; intervals: Student's t of paired differences",
        style="dim",
        highlight=False,
    )
    for note in found.notes:
        console.print(printable(note), style="dim", highlight=False, markup=False)


def _table(found: Comparison, console: Console, values: Sequence[str]) -> Table:
    """Show each site's values below its name; beside it where there is one."""
    from aliascope.commands.fitting import Column, Row, fitted, leaving
    from aliascope.runs.shown import p_value, percent

    columns = [
        Column("site", name=True),
        *(Column("before %"), Column("after %"), Column("difference, points [95 %]")),
        Column("p", rank=1),
    ]
    rows: list[Row] = []
    seen = ""
    for key, row in found.table().iterrows():
        site, value = map(str, cast("tuple[str, str]", key))
        if value not in values:
            continue
        name = printable(site)
        if len(values) > 1:
            if site != seen:
                rows.append(Row([name, *[""] * 4], section=bool(rows)))
            name, seen = f"  {LABELS.get(value, value)}", site
        numbers = (percent(row["before"]), percent(row["after"]), _points(row))
        rows.append(Row([name, *numbers, p_value(row["p"])]))
    return fitted(leaving(columns, rows), console)


def _points(row: pd.Series[float]) -> str:
    mean, low, high = (100 * row[f"difference{end}"] for end in ("", "_low", "_high"))
    return f"{mean:+.2f}" if math.isnan(low) else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
