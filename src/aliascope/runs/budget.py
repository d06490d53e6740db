"""A budget of aliasing: bounds on what a run measured, kept unless an interval excludes them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError, first_line
from aliascope.runs.energy import ENERGY
from aliascope.runs.measurement import Measurement

OVERALL = "overall"
"""In the place of a site: of energy the rate that most sites have, of categories all sites."""

ACCURACY = "accuracy"

VALUES = (ENERGY, *COLUMNS, ACCURACY)
"""What can be bounded."""

WRITTEN = (ENERGY, "aliased", "tangled")
"""What is bounded in a budget that is written from a run."""

MARGIN = 0.02
"""By how much a written bound lies beyond the upper end of today's interval."""


@dataclass(frozen=True)
class Bound:
    """One bound.

    Attributes
    ----------
    site : str
        Pattern of the sites' names, as in ``layer*.conv1``; or ``overall``.
    value : str
        One of :data:`VALUES`.
    at_most, at_least : float or None
        In [0, 1].
    """

    site: str
    value: str
    at_most: float | None = None
    at_least: float | None = None


def read_budget(path: str | os.PathLike[str]) -> list[Bound]:
    """Read a budget.

    Parameters
    ----------
    path : path
        A TOML file of tables ``[[bound]]`` with ``site``, ``value``, and ``at_most`` or
        ``at_least``.

    Returns
    -------
    list of Bound

    Raises
    ------
    AliascopeError
        If it cannot be read, or a bound is none.

    Examples
    --------
    >>> read_budget("no/such.toml")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: no/such.toml cannot be read (...); write one with --write.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AliascopeError(
            f"{path} cannot be read ({first_line(error)}); write one with --write."
        ) from error
    tables = content.get("bound")
    if set(content) != {"bound"} or not isinstance(tables, list) or not tables:
        raise AliascopeError(f"{path} has to hold tables [[bound]] and nothing else.")
    return [_bound(f"{path}, bound {k}", table) for k, table in enumerate(tables, 1)]


def _bound(where: str, table: Any) -> Bound:
    keys = set(table) if isinstance(table, dict) else set()
    unknown = keys - {"site", "value", "at_most", "at_least"}
    if unknown or not {"site", "value"} <= keys or not keys & {"at_most", "at_least"}:
        raise AliascopeError(
            f"{where} has {', '.join(sorted(keys)) or 'nothing'}, but a bound has site, value, and "
            "at_most or at_least."
        )
    if table["value"] not in VALUES:
        raise AliascopeError(f"{where}: value is {table['value']!r}, but there are {VALUES}.")
    if table["value"] == ACCURACY and table["site"] != OVERALL:
        raise AliascopeError(f"{where}: accuracy is the model's; write site = {OVERALL!r}.")
    for key in keys & {"at_most", "at_least"}:
        number = table[key]
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= 1:
            raise AliascopeError(f"{where}: {key} is {number!r}, but it must be from 0 to 1.")
    return Bound(**{**table, "site": str(table["site"])})


def values_of(measurement: Measurement) -> pd.DataFrame:
    """Tabulate what can be bounded.

    Returns
    -------
    DataFrame
        Index site (overall last) and value; columns mean, low and high (95 %).
    """
    rows: dict[tuple[str, str], tuple[float, float, float]] = {}
    tables: list[tuple[pd.DataFrame, Sequence[str]]] = []
    if "energy" in measurement.measures:
        overall = measurement.energy("overall").head(1).set_axis([OVERALL])
        tables += [(measurement.energy(), [ENERGY]), (overall, [ENERGY])]
    if "categories" in measurement.measures:
        tables += [(measurement.fractions(by), COLUMNS) for by in ("site", "overall")]
    for table, values in tables:
        for site, row in table.iterrows():
            for value in values:
                ends = (float(row[f"{value}{end}"]) for end in ("", "_low", "_high"))
                rows[str(site), value] = tuple(ends)  # type: ignore[assignment]
    accuracy = measurement.accuracy()
    if "top1" in accuracy.index:
        top1 = accuracy.loc["top1"]
        mean, low, high = (float(top1[name]) for name in ("accuracy", "low", "high"))
        rows[OVERALL, ACCURACY] = (mean, low, high)
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])
    found.index = pd.MultiIndex.from_tuples(list(rows), names=["site", "value"])
    return found.dropna(subset="mean")


def judge(bounds: Sequence[Bound], values: pd.DataFrame) -> pd.DataFrame:
    """Hold values against bounds.

    Parameters
    ----------
    bounds : sequence of Bound
        Of a budget.
    values : DataFrame
        Of :func:`values_of`.

    Returns
    -------
    DataFrame
        One row per bound and site: site, value, bound (as in ``<= 0.3``), mean, low, high, and
        verdict: ``fails`` where the interval excludes the bound; ``open`` where the mean is beyond
        it but the interval holds it, which passes; else ``holds``.

    Raises
    ------
    AliascopeError
        If a pattern matches no site that has the value, or there are no intervals.

    Examples
    --------
    >>> index = pd.MultiIndex.from_tuples([("stem", "tangled")])
    >>> values = pd.DataFrame({"mean": [0.4], "low": [0.35], "high": [0.45]}, index=index)
    >>> judge([Bound("st*", "tangled", at_most=0.3)], values)["verdict"].tolist()
    ['fails']
    """
    rows = []
    for bound in bounds:
        sites = [s for s, v in values.index if v == bound.value and _matches(bound.site, s)]
        if not sites:
            there = ", ".join(dict.fromkeys(s for s, v in values.index if v == bound.value))
            raise AliascopeError(
                f"No site that has {bound.value} matches {bound.site!r}; there are "
                f"{there or 'none: measure it, on images with labels for accuracy'}."
            )
        for site in sites:
            mean, low, high = map(float, values.loc[(site, bound.value)])
            if math.isnan(low):
                raise AliascopeError(
                    f"{bound.value} of {site} has no interval, since there is one image; pass two "
                    "or more."
                )
            for sign, limit in ((1, bound.at_most), (-1, bound.at_least)):
                if limit is not None:
                    nearest = low if sign > 0 else high
                    beyond, surely = (sign * (x - limit) > 0 for x in (mean, nearest))
                    verdict = "fails" if surely else "open" if beyond else "holds"
                    said = f"{'<=' if sign > 0 else '>='} {limit:g}"
                    rows.append((site, bound.value, said, mean, low, high, verdict))
    columns = ["site", "value", "bound", "mean", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _matches(pattern: str, site: str) -> bool:
    return pattern == site or (site != OVERALL and fnmatchcase(site, pattern))


def written(values: pd.DataFrame) -> str:
    """Write a budget that today's values keep: the upper end of each interval and a margin.

    Parameters
    ----------
    values : DataFrame
        Of :func:`values_of`.

    Returns
    -------
    str
        TOML, bounds on :data:`WRITTEN` of each site and overall.

    Raises
    ------
    AliascopeError
        If none of these was measured.
    """
    lines = [f"# At most the upper end of the 95 % interval of today, and {MARGIN:g} more."]
    for (site, value), (mean, _, high) in zip(values.index, values.to_numpy(), strict=True):
        if value in WRITTEN:
            end = float(mean if math.isnan(high) else high)
            limit = min(1.0, math.ceil(1000 * (end + MARGIN)) / 1000)
            name = site.replace("\\", "\\\\").replace('"', '\\"')
            lines += ["", "[[bound]]", f'site = "{name}"', f'value = "{value}"']
            lines += [f"at_most = {limit:g}  # today {mean:.3f}"]
    if len(lines) == 1:
        raise AliascopeError("The run measured neither energy nor categories; measure one of them.")
    return "\n".join(lines) + "\n"
