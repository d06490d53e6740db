"""The command ``aliascope check``: whether a model keeps its budget of aliasing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aliascope.commands.choices import AsJson, Crop, Device, Resize, Seed, Weights
from aliascope.commands.compare import LABELS
from aliascope.commands.console import console_for_tables, printable
from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from aliascope.runs.measurement import Measurement

STYLES = {"fails": "bold red", "open": "yellow"}
"""Of verdicts."""

FAILED = 1
"""Exit code where a bound is not kept; bad input is 2."""


def check(
    budget: Annotated[
        Path, typer.Argument(metavar="BUDGET.toml", help="Bounds, see docs/how-to.md.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="As for evaluate.", show_default=False),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            metavar="noise[:N]|...",
            help="1/f noise from --seed, of the model's size; or as for evaluate.",
        ),
    ] = "noise",
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Check this run.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the file from today's values.")
    ] = False,
    weights: Weights = "default",
    max_samples: Annotated[int | None, typer.Option(help="Images at most.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Images in a pass.")] = 16,
    device: Device = "auto",
    seed: Seed = 0,
    resize: Resize = None,
    crop: Crop = None,
    as_json: AsJson = False,
) -> None:
    """Hold a model's aliasing against a budget; exit with 1 where an interval excludes a bound."""
    from aliascope.evaluation.options import Options
    from aliascope.files import replacing, writing
    from aliascope.runs.budget import judge, read_budget, values_of, written
    from aliascope.runs.measurement import load

    if (model is None) == (run is None):
        raise AliascopeError("Pass either --model, to measure it, or --run, to check a run.")
    bounds = [] if write else read_budget(budget)
    if write and budget.exists():
        raise AliascopeError(f"{budget} is there already; name another file, or remove it.")
    if run is not None:
        values = values_of(load(run))
    else:
        wanted = {bound.value for bound in bounds} - {"aliased_energy", "accuracy"}
        measures = ("energy", "categories") if write or wanted else ("energy",)
        options = Options(
            max_samples=max_samples, batch_size=batch_size, seed=seed, measures=measures
        )
        with tempfile.TemporaryDirectory() as folder:
            values = values_of(
                _measured(
                    str(model), data, Path(folder, "run"), options, weights, device, resize, crop
                )
            )
    if write:
        text = written(values)
        with writing(budget, "name another file"), replacing(budget) as draft:
            draft.write_text(text, encoding="utf-8")
        print(f"{budget}: {text.count('[[bound]]')} bounds")
        return
    verdicts = judge(bounds, values)
    failed = int((verdicts["verdict"] == "fails").sum())
    if as_json:
        content = {"kind": "check", "failed": failed, "bounds": verdicts.to_dict(orient="records")}
        print(json.dumps(content, indent=1))
    else:
        _show(verdicts, failed)
    if failed:
        raise typer.Exit(FAILED)


def _measured(
    name: str,
    data: str,
    folder: Path,
    options: object,
    weights: str,
    device: str,
    resize: int | None,
    crop: int | None,
) -> Measurement:
    from aliascope.commands.evaluate import images_for, own_device
    from aliascope.evaluation.loop import evaluate
    from aliascope.evaluation.options import Options
    from aliascope.tasks.models import load_model

    assert isinstance(options, Options)
    loaded = load_model(name, weights=weights, resize=resize, crop=crop, seed=options.seed)
    device = own_device(device)
    images = images_for(loaded, data, options, device)
    return evaluate(loaded, images, folder, options, device=device, workers=0)


def _show(verdicts: pd.DataFrame, failed: int) -> None:
    from aliascope.runs.shown import counted

    console = console_for_tables()
    console.print(_table(verdicts, console))
    of = counted(len(verdicts), "bound")
    console.print(f"{failed} of {of} failed" if failed else f"{of}, none failed", highlight=False)


def _table(verdicts: pd.DataFrame, console: Console) -> Table:
    """Show the bounds of each site below its name."""
    from aliascope.commands.fitting import Column, Row, fitted, leaving

    columns = [
        Column("site", name=True),
        *(Column(head, left=True) for head in ("bound", "today [95 %]", "verdict")),
    ]
    rows: list[Row] = []
    for site, bounds in verdicts.groupby("site", sort=False):
        rows.append(Row([printable(str(site)), "", "", ""], section=bool(rows)))
        for row in bounds.to_dict("records"):
            today = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            name = LABELS.get(row["value"], row["value"])
            style = STYLES.get(row["verdict"], "")
            rows.append(Row([f"  {name}", row["bound"], today, row["verdict"]], style))
    return fitted(leaving(columns, rows), console)
