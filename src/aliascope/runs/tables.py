"""The tables of a run under one condition, joined from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from aliascope.runs import sites
from aliascope.runs.part import Part
from aliascope.runs.values import KEY


@dataclass(frozen=True)
class Tables:
    """What the parts of one condition hold.

    Attributes
    ----------
    sites, samples, values : DataFrame
        As :class:`aliascope.runs.measurement.Measurement` has them.
    unreadable : list of (int, str, str)
        Index, name and reason of images that were left out.
    parts : list of (Part, dict of int to int)
        Each part, and the rows in ``sites`` of those of its sites that were measured, by position.
    """

    sites: pd.DataFrame
    samples: pd.DataFrame
    values: pd.DataFrame
    unreadable: list[tuple[int, str, str]]
    parts: list[tuple[Part, dict[int, int]]]


def tables_of(parts: Sequence[Part]) -> Tables:
    """Read the tables of parts and join them.

    Parameters
    ----------
    parts : sequence of Part
        Those of one condition, in their order.

    Returns
    -------
    Tables

    Raises
    ------
    AliascopeError
        If a part is damaged.
    """
    merged = sites.merged(parts)
    rows = {key: row for row, key in enumerate(merged)}
    samples, values, numbered = [], [], []
    for part in parts:
        keys = map(sites.key_of, part.sites)
        numbers = {i: rows[key] for i, key in enumerate(keys) if merged[key]["supported"]}
        measured = part.values()
        measured = measured[measured["site"].isin(list(numbers))]
        values.append(measured.assign(site=measured["site"].map(numbers).astype("int64")))
        samples.append(part.samples())
        numbered.append((part, numbers))
    return Tables(
        sites.table_of(merged.values()),
        _joined(samples, ["sample"]),
        _joined(values, KEY).sort_values(KEY, kind="stable", ignore_index=True),
        [entry for part in parts for entry in part.unreadable],
        numbered,
    )


def _joined(tables: list[pd.DataFrame], needed: list[str]) -> pd.DataFrame:
    """Put tables below each other; an empty one has but the columns that are needed."""
    tables = [table for table in tables if len(table)]
    if tables:
        return pd.concat(tables, ignore_index=True)
    return pd.DataFrame({column: [] for column in needed}, dtype="int64")
