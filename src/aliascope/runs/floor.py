"""From counts to fractions at several thresholds, and of the low part: the floor."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.runs.fractions import fractions_of
from aliascope.runs.values import KEY

FLOOR = [f"floor_{column}" for column in COLUMNS]
"""Columns of the values: bins of the low part in each category; NaN where not measured."""

LEVEL = re.compile(r"no_pass_(\d+)db")


def levels_of(columns: Iterable[str]) -> list[int]:
    """List the thresholds, in decibels, at which values have counts, ascending.

    Examples
    --------
    >>> levels_of(["sample", "no_pass", "no_pass_20db", "tangled_20db", "no_pass_10db"])
    [10, 20]
    """
    found = (LEVEL.fullmatch(str(column)) for column in columns)
    return sorted(int(match[1]) for match in found if match)


def at_level(level: int) -> list[str]:
    """Name the columns of the counts at one threshold, in decibels.

    Examples
    --------
    >>> at_level(20)[3]
    'tangled_20db'
    """
    return [f"{column}_{level}db" for column in COLUMNS]


def measured_fractions(values: pd.DataFrame, columns: list[str], accounting: str) -> pd.DataFrame:
    """Turn counts into fractions, and leave out what was not measured.

    Parameters
    ----------
    values : DataFrame
        Columns sample, site and those of the counts.
    columns : list of str
        Of the counts, in the order of the categories.
    accounting : {"exact", "published"}
        See :meth:`aliascope.runs.measurement.Measurement.fractions`.

    Returns
    -------
    DataFrame
        Columns sample, site, no_pass, non_aliased, aliased, tangled.

    Examples
    --------
    >>> counts = {"sample": [0, 1], "site": [0, 0], "a": [1, None], "b": [3, None]}
    >>> counts |= {"c": [0, None], "d": [0, None]}
    >>> measured_fractions(pd.DataFrame(counts), ["a", "b", "c", "d"], "exact")
       sample  site  no_pass  non_aliased  aliased  tangled
    0       0     0     0.25         0.75      0.0      0.0
    """
    counted = values[[*KEY, *columns]].dropna()
    fractions = counted[KEY].copy()
    fractions[COLUMNS] = fractions_of(counted[columns].to_numpy(dtype=float), accounting)
    return fractions
