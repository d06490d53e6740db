"""The command ``aliascope report``: a run as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aliascope.commands.choices import Accounting, Palette, Run


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
    max_samples: Annotated[
        int, typer.Option(metavar="N", help="Images in the explorer at most.")
    ] = 20,
) -> None:
    """Write a run as one web page that works offline."""
    from aliascope.report import write_page
    from aliascope.runs.measurement import load

    page = write_page(
        load(run),
        output or run / "report.html",
        accounting=accounting,
        colours=palette,
        max_samples=max_samples,
    )
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
