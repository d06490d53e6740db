"""Options of the command ``aliascope ablate`` that no other command has."""

from __future__ import annotations

from typing import Annotated

import typer

Interventions = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Of remove, restore, gain, swap-within, swap-between, low; a verdict needs all.",
    ),
]


Sites = Annotated[
    str,
    typer.Option(
        metavar="stages,each,all|SITE,...",
        help="What is changed: stages (sites side by side together; of more than 8 the 8 of most "
        "aliased energy), each site alone, all at once, or sites by name, A+B together.",
    ),
]


Dose = Annotated[
    str, typer.Option(metavar="DOSE,...", help="How much of each intervention, from 0 to 1.")
]


Recalibrate = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Re-estimate batch norm under each intervention, and clean, from the last N images, "
        "which are not measured then.",
    ),
]
