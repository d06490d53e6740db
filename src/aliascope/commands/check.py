"""The command ``aliascope check``: whether a model keeps its budget of aliasing."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aliascope.categories import COLUMNS
from aliascope.commands.choices import AsCsv, AsJson, Crop, Device, Resize, Seed, Weights
from aliascope.commands.compare import LABELS
from aliascope.commands.console import console_for_tables, printable
from aliascope.commands.filter_choice import FilterChoice
from aliascope.errors import AliascopeError, nearest
from aliascope.files import plain, replacing, writing

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from aliascope.runs.consistency import Consistency
    from aliascope.runs.measurement import Measurement
    from aliascope.tasks.models import LoadedModel

ENERGY = "aliased_energy"

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
    ] = "noise:16",
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Check this run.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the file from today's values.")
    ] = False,
    values: Annotated[
        str,
        typer.Option(
            "--values",
            metavar="NAME,...",
            help="What --write bounds: aliased_energy, aliased, tangled, consistency, worst, cost.",
        ),
    ] = "aliased_energy,aliased,tangled",
    filter: FilterChoice = None,
    weights: Weights = "default",
    max_samples: Annotated[int | None, typer.Option(help="Images at most.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Images in a pass.")] = 16,
    device: Device = "auto",
    seed: Seed = 0,
    resize: Resize = None,
    crop: Crop = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Hold a model's aliasing against a budget; exit with 1 where an interval excludes a bound.

    Only what the bounds need is measured: consistency takes nine passes an image, cost one a site.
    """
    from aliascope.runs.budget import judge, read_budget, written

    if (model is None) == (run is None):
        raise AliascopeError("Pass either --model, to measure it, or --run, to check a run.")
    if as_json and as_csv:
        raise AliascopeError("--json and --csv are both given; choose one.")
    if run is not None and filter is not None:
        raise AliascopeError("--filter filters a --model; a run has been measured with its own.")
    bounds = [] if write else read_budget(budget)
    if write and budget.exists():
        raise AliascopeError(f"{budget} is there already; name another file, or remove it.")
    wanted = _wanted(values) if write else {bound.value for bound in bounds}
    if run is not None:
        found = _of_run(run)
    else:
        measuring = Measuring(
            str(model), data, weights, filter, max_samples, batch_size, seed, device, resize, crop
        )
        found = measuring.values(wanted)
    if write:
        kept = found[found.index.get_level_values("value").isin(wanted)]
        _write(budget, written(kept))
        return
    verdicts = judge(bounds, found)
    failed = int((verdicts["verdict"] == "fails").sum())
    if as_json:
        content = {"kind": "check", "failed": failed, "bounds": verdicts.to_dict(orient="records")}
        print(json.dumps(plain(content), indent=1))
    elif as_csv:
        verdicts.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        _show(verdicts, failed)
    if failed:
        raise typer.Exit(FAILED)


def _wanted(text: str) -> set[str]:
    """Read what --write is to bound."""
    from aliascope.runs.budget import WRITTEN

    words = {word.strip() for word in text.split(",") if word.strip()}
    for word in sorted(words - set(WRITTEN)):
        raise AliascopeError(
            f"values has {word!r}{nearest(word, WRITTEN)}, but --write bounds {', '.join(WRITTEN)}."
        )
    return words


def _write(budget: Path, text: str) -> None:
    from aliascope.runs.shown import counted

    with writing(budget, "name another file"), replacing(budget) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"{budget}: {counted(text.count('[[bound]]'), 'bound')}")


def _of_run(run: Path) -> pd.DataFrame:
    """Read what a run's folder holds: its measurement, and shift consistency where it is there."""
    from aliascope.runs.budget import values_of
    from aliascope.runs.consistency import Consistency
    from aliascope.runs.measurement import load
    from aliascope.runs.shift_parts import DESCRIPTION

    shifted = Consistency.load(run) if (run / DESCRIPTION).exists() else None
    return values_of(load(run), shifted)


@dataclass(frozen=True)
class Measuring:
    """What is measured where no run is given; options as the command has them."""

    name: str
    data: str
    weights: str
    filter: str | None
    max_samples: int | None
    batch_size: int
    seed: int
    device: str
    resize: int | None
    crop: int | None

    def values(self, wanted: set[str]) -> pd.DataFrame:
        """Measure what is wanted, and nothing else."""
        from aliascope.commands.evaluate import own_device
        from aliascope.evaluation.filter_costs import filter_costs
        from aliascope.evaluation.probe import probe
        from aliascope.runs.budget import ACCURACY, COST, OVERALL, SHIFTED, values_of
        from aliascope.tasks.models import load_model

        loaded = load_model(
            self.name, weights=self.weights, resize=self.resize, crop=self.crop, seed=self.seed
        )
        place = own_device(self.device)
        costs = shifted = None
        if wanted & {COST, *SHIFTED}:
            seen = probe(loaded, place)
        if COST in wanted:
            each, overall = filter_costs(loaded, self.filter, seen.sites, device=place)
            costs = {**each, OVERALL: overall}
        if wanted & set(SHIFTED):
            shifted = self._shifted(loaded, place, seen.classes)
        measures = ("energy", "categories") if wanted & set(COLUMNS) else ("energy",)
        measurement = None
        if wanted & {ENERGY, ACCURACY, *COLUMNS}:
            measurement = self._measured(loaded, place, measures)
        return values_of(measurement, shifted, costs)

    def _measured(self, loaded: LoadedModel, device: str, measures: tuple[str, ...]) -> Measurement:
        from aliascope.commands.evaluate import images_for
        from aliascope.evaluation.loop import evaluate
        from aliascope.evaluation.options import Options

        options = Options(
            max_samples=self.max_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            measures=measures,
            filter=self.filter,
        )
        images = images_for(loaded, self.data, options, device)
        with tempfile.TemporaryDirectory() as folder:
            found = evaluate(loaded, images, Path(folder, "run"), options, device=device, workers=0)
            found.table()  # read before the folder goes
            return found

    def _shifted(self, loaded: LoadedModel, device: str, classes: int | None) -> Consistency:
        from aliascope.evaluation.shift_folder import shift_images
        from aliascope.evaluation.shift_options import ShiftOptions
        from aliascope.filters.written import filtering
        from aliascope.tasks.images import open_data

        options = ShiftOptions(
            max_samples=self.max_samples, batch_size=self.batch_size, seed=self.seed
        )
        with tempfile.TemporaryDirectory() as folder, filtering(loaded.network, self.filter):
            return shift_images(
                loaded,
                lambda recipe: open_data(self.data, recipe, num_classes=classes, seed=self.seed),
                Path(folder, "shift"),
                options,
                device=device,
            )


def _show(verdicts: pd.DataFrame, failed: int) -> None:
    from aliascope.runs.shown import counted

    console = console_for_tables()
    console.print(_table(verdicts, console))
    of = counted(len(verdicts), "bound")
    console.print(f"{failed} of {of} failed" if failed else f"{of}, none failed", highlight=False)
    unsure = int((verdicts["verdict"] == "open").sum())
    if unsure:
        are = "is" if unsure == 1 else "are"
        console.print(
            f"{unsure} of them {are} open and not failed: too few images decide; pass more.",
            highlight=False,
        )


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
            ends = "" if row["low"] != row["low"] else f" [{row['low']:.3f}, {row['high']:.3f}]"
            today = f"{row['mean']:.3f}{ends}"
            name = LABELS.get(row["value"], row["value"])
            style = STYLES.get(row["verdict"], "")
            rows.append(Row([f"  {name}", row["bound"], today, row["verdict"]], style))
    return fitted(leaving(columns, rows), console)
