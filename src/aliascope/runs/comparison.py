"""Two runs on the same images, compared site by site: paired differences, with intervals."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import plain
from aliascope.runs.drawing import Plots
from aliascope.runs.energy import ENERGY
from aliascope.runs.fractions import fractions_of
from aliascope.runs.measurement import Measurement, load
from aliascope.runs.paired import NOTHING, Change, mean_change, paired_change
from aliascope.runs.shown import counted, drawing
from aliascope.runs.values import KEY

CRITERION = ("threshold_db", "reference", "grid", "fold_scale")
"""Settings that have to be alike for categories to be compared."""

NAMED = (
    *(("model", key) for key in ("name", "weights", "weights_sha256", "preprocessing", "filter")),
    *(("options", key) for key in ("filter", "intervene", "precision", "attack", "eps")),
    *(("data", key) for key in ("name", "names_sha256")),
    *(("versions", key) for key in ("aliascope", "torch")),
)
"""Settings that are named where they differ."""

OVERALL = "overall"
"""The mean over the sites that both have."""


class Comparison:
    """A run compared with another one on the same images.

    Parameters
    ----------
    before, after : Measurement
        What is compared; differences are after - before.
    names : (str, str)
        What the two are called.

    Attributes
    ----------
    sites : DataFrame
        One row per site that both have: ``before`` and ``after``, its name in each; rate.
    only_before, only_after : list of str
        Sites that only one has.
    images : DataFrame
        One row per image that both have: ``before`` and ``after``, its number in each.
    notes : list of str
        Settings that differ, and what was left out, each a clause.

    Raises
    ------
    AliascopeError
        If no image or no site is in both, or what was measured is not comparable.
    """

    def __init__(
        self, before: Measurement, after: Measurement, names: tuple[str, str] = ("A", "B")
    ) -> None:
        self.before, self.after, self.names = before, after, names
        self.values = _comparable(before, after)
        self.images = _common_images(before, after)
        self.sites, self.only_before, self.only_after = _aligned(before, after)
        self._rate = self.sites["rate"].mode().iloc[0]
        self.notes = [*_differing(before, after), *self._left_out()]

    def table(self) -> pd.DataFrame:
        """Tabulate paired differences.

        Returns
        -------
        DataFrame
            Index site (its name in the first run, or "overall": the mean over the sites that both
            have, of energy those of the rate that most have) and value: aliased_energy, and the
            categories' fractions no_pass, non_aliased, aliased, tangled, as far as both measured
            them. Columns before and after (means over the images that both have, of each image's
            own value), difference (after - before) with difference_low and difference_high (95 %,
            Student's t of the paired differences), p (two-sided, not adjusted for the number of
            sites), and n, images.
        """
        rows: dict[tuple[str, str], dict[str, float]] = {}
        for value in self.values:
            tables = self._values(self.before, value), self._values(self.after, value)
            averaged = []
            for _, site in self.sites.iterrows():
                pair = self._paired(tables, site["before"], site["after"])
                if value != ENERGY or site["rate"] == self._rate:
                    averaged.append(pair)
                rows[str(site["before"]), value] = _row(pair)
            rows[OVERALL, value] = _row(pd.concat(averaged).groupby(level=0).mean())
        table = pd.DataFrame(list(rows.values()))
        table.index = pd.MultiIndex.from_tuples(list(rows), names=["site", "value"])
        names = [*dict.fromkeys(site for site, _ in table.index if site != OVERALL), OVERALL]
        return table.reindex(
            pd.MultiIndex.from_tuples(
                [(site, value) for site in names for value in self.values if (site, value) in rows],
                names=["site", "value"],
            )
        )

    def accuracy(self) -> Change:
        """Compare top-1 accuracy over the images that both have labels of; Tango's interval."""
        tables = [m.samples.set_index("sample") for m in (self.before, self.after)]
        if not all("top1" in table for table in tables):
            return NOTHING
        values = [
            table["top1"].reindex(self.images[end]).to_numpy(dtype="float64", na_value=math.nan)
            for table, end in zip(tables, ("before", "after"), strict=True)
        ]
        return paired_change(*values)

    def agreement(self) -> float:
        """Share of images of which both predict the same; NaN where one has no predictions."""
        tables = [m.samples.set_index("sample") for m in (self.before, self.after)]
        if not all("prediction" in table for table in tables):
            return math.nan
        first, second = (
            table["prediction"].reindex(self.images[end]).to_numpy()
            for table, end in zip(tables, ("before", "after"), strict=True)
        )
        return float((first == second).mean())

    def to_json(self) -> str:
        """Write all of it as JSON."""
        accuracy = self.accuracy()
        return json.dumps(
            plain(
                {
                    "kind": "comparison",
                    "names": self.names,
                    "images": len(self.images),
                    "notes": self.notes,
                    "only_before": self.only_before,
                    "only_after": self.only_after,
                    "accuracy_change": vars(accuracy) if accuracy.n else None,
                    "agreement": self.agreement(),
                    "table": self.table().reset_index().to_dict(orient="records"),
                }
            ),
            indent=1,
        )

    @property
    def plot(self) -> Plots:
        """Figures of it: ``plot.comparison()``."""
        return Plots(self, ["comparison"])

    def __repr__(self) -> str:
        lines = [self.table().round(4).to_string(), counted(len(self.images), "image"), *self.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table().round(4).to_html()

    def _values(self, measurement: Measurement, value: str) -> pd.DataFrame:
        """Values of each image, a column a site's name."""
        if value == ENERGY:
            each = measurement.values[[*KEY, ENERGY]]
        else:
            counts = measurement.counts
            each = counts[KEY].copy()
            fractions = fractions_of(counts[COLUMNS].to_numpy(), "exact")
            each[value] = fractions[:, COLUMNS.index(value)]
        names = measurement.sites["name"]
        return each.assign(site=each["site"].map(names)).pivot(
            index="sample", columns="site", values=value
        )

    def _paired(
        self, tables: tuple[pd.DataFrame, pd.DataFrame], before: str, after: str
    ) -> pd.DataFrame:
        """Values of the same images at one site, columns before and after."""
        first, second = tables
        return pd.DataFrame(
            {
                "before": first[before].reindex(self.images["before"]).to_numpy(),
                "after": second[after].reindex(self.images["after"]).to_numpy(),
            }
        )

    def _left_out(self) -> list[str]:
        notes = []
        for name, measurement in zip(self.names, (self.before, self.after), strict=True):
            left = len(measurement.samples) - len(self.images)
            if left:
                notes.append(f"{left} of {len(measurement.samples)} images of {name} left out")
        for name, sites in zip(self.names, (self.only_before, self.only_after), strict=True):
            if sites:
                notes.append(f"only {name} has {', '.join(sites)}")
        return notes


def compare(
    first: Measurement | str | os.PathLike[str],
    second: Measurement | str | os.PathLike[str],
    *,
    condition: str | None = None,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Compare two runs on the same images, site by site.

    Parameters
    ----------
    first, second : Measurement or path
        Runs; differences are second - first.
    condition : str, optional
        Of both; that of each run by default, so that an intervened or attacked run can be compared
        with a clean one.
    names : (str, str), optional
        What the two are called; the folders' names by default.

    Returns
    -------
    Comparison

    Raises
    ------
    AliascopeError
        If a folder holds no run, no image or site is in both, or the settings of what was measured
        differ.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> images = torch.rand(4, 3, 16, 16)
    >>> first = al.measure(torch.nn.AvgPool2d(2), [images])
    >>> second = al.measure(torch.nn.MaxPool2d(2), [images])
    >>> al.compare(first, second).table().loc["overall"]["difference"].round(9).abs().max() > 0
    np.True_
    """
    before, after = (_opened(each, condition) for each in (first, second))
    given = [
        "A" if isinstance(first, Measurement) else str(first),
        "B" if isinstance(second, Measurement) else str(second),
    ]
    return Comparison(before, after, names or (given[0], given[1]))


def _opened(run: Measurement | str | os.PathLike[str], condition: str | None) -> Measurement:
    measurement = run if isinstance(run, Measurement) else load(run)
    return measurement if condition is None else measurement.at(condition)


def _comparable(before: Measurement, after: Measurement) -> list[str]:
    """List what both measured alike."""
    both = [measure for measure in before.measures if measure in after.measures]
    values = [ENERGY] if "energy" in both else []
    if "categories" in both:
        settings = [measurement.criterion for measurement in (before, after)]
        differ = [
            f"{key} is {getattr(settings[0], key)} in one and {getattr(settings[1], key)} in the "
            "other"
            for key in CRITERION
            if None not in settings and getattr(settings[0], key) != getattr(settings[1], key)
        ]
        if differ and not values:
            raise AliascopeError(
                f"The runs cannot be compared: {differ[0]}; measure one of them again with the "
                "other's settings."
            )
        if not differ:
            values += COLUMNS
    if not values:
        raise AliascopeError(
            f"The runs cannot be compared: one measured {', '.join(before.measures) or 'nothing'}, "
            f"the other {', '.join(after.measures) or 'nothing'}; measure the same of both."
        )
    return values


def _differing(before: Measurement, after: Measurement) -> list[str]:
    """Name the settings that differ."""
    notes = []
    for section, key in NAMED:
        first, second = ((m.run.get(section) or {}).get(key) for m in (before, after))
        if first != second and not (not first and not second):
            notes.append(f"{section} {key}: {_short(first)} → {_short(second)}")
    channels = [m.channels for m in (before, after)]
    if channels[0] != channels[1]:
        notes.append(f"channels drawn: {' → '.join(str(each or 'all') for each in channels)}")
    elif channels[0] is not None:
        notes.append(drawing(before))
    if before.condition != after.condition:
        notes.append(f"condition: {before.condition.name} → {after.condition.name}")
    settings = before.criterion, after.criterion
    if None not in settings and settings[0] != settings[1]:
        notes.append("categories were measured with other settings, and are left out")
    return notes


def _short(value: Any) -> str:
    text = "none" if value in (None, [], ()) else str(value)
    return text if len(text) <= 40 else f"{text[:18]}…{text[-18:]}"


def _common_images(before: Measurement, after: Measurement) -> pd.DataFrame:
    """Pair images by name, or where they have none by number."""
    samples = [measurement.samples for measurement in (before, after)]
    key = "name" if all("name" in each and each["name"].is_unique for each in samples) else "sample"
    first, second = (pd.Series(each["sample"].to_numpy(), index=each[key]) for each in samples)
    both = [name for name in first.index if name in second.index]
    if not both:
        raise AliascopeError(
            "The runs have no image in common, so nothing can be paired; evaluate both on the same "
            "images."
        )
    return pd.DataFrame(
        {"before": first.loc[both].to_numpy(), "after": second.loc[both].to_numpy()}
    )


def _aligned(before: Measurement, after: Measurement) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Pair sites by name; where no name is in both, by order, if there are as many of one rate."""
    first, second = (each.sites[each.sites["supported"].astype(bool)] for each in (before, after))
    names = [list(each["name"]) for each in (first, second)]
    common = [name for name in names[0] if name in set(names[1])]
    pairs: Sequence[tuple[str, str]] = [(name, name) for name in common]
    if not common:
        if [tuple(r) for r in first["rate"]] != [tuple(r) for r in second["rate"]]:
            raise AliascopeError(
                "The runs have no site in common, neither by name nor in their order "
                f"({', '.join(names[0][:3])}, … and {', '.join(names[1][:3])}, …); compare runs of "
                "one architecture."
            )
        pairs = list(zip(*names, strict=True))
    table = pd.DataFrame(pairs, columns=["before", "after"])
    rates = dict(zip(first["name"], map(tuple, first["rate"]), strict=True))
    table["rate"] = table["before"].map(rates)
    left = [
        [name for name in of_run if name not in set(table[end])]
        for of_run, end in zip(names, ("before", "after"), strict=True)
    ]
    return table, left[0], left[1]


def _row(pair: pd.DataFrame) -> dict[str, float]:
    known = pair.dropna()
    change = mean_change((known["after"] - known["before"]).to_numpy())
    return {
        "before": float(known["before"].mean()),
        "after": float(known["after"].mean()),
        "difference": change.mean,
        "difference_low": change.low,
        "difference_high": change.high,
        "p": change.p,
        "n": change.n,
    }
