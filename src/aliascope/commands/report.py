"""The command ``aliascope report``: a run as one web page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aliascope.commands.choices import Accounting, AtCondition, Palette, Run
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    from aliascope.runs.consistency import Consistency
    from aliascope.runs.measurement import Measurement


def report(
    run: Run,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="HTML file.", show_default="RUN/report.html"
        ),
    ] = None,
    accounting: Accounting = "exact",
    palette: Palette = "paper",
    condition: AtCondition = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="OTHER",
            help="A run on the same images to compare with; may be given again.",
            show_default=False,
        ),
    ] = None,
    max_samples: Annotated[
        int, typer.Option(metavar="N", help="Images in the explorer at most.")
    ] = 20,
    channels: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Channels of a site in the explorer at most.",
            show_default="all where they are few",
        ),
    ] = "",
) -> None:
    """Write a run as one web page that works offline."""
    from aliascope.report import write_page
    from aliascope.runs.comparison import compare as compared
    from aliascope.runs.measurement import Measurement

    opened = _opened(run, condition)
    comparisons = []
    for other in compare or ():
        if not isinstance(opened, Measurement):
            raise AliascopeError(
                f"{run} holds shift consistency alone, which cannot be compared on a page; "
                "leave --compare out."
            )
        names = (str(run), str(other))
        comparisons.append(compared(opened, other, condition=condition, names=names))
    page = write_page(
        opened,
        output or run / "report.html",
        accounting=accounting,
        colours=palette,
        max_samples=max_samples,
        channels=_number(channels),
        compare=comparisons,
    )
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")


def _opened(folder: Path, condition: str | None) -> Measurement | Consistency:
    """Open a run, or what `aliascope shift` alone wrote."""
    from aliascope.runs.consistency import Consistency
    from aliascope.runs.measurement import load
    from aliascope.runs.shift_parts import DESCRIPTION
    from aliascope.runs.store import Store

    if not Store(folder).has_run() and (folder / DESCRIPTION).is_file():
        return Consistency.load(folder)
    measurement = load(folder)
    return measurement if condition is None else measurement.at(condition)


def _number(channels: str) -> int | None:
    if not channels:
        return None
    if channels == "all":
        return sys.maxsize
    if channels.isdecimal():
        return int(channels)
    raise AliascopeError(f"channels is {channels!r}, but it must be a whole number or all.")
