"""The command ``aliascope sites``: where a model decimates, without data."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from aliascope.commands.choices import AsCsv, AsJson, Device, ModelName, Seed, Weights
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
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List where a model decimates, without data."""
    import pandas as pd

    from aliascope.commands.tables import not_measured_lines, sites_table
    from aliascope.evaluation.probe import no_sites, probe
    from aliascope.files import plain
    from aliascope.models.devices import automatic_device
    from aliascope.runs.shown import counted
    from aliascope.runs.sites import times
    from aliascope.tasks.models import load_model

    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    if size is not None and size < 1:
        raise AliascopeError(f"size is {size}, but it must be 1 or more.")
    loaded = load_model(model, weights=weights, seed=seed)
    found = probe(loaded, automatic_device(device), (size, size) if size else None)
    if not found.sites:
        raise AliascopeError(no_sites(model))
    rows = pd.DataFrame([site.as_row() for site in found.sites])
    if as_json:
        print(
            json.dumps({"kind": "sites", "sites": plain(rows.to_dict(orient="records"))}, indent=1)
        )
        return
    if as_csv:
        for column in ("rate", "dense_shape"):
            rows[column] = rows[column].map(times)
        rows.to_csv(sys.stdout, index=False, lineterminator="\n")
        return
    console = console_for_tables()
    console.print(sites_table(rows, console))
    for line in not_measured_lines(rows):
        console.print(line, markup=False, highlight=False)
    measured = sum(site.supported for site in found.sites)
    console.print(
        f"{counted(measured, 'site')} can be measured, {len(found.sites) - measured} cannot."
    )
