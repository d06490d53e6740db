"""Shift consistency as it was measured: how often a shift leaves the answer as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aliascope.errors import AliascopeError
from aliascope.files import plain
from aliascope.runs.drawing import Plots
from aliascope.runs.image_intervals import over_images
from aliascope.runs.plain_tables import aligned, html_table
from aliascope.runs.shift_parts import (
    COLUMNS,
    DESCRIPTION,
    part_numbers,
    read_description,
    read_part,
    write_description,
    write_part,
)
from aliascope.runs.shown import between, counted, percent

MEANS = ("consistency", "worst", "mac")
"""Columns that every table of kinds has, with ``_low`` and ``_high``."""

ACCURACIES = ("accuracy", "accuracy_shifted", "accuracy_worst")
"""Columns that it has besides where images have labels."""


class Consistency:
    """How often shifted views of an image lead to the same answer.

    Parameters
    ----------
    rows : DataFrame
        One row per image and pair of views: sample, name, label, kind (of shift), dy, dx (pixels
        from the first view to the second), prediction (of the first), agree, change, correct (the
        second is right; NaN without labels).
    description : mapping
        What it is of: protocol, seed, model, data.
    unreadable : list of (int, str, str)
        Number, name and reason of images that were left out.

    Examples
    --------
    >>> rows = pd.DataFrame({"sample": [0, 0, 1, 1], "dy": [0, 1, 0, 1], "dx": [1, 0, 1, 0],
    ...                      "agree": [1, 1, 1, 0], "change": [0.0, 0.0, 0.0, 0.5]})
    >>> Consistency(rows).table()[["consistency", "worst", "mac"]].to_dict("records")
    [{'consistency': 0.75, 'worst': 0.5, 'mac': 0.125}]
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        description: Mapping[str, Any] | None = None,
        unreadable: list[tuple[int, str, str]] | None = None,
    ) -> None:
        missing: dict[str, Any] = {
            "label": -1,
            "prediction": -1,
            "kind": "integer",
            "name": "",
            "correct": np.nan,
        }
        rows = rows.assign(**{key: v for key, v in missing.items() if key not in rows})
        kinds = pd.Categorical(rows["kind"], categories=list(dict.fromkeys(rows["kind"])))
        rows = rows[list(COLUMNS)].assign(kind=kinds).astype(COLUMNS)
        self.rows = rows.reset_index(drop=True)
        self.description = dict(description or {})
        self.unreadable = list(unreadable or [])

    # -- reading and writing ---------------------------------------------------------------------

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Consistency:
        """Read what ``aliascope shift`` or :meth:`save` wrote, finished or not.

        Raises
        ------
        AliascopeError
            If the folder holds none, or a file is damaged.
        """
        place = Path(folder)
        description = read_description(place)
        parts = [read_part(place, number) for number in part_numbers(place)]
        tables = [rows for rows, _ in parts if len(rows)]
        unreadable = [each for _, left_out in parts for each in left_out]
        if not tables:
            return cls(pd.DataFrame(columns=list(COLUMNS)), description, unreadable)
        kinds = list(dict.fromkeys(kind for rows in tables for kind in rows["kind"].unique()))
        for rows in tables:
            rows["kind"] = rows["kind"].cat.set_categories(kinds)
        return cls(pd.concat(tables, ignore_index=True), description, unreadable)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into a folder that holds none yet; :meth:`load` reads it back.

        Raises
        ------
        AliascopeError
            If the folder holds one, or cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> row = {"sample": [0], "dy": [1], "dx": [0], "agree": [1], "change": [0.0]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Consistency(pd.DataFrame(row)).save(folder)
        ...     len(Consistency.load(folder).rows)
        1
        """
        place = Path(folder)
        if (place / DESCRIPTION).exists() or part_numbers(place):
            raise AliascopeError(
                f"{place} holds shift consistency already: pass another folder, or remove it first."
            )
        write_part(place, 0, self.rows, self.unreadable)
        write_description(place, {"protocol": {}, **self.description})

    # -- tables ----------------------------------------------------------------------------------

    @property
    def kinds(self) -> list[str]:
        """Kinds of shift, in order: integer, half, third, quarter, or step."""
        return [str(kind) for kind in self.rows["kind"].unique()]

    @property
    def labelled(self) -> bool:
        """Whether it is known which images are right."""
        return bool(len(self.rows)) and not self.rows["correct"].isna().any()

    @property
    def dense(self) -> bool:
        """Whether shares of pixels were compared in place of one class an image."""
        return bool(self.description.get("dense", False))

    @property
    def images(self) -> pd.DataFrame:
        """What each image gave: one row per kind of shift and image.

        Columns kind, sample, name, label, prediction (of its first view), shifts (how many),
        consistency (share of its shifts that agree), worst (the least of them), mac (mean absolute
        change of the probability of the class predicted first); with labels accuracy (of its first
        view), accuracy_shifted and accuracy_worst (right under all shifts).
        """
        groups = self.rows.groupby(["kind", "sample"], observed=True, sort=False)
        table = groups.agg(
            name=("name", "first"),
            label=("label", "first"),
            prediction=("prediction", "first"),
            shifts=("agree", "size"),
            consistency=("agree", "mean"),
            worst=("agree", "min"),
            mac=("change", "mean"),
            accuracy_shifted=("correct", "mean"),
            accuracy_worst=("correct", "min"),
        ).reset_index()
        right = (table["label"] == table["prediction"]).astype("float64")
        table.insert(len(table.columns) - 2, "accuracy", right.where(table["label"] >= 0))
        numbers = ["consistency", "worst", "mac", *ACCURACIES]
        table[numbers] = table[numbers].astype("float64")
        return table if self.labelled else table.drop(columns=list(ACCURACIES))

    def table(self) -> pd.DataFrame:
        """Tabulate means over images with their 95 % intervals over images, by kind of shift.

        Returns
        -------
        DataFrame
            Index kind; columns images, shifts (an image, the mean), consistency, worst (share of
            images that agree under all of their shifts; of dense outputs the mean of each image's
            least), mac, with ``_low`` and ``_high``; with labels accuracy, accuracy_shifted and
            accuracy_worst likewise. What each image gave is one value: pairs of one image are not
            independent. Yes or no an image has Wilson's interval, all else a bootstrap's.
        """
        images, seed = self.images, self._seed
        columns = [*MEANS, *(ACCURACIES if self.labelled else ())]
        rows = {}
        for kind in self.kinds:
            of_kind = images[images["kind"] == kind]
            row: dict[str, float] = {"images": len(of_kind), "shifts": of_kind["shifts"].mean()}
            for column in columns:
                row |= _mean_with_interval(column, of_kind[column], seed)
            rows[kind] = row
        ends = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["images", "shifts", *ends])
        table["images"] = table["images"].astype("int64")
        table.index.name = "kind"
        return table

    def map(self, kind: str | None = None) -> pd.DataFrame:
        """Give, for each shift, the share of images that agree.

        Parameters
        ----------
        kind : str, optional
            Of shift; the first by default.

        Returns
        -------
        DataFrame
            Columns dy, dx (pixels down and to the right, from the first view to the second), n
            (pairs), consistency, mac.

        Raises
        ------
        AliascopeError
            If there is no such kind.
        """
        groups = self._of(kind).groupby(["dy", "dx"])
        table = groups.agg(
            n=("agree", "size"), consistency=("agree", "mean"), mac=("change", "mean")
        )
        return table.astype({"consistency": "float64", "mac": "float64"}).reset_index()

    def by_distance(self, kind: str | None = None) -> pd.DataFrame:
        """Give consistency and mean absolute change over the distance of the shift.

        Parameters
        ----------
        kind : str, optional
            Of shift; the first by default.

        Returns
        -------
        DataFrame
            Index distance, the larger of abs(dy) and abs(dx) in pixels; columns images, n (pairs),
            consistency and mac with ``_low`` and ``_high``: means over images of what each gave at
            that distance, with intervals over images.

        Raises
        ------
        AliascopeError
            If there is no such kind.
        """
        rows = self._of(kind)
        distance = rows[["dy", "dx"]].abs().max(axis=1).rename("distance")
        each = rows.groupby([distance, "sample"]).agg(
            n=("agree", "size"), consistency=("agree", "mean"), mac=("change", "mean")
        )
        found: dict[Any, dict[str, float]] = {}
        for d, of_distance in each.groupby(level="distance"):
            found[d] = {"images": len(of_distance), "n": int(of_distance["n"].sum())}
            for column in ("consistency", "mac"):
                found[d] |= _mean_with_interval(column, of_distance[column], self._seed)
        table = pd.DataFrame.from_dict(found, orient="index")
        table.index.name = "distance"
        return table

    def _of(self, kind: str | None) -> pd.DataFrame:
        kinds = self.kinds
        if kind is None and kinds:
            kind = kinds[0]
        if kind not in kinds:
            raise AliascopeError(
                f"kind is {kind!r}, but shifts were of kind {', '.join(kinds) or 'none'}."
            )
        return self.rows[self.rows["kind"] == kind]

    @property
    def _seed(self) -> int:
        return int(self.description.get("seed") or 0)

    # -- showing ---------------------------------------------------------------------------------

    def said(self) -> str:
        """Say in a line what it depends on: protocol, shifts, images, seed."""
        protocol = self.description.get("protocol") or {}
        words = []
        if protocol:
            words = [f"protocol {protocol['name']}, {protocol['mode']}", protocol["shifts"]]
            if protocol["drawn"] != "not drawn":
                words.append(f"drawn {protocol['drawn']}, seed {self._seed}")
        n = self.rows["sample"].nunique()
        words.append(counted(n, "image"))
        words += [f"under {handler}" for handler in self.description.get("under") or ()]
        words.append("95 % intervals over images")
        if protocol.get("drawn", "").startswith("once"):
            words[-1] += ", which do not cover the draw of the shifts"
        if self.dense:
            words.append("shares of pixels")
        return "; ".join(words)

    def to_json(self) -> str:
        """Write all that is shown as JSON: no NaN (null instead).

        Returns
        -------
        str
            An object: kind, protocol, seed, model, data, images, table; map and by_distance, by
            kind of shift.

        Examples
        --------
        >>> row = {"sample": [0], "dy": [1], "dx": [0], "agree": [1], "change": [0.0]}
        >>> json.loads(Consistency(pd.DataFrame(row)).to_json())["table"][0]["consistency"]
        1.0
        """
        content = {
            "kind": "consistency",
            **self.description,
            "images": int(self.rows["sample"].nunique()),
            "unreadable": self.unreadable,
            "table": self.table().reset_index().to_dict("records"),
            "map": {kind: self.map(kind).to_dict("records") for kind in self.kinds},
            "by_distance": {
                kind: self.by_distance(kind).reset_index().to_dict("records") for kind in self.kinds
            },
        }
        return json.dumps(plain(content), indent=2)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Give the heads and cells of the table that is shown, in percent."""
        table = self.table()
        heads = ["shifts", "images", "each", "consistency %", "worst case %", "MAC"]
        rows = []
        for kind, row in table.iterrows():
            cells = [str(kind), f"{row['images']:.0f}", f"{row['shifts']:.3g}"]
            for column in ("consistency", "worst"):
                ends = between(row[f"{column}_low"], row[f"{column}_high"])
                cells.append(f"{percent(row[column])} ({ends})")
            cells.append(f"{row['mac']:.4f} ({row['mac_low']:.4f}–{row['mac_high']:.4f})")
            if self.labelled:
                cells += [percent(row[column]) for column in ACCURACIES]
            rows.append(cells)
        if self.labelled:
            heads += ["accuracy %", "shifted %", "under all %"]
        return heads, rows

    @property
    def plot(self) -> Plots:
        """Figures of it: ``plot.shift()``."""
        return Plots(self, ["shift"])

    def __repr__(self) -> str:
        return "\n".join([*aligned(*self.cells()), self.said()])

    def _repr_html_(self) -> str:
        return f"{html_table(*self.cells())}<p>{escape(self.said())}</p>"


def _mean_with_interval(column: str, values: pd.Series[float], seed: int) -> dict[str, float]:
    low, high = over_images(values.to_numpy(), seed)
    return {column: float(values.mean()), f"{column}_low": low, f"{column}_high": high}
