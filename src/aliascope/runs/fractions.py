"""From counts of bins to fractions, their means and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aliascope.categories import COLUMNS, Category
from aliascope.errors import AliascopeError
from aliascope.runs.arrays import Array
from aliascope.runs.intervals import student
from aliascope.runs.tables import Tables

ACCOUNTINGS = ("exact", "published")


def check_accounting(accounting: str) -> None:
    """Refuse an accounting that is none of :data:`ACCOUNTINGS`."""
    check_known("accounting", accounting, ACCOUNTINGS)


def check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of those known."""
    if value not in known:
        raise AliascopeError(f"{name} is {value!r}, but it must be one of {known}.")


def fractions_of(counts: Array, accounting: str = "exact") -> Array:
    """Turn counts into fractions that sum to one.

    Parameters
    ----------
    counts : ndarray, shape (..., 4)
        Bins of each category.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    ndarray of float64, shape (..., 4)

    Raises
    ------
    AliascopeError
        If the accounting is unknown.

    Examples
    --------
    >>> fractions_of(np.array([2, 1, 1, 4])).tolist()
    [0.25, 0.125, 0.125, 0.5]
    >>> fractions_of(np.array([2, 1, 1, 5]), "published").tolist()
    [0.3, 0.1, 0.1, 0.5]
    """
    check_accounting(accounting)
    counts = counts.astype(np.float64)
    if accounting == "published":
        counts[..., Category.NO_PASS] += counts[..., Category.ALIASED]
    return counts / counts.sum(axis=-1, keepdims=True)


def contributions(each: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Share the unweighted mean over sites out among the samples, so that their mean is that mean.

    Where every site ran for every sample, this is the sample's mean over sites. A site that ran for
    a share of the samples weighs as much as any other, and so each of its samples more.
    """
    columns = list(columns)
    per_site = each.groupby("site")
    means = per_site[columns].mean()
    weights = each["sample"].nunique() / (len(means) * per_site["sample"].transform("size"))
    deviations = each[columns] - means.loc[each["site"]].to_numpy()
    added = deviations.mul(weights, axis=0).groupby(each["sample"]).sum()
    return added + means.mean()


def channel_fractions(tables: Tables, rows: Sequence[int], accounting: str) -> pd.DataFrame | None:
    """Average fractions over samples, channel by channel.

    Parameters
    ----------
    tables : Tables
        Of the run.
    rows : sequence of int
        Of the sites.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    DataFrame or None
        Index site (its name) and channel; None where channels were not kept.
    """
    totals: dict[int, Array] = {}
    seen: dict[int, int] = {}
    for part, numbers in tables.parts:
        for position, row in numbers.items():
            if row in rows:
                counts = part.array("channel", position)
                if counts is None:
                    return None
                fractions = fractions_of(np.asarray(counts[...]), accounting)
                totals[row] = totals.get(row, 0.0) + fractions.sum(axis=0)
                seen[row] = seen.get(row, 0) + len(fractions)
    if not totals:
        return pd.DataFrame(columns=COLUMNS)
    means = {
        tables.sites["name"].iloc[row]: pd.DataFrame(totals[row] / seen[row], columns=COLUMNS)
        for row in sorted(totals)
    }
    return pd.concat(means, names=["site", "channel"])


def mean_and_interval(fractions: Array) -> dict[str, float]:
    """Mean over samples, (n, 4), with its Student t interval."""
    mean = fractions.mean(axis=0) if len(fractions) else np.full(len(COLUMNS), np.nan)
    half = half_interval(fractions)
    row = dict(zip(COLUMNS, mean, strict=True))
    for column, m, h in zip(COLUMNS, mean, half, strict=True):
        row[f"{column}_low"] = np.clip(m - h, 0.0, 1.0)
        row[f"{column}_high"] = np.clip(m + h, 0.0, 1.0)
    return row


def half_interval(values: Array) -> Array:
    """Half the width of Student's t interval of a mean over samples, (n, columns); NaN for one."""
    n = len(values)
    if n < 2:
        return np.full(values.shape[1], np.nan)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    return np.asarray(student(n) * error)


def fractions_table(rows: dict[str, dict[str, float]], index: str) -> pd.DataFrame:
    """Tabulate rows of fractions with their intervals."""
    columns = [*COLUMNS, *(f"{c}_{end}" for c in COLUMNS for end in ("low", "high"))]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = index or None
    return table
