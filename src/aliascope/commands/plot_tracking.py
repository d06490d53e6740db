"""The command ``aliascope plot tracking``: a value of each site over the steps of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tracking(
    csv: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="File that Tracker.to_csv wrote.", show_default=False),
    ],
    value: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="aliased_energy, no_pass, non_aliased, aliased or tangled; floor_tangled and so "
            "on, where they were tracked.",
        ),
    ] = "aliased_energy",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending.",
            show_default="tracking.png beside the CSV",
        ),
    ] = None,
) -> None:
    """Draw a value of each site over the steps of a training."""
    from aliascope import figures
    from aliascope.runs.tracked import read_tracked

    figure = figures.tracking(read_tracked(csv, value), value=value)
    print(figures.save(figure, output or csv.with_name("tracking.png")))
