"""Tables of accuracies: those of a sweep, those that were published, and one beside the other."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.errors import AliascopeError
from aliascope.oscillations.networks import NETWORKS
from aliascope.oscillations.recipe import Recipe

TABLE = "results.csv"

AXES = ("network", "noise", "seed")
"""What differs between the runs of one grid."""

LIKE = (
    "frequencies",
    "train_images",
    "validation_images",
    "epochs",
    "batch_size",
    "learning_rate",
    "decay_epoch",
    "decay_factor",
    "weight_decay",
)
"""What is the same in all runs of one grid."""

OUTCOME = ("parameters", "accuracy", "best_epoch", "epochs_run", "test_accuracy", "seconds")

COLUMNS = (*AXES, "published_name", *LIKE, "precision", "device", *OUTCOME)
"""Columns of a table of results, in order; accuracies are fractions."""


class Results:
    """The table of a sweep: a CSV file, one row a run, appended.

    Parameters
    ----------
    place : path
        The file, or the folder that holds it as ``results.csv``.

    Raises
    ------
    AliascopeError
        If the file is no such table.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        place = Path(place).expanduser()
        self.path = place if place.suffix == ".csv" else place / TABLE

    def read(self) -> pd.DataFrame:
        """Read the rows there are; a last row cut short, as a crash may leave it, is left out.

        Returns
        -------
        DataFrame
            Columns `COLUMNS`.

        Raises
        ------
        AliascopeError
            If the file is no table of results, or holds runs of different grids.
        """
        if not self.path.is_file():
            return pd.DataFrame(columns=list(COLUMNS))
        try:
            table = pd.read_csv(io.StringIO(self._whole_lines()))
            if list(table.columns) != list(COLUMNS):
                odd = sorted(set(table.columns) ^ set(COLUMNS)) or list(table.columns)
                raise ValueError(f"columns: {', '.join(odd)}")
            numbers = table.drop(columns=["network", "published_name", "precision", "device"])
            if not all(map(pd.api.types.is_numeric_dtype, numbers.dtypes)) or (
                numbers.isna().any(axis=None)
            ):
                raise ValueError("not every number is one")
        except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
            line = str(error).splitlines()[0]
            raise AliascopeError(
                f"{self.path} is no table of results ({line}); give the folder of an "
                "`aliascope oscillations sweep`."
            ) from None
        for name in LIKE:
            if table[name].nunique() > 1:
                values = " and ".join(f"{value:g}" for value in table[name].unique()[:2])
                raise AliascopeError(
                    f"{self.path} mixes runs with {name} {values}; keep each grid in a file of its "
                    "own."
                )
        return table

    def check_same_grid(self, recipes: Sequence[Recipe]) -> None:
        """Refuse to add to the runs of another grid.

        Raises
        ------
        AliascopeError
            Naming what differs.
        """
        table = self.read()
        if table.empty:
            return
        for name in LIKE:
            had = table[name].iloc[0]
            for now in (recipe.plain()[name] for recipe in recipes):
                if had != now:
                    raise AliascopeError(
                        f"{self.path} is of another grid, with {name} {had:g}, not {now:g}; give "
                        "another folder, or the same options."
                    )

    def done(self) -> set[tuple[str, float, int]]:
        """Give network, noise and seed of every run in the table."""
        table = self.read()
        return set(zip(table["network"], table["noise"], table["seed"], strict=True))

    def append(self, training: Mapping[str, Any]) -> None:
        """Add the row of a training that is complete (the content of its training.json)."""
        recipe = Recipe.from_plain(training["recipe"])
        row = {
            **recipe.plain(),
            "published_name": training["published_name"],
            "device": training["machine"]["name"],
            **{name: training[name] for name in OUTCOME if name != "epochs_run"},
            "epochs_run": training["epochs"],
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._whole_lines() if self.path.is_file() else ""
            with self.path.open("r+" if whole else "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if whole:
                    file.seek(len(whole.encode()))
                    file.truncate()
                else:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AliascopeError(
                f"{self.path} cannot be written ({error.strerror}); mend that and run the sweep "
                "again: what is trained is kept."
            ) from error

    def _whole_lines(self) -> str:
        text = self.path.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1]


def results_of(place: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table that must hold a run.

    Parameters
    ----------
    place : path
        As `Results` takes it.

    Returns
    -------
    DataFrame
        See `Results.read`.

    Raises
    ------
    AliascopeError
        If there is none there, or it holds no run.
    """
    results = Results(place)
    table = results.read()
    if table.empty:
        raise AliascopeError(
            f"{results.path} holds no results; run `aliascope oscillations sweep -o {place}` first."
        )
    return table


def published_accuracies() -> pd.DataFrame:
    """Give the accuracies of the 92 published runs (Ribeiro and Schön, ICASSP 2021).

    Returns
    -------
    DataFrame
        Columns family, network, published_name, noise, parameters, accuracy (a fraction).
        ``resnet-w-16`` was trained once for each of its two families.

    Examples
    --------
    >>> table = published_accuracies()
    >>> len(table), table.loc[table["network"] == "fc-1h-58", "accuracy"].tolist()
    (92, [0.453, 0.1558, 0.0182, 0.0042])
    """
    return pd.read_csv(Path(__file__).with_name("published_accuracy.csv"))


def is_published_grid(results: pd.DataFrame) -> bool:
    """Say whether results were trained as the published ones, so that they can be compared."""
    recipe = Recipe("resnet-w-16").plain()
    return all((results[name] == recipe[name]).all() for name in LIKE)


def beside_published(results: pd.DataFrame) -> pd.DataFrame:
    """Put results beside the published accuracies.

    Parameters
    ----------
    results : DataFrame
        Of `Results.read`.

    Returns
    -------
    DataFrame
        One row per network and noise, in the order of the published table: network, parameters,
        noise, runs, accuracy and test_accuracy (means over seeds), lowest, highest (over seeds),
        published (mean of the published runs; NaN where another grid cannot be compared) and
        difference. Accuracies are fractions.

    Examples
    --------
    >>> rows = pd.DataFrame([{**dict.fromkeys(COLUMNS, 0.5), **Recipe("fc-1h-58").plain()}])
    >>> float(beside_published(rows)["difference"].iloc[0].round(3))
    0.047
    """
    grouped = results.groupby(["network", "noise"])
    table = grouped.agg(
        parameters=("parameters", "first"),
        runs=("accuracy", "size"),
        accuracy=("accuracy", "mean"),
        lowest=("accuracy", "min"),
        highest=("accuracy", "max"),
        test_accuracy=("test_accuracy", "mean"),
    )
    known = published_accuracies().groupby(["network", "noise"], sort=False)["accuracy"].mean()
    table["published"] = known if is_published_grid(results) else float("nan")
    table["difference"] = table["accuracy"] - table["published"]
    order = {network.name: place for place, network in enumerate(NETWORKS)}
    table = table.reset_index()
    table["place"] = table["network"].map(order)
    return table.sort_values(["noise", "place"], ignore_index=True).drop(columns="place")
