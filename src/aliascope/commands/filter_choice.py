"""The option ``--filter`` of the commands that run a model."""

from __future__ import annotations

from typing import Annotated

import typer

FilterChoice = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="NAME[@SITE,...]",
        help="Filter the network's sites before they decimate, all of them or those named "
        "(`aliascope filters` lists the filters, `aliascope sites` the sites); recorded.",
        show_default="none",
    ),
]
