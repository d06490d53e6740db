"""A budget of aliasing: bounds on what a run measured, kept unless an interval excludes them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError, first_line, nearest
from aliascope.runs.consistency import Consistency
from aliascope.runs.energy import ENERGY
from aliascope.runs.measurement import Measurement

OVERALL = "overall"
"""In the place of a site: of energy the rate that most sites have, of categories all sites."""

ACCURACY = "accuracy"

SHIFTED = ("consistency", "worst")
"""Of shift consistency: the mean over shifts, and the share of images that agree under all."""

COST = "cost"
"""Multiply-adds that a filter adds, as a share of the plain network's; counted, not timed."""

VALUES = (ENERGY, *COLUMNS, ACCURACY, *SHIFTED, COST)
"""What can be bounded."""

OF_MODEL = (ACCURACY, *SHIFTED)
"""What a model has and no site."""

KEYS = ("site", "value", "at_most", "at_least")
"""What a bound may hold."""

WRITTEN = (ENERGY, "aliased", "tangled", *SHIFTED, COST)
"""What is bounded in a budget that is written from a run, as far as it was measured."""

HOW = {
    ENERGY: "measure it",
    ACCURACY: "measure images with labels",
    "consistency": "run `aliascope shift` into the run's folder, or check a --model",
    "worst": "run `aliascope shift` into the run's folder, or check a --model",
    COST: "check a --model with --filter, since runs do not hold it",
}
"""How a value comes to be there."""

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
        In [0, 1]; of cost 0 or more.
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
    for key in set(content) - {"bound"}:
        raise AliascopeError(
            f"{path} holds {key!r}{nearest(key, ['bound'])}, but a budget holds tables [[bound]] "
            "and nothing else."
        )
    if set(content) != {"bound"} or not isinstance(tables, list) or not tables:
        raise AliascopeError(f"{path} has to hold tables [[bound]] and nothing else.")
    return [_bound(f"{path}, bound {k}", table) for k, table in enumerate(tables, 1)]


def _bound(where: str, table: Any) -> Bound:
    keys = set(table) if isinstance(table, dict) else set()
    for key in sorted(keys - set(KEYS)):
        raise AliascopeError(
            f"{where} has {key!r}{nearest(key, KEYS)}, but a bound has {', '.join(KEYS)} alone."
        )
    if not {"site", "value"} <= keys or not keys & {"at_most", "at_least"}:
        raise AliascopeError(
            f"{where} has {', '.join(sorted(keys)) or 'nothing'}, but a bound has site, value, and "
            "at_most or at_least."
        )
    value = str(table["value"])
    if value not in VALUES:
        raise AliascopeError(
            f"{where}: value is {value!r}{nearest(value, VALUES)}, but there are "
            f"{', '.join(VALUES)}."
        )
    if value in OF_MODEL and table["site"] != OVERALL:
        raise AliascopeError(f"{where}: {value} is the model's; write site = {OVERALL!r}.")
    for key in keys & {"at_most", "at_least"}:
        number = table[key]
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        most = math.inf if value == COST else 1
        if not is_number or not 0 <= number <= most:
            must = "0 or more" if value == COST else "from 0 to 1"
            raise AliascopeError(f"{where}: {key} is {number!r}, but it must be {must}.")
    return Bound(**{**table, "site": str(table["site"])})


def values_of(
    measurement: Measurement | None,
    consistency: Consistency | None = None,
    costs: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Tabulate what can be bounded, as far as it was measured.

    Parameters
    ----------
    measurement : Measurement, optional
        Of energy, categories, accuracy.
    consistency : Consistency, optional
        Whose first kind of shift counts.
    costs : mapping of str to float, optional
        By site, and ``overall``; they are counted, so that both ends of an interval are the count.

    Returns
    -------
    DataFrame
        Index site (overall last) and value; columns mean, low and high (95 %).
    """
    rows: dict[tuple[str, str], tuple[float, float, float]] = {}
    tables: list[tuple[pd.DataFrame, Sequence[str]]] = []
    measured = () if measurement is None else measurement.measures
    if measurement is not None and "energy" in measured:
        overall = measurement.energy("overall").head(1).set_axis([OVERALL])
        tables += [(measurement.energy(), [ENERGY]), (overall, [ENERGY])]
    if measurement is not None and "categories" in measured:
        tables += [(measurement.fractions(by), COLUMNS) for by in ("site", "overall")]
    for table, values in tables:
        for site, row in table.iterrows():
            for value in values:
                ends = (float(row[f"{value}{end}"]) for end in ("", "_low", "_high"))
                rows[str(site), value] = tuple(ends)  # type: ignore[assignment]
    if measurement is not None and "top1" in (accuracy := measurement.accuracy()).index:
        top1 = accuracy.loc["top1"]
        mean, low, high = (float(top1[key]) for key in ("accuracy", "low", "high"))  # type: ignore[arg-type]
        rows[OVERALL, ACCURACY] = (mean, low, high)
    if consistency is not None and len(table := consistency.table()):
        for value in SHIFTED:
            ends = (float(table[f"{value}{end}"].iloc[0]) for end in ("", "_low", "_high"))
            rows[OVERALL, value] = tuple(ends)  # type: ignore[assignment]
    for site, cost in (costs or {}).items():
        rows[site, COST] = (cost, cost, cost)
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
        verdict: ``fails`` where the interval excludes the bound; ``open``, which passes, where the
        mean is beyond it but the interval holds it, or where one image has no interval; else
        ``holds``.

    Raises
    ------
    AliascopeError
        If a pattern matches no site that has the value.

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
            near = nearest(bound.site, there.split(", "), parts=True)
            raise AliascopeError(
                f"No site that has {bound.value} matches {bound.site!r}{near}; there are "
                f"{there or f'none: {HOW.get(bound.value, HOW[ENERGY])}'}."
            )
        for site in sites:
            mean, low, high = map(float, values.loc[(site, bound.value)])
            for sign, limit in ((1, bound.at_most), (-1, bound.at_least)):
                if limit is not None:
                    end = low if sign > 0 else high
                    beyond, surely = (sign * (x - limit) > 0 for x in (mean, end))
                    unsure = beyond or math.isnan(end)
                    verdict = "fails" if surely else "open" if unsure else "holds"
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
    lines = [
        f"# The far end of the 95 % interval of today, and {MARGIN:g} beyond it.",
    ]
    numbers = values[["mean", "low", "high"]].to_numpy(dtype="float64").tolist()
    for (site, value), row in zip(values.index, numbers, strict=True):
        if value in WRITTEN:
            name = site.replace("\\", "\\\\").replace('"', '\\"')
            lines += ["", "[[bound]]", f'site = "{name}"', f'value = "{value}"']
            lines += [_limit(value, *row)]
    if len(lines) == 1:
        raise AliascopeError("The run measured neither energy nor categories; measure one of them.")
    return "\n".join(lines) + "\n"


def _limit(value: str, mean: float, low: float, high: float) -> str:
    """Write a bound that today's interval keeps.

    Examples
    --------
    >>> _limit("tangled", 0.3, 0.28, 0.32), _limit("consistency", 0.9, 0.8, 0.95)
    ('at_most = 0.34  # today 0.300', 'at_least = 0.78  # today 0.900')
    """
    if value in SHIFTED:
        end = mean if math.isnan(low) else low
        limit = max(0.0, math.floor(1000 * (end - MARGIN) + 1e-6) / 1000)
        return f"at_least = {limit:g}  # today {mean:.3f}"
    end = mean if math.isnan(high) else high
    limit = math.ceil(1000 * (end + MARGIN) - 1e-6) / 1000
    limit = limit if value == COST else min(1.0, limit)
    return f"at_most = {limit:g}  # today {mean:.3f}"
