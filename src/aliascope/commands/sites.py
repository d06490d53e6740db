"""The command ``aliascope sites``: where a model decimates, without data."""

from __future__ import annotations

from typing import Annotated

import typer

from aliascope.commands.choices import Device, ModelName, Seed, Weights
from aliascope.commands.console import console_for_tables
from aliascope.errors import AliascopeError


def sites(
    model: ModelName,
    weights: Weights = "none",
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the square input.", show_default="the model's crop"
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """List where a model decimates, without data."""
    import pandas as pd

    from aliascope.commands.tables import sites_table
    from aliascope.evaluation.probe import no_sites, probe
    from aliascope.models.devices import automatic_device
    from aliascope.tasks.models import load_model

    if size is not None and size < 1:
        raise AliascopeError(f"size is {size}, but it must be 1 or more.")
    loaded = load_model(model, weights=weights, seed=seed)
    found = probe(loaded, automatic_device(device), (size, size) if size else None)
    if not found.sites:
        raise AliascopeError(no_sites(model))
    console = console_for_tables()
    console.print(sites_table(pd.DataFrame([site.as_row() for site in found.sites])))
    measured = sum(site.supported for site in found.sites)
    console.print(f"{measured} sites can be measured, {len(found.sites) - measured} cannot.")
