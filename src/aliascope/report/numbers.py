"""The numbers on the page, as plain lists and dictionaries; all that is drawn comes from these."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aliascope.categories import COLUMNS, LABELS
from aliascope.palette import RING_ORDER, palette
from aliascope.runs.comparisons import (
    FEWEST_TESTED,
    GROUPS,
    comparison,
    epsilons,
    harmed,
    per_image,
    quantiles,
)
from aliascope.runs.energy import ENERGY, FEWEST_KEPT, INTERVAL
from aliascope.runs.measurement import Measurement

DRAWN_POINTS = 150
"""Images drawn as points beside a box; of more, the box alone is drawn."""

Block = dict[str, Any]


def categories(colours: str) -> list[Block]:
    """Name and colour the four categories.

    Parameters
    ----------
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    list of dict
        key, label, colour, in the order of the numbering.

    Examples
    --------
    >>> categories("paper")[3]
    {'key': 'tangled', 'label': 'tangled', 'colour': '#ff0000'}
    """
    colour = palette(colours)
    return [{"key": key, "label": LABELS[key], "colour": colour[key]} for key in COLUMNS]


def overall(measurement: Measurement, accounting: str) -> Block:
    """Give the model's fractions with their intervals: mean, low and high, each by category."""
    return _with_interval(measurement.fractions(by="overall", accounting=accounting).iloc[0])


def sites(measurement: Measurement, accounting: str) -> list[Block]:
    """Describe each measured site and give its fractions with their intervals."""
    table = measurement.fractions(by="site", accounting=accounting)
    described = {row["name"]: row for row in measurement.sites.to_dict("records")}
    return [
        {
            "name": name,
            "op": described[name]["op"],
            "rate": list(described[name]["rate"]),
            "dense_shape": list(described[name]["dense_shape"]),
            "grid": described[name]["grid"],
            **_with_interval(row),
        }
        for name, row in table.iterrows()
    ]


def energy(measurement: Measurement) -> Block | None:
    """Give aliased energy of each site and rate; None where it was not measured.

    Parameters
    ----------
    measurement : Measurement
        Of any measures.

    Returns
    -------
    dict or None
        ``rates``, that of most sites first, and ``sites``, in the order in which they run: name (of
        a site) and rate, value, low, high, edge_low, edge_high, white; of a site also dense_shape
        and rough, where an axis keeps too few samples, of a rate the number of its sites.
    """
    if "energy" not in measurement.measures:
        return None
    described = {row["name"]: row for row in measurement.sites.to_dict("records")}
    by_site = measurement.energy()
    return {
        "rates": [
            {"rate": str(rate), "sites": int(row["sites"]), **_energy(row)}
            for rate, row in measurement.energy("overall").iterrows()
        ],
        "sites": [
            {
                "name": str(name),
                "rate": list(described[name]["rate"]),
                "dense_shape": list(described[name]["dense_shape"]),
                "rough": bool(row["kept"] < FEWEST_KEPT),
                **_energy(row),
            }
            for name, row in by_site.iterrows()
        ],
    }


def _energy(row: Any) -> Block:
    ends = {"low": row[INTERVAL[0]], "high": row[INTERVAL[1]]}
    beside = {key: row[key] for key in ("edge_low", "edge_high", "white")}
    return {key: float(x) for key, x in {"value": row[ENERGY], **ends, **beside}.items()}


def floor(measurement: Measurement, accounting: str) -> Block | None:
    """Give aliased + tangled of the low part alone, by site and overall; None if not measured.

    Returns
    -------
    dict or None
        overall, n (images), and sites: by name.
    """
    if "floor" not in measurement.measures:
        return None
    table = measurement.floor(accounting=accounting)
    overall = measurement.floor("overall", accounting=accounting).iloc[0]
    both = table["aliased"] + table["tangled"]
    return {
        "overall": float(overall["aliased"] + overall["tangled"]),
        "n": int(overall["n"]),
        "sites": {str(name): float(value) for name, value in both.items()},
    }


def thresholds(measurement: Measurement, accounting: str) -> Block | None:
    """Give aliased + tangled over the threshold, by site and overall; None if not measured.

    Returns
    -------
    dict or None
        own (the run's threshold, None where not known), levels (decibels), overall and, by name,
        sites: a number a level.
    """
    if "thresholds" not in measurement.measures:
        return None
    overall = measurement.thresholds("overall", accounting=accounting)
    table = measurement.thresholds(accounting=accounting)
    both = (table["aliased"] + table["tangled"]).unstack("threshold_db")
    criterion = measurement.criterion
    return {
        "own": None if criterion is None else criterion.threshold_db,
        "levels": [int(level) for level in overall.index],
        "overall": (overall["aliased"] + overall["tangled"]).tolist(),
        "sites": {
            str(name): both.loc[name].tolist()
            for name in dict.fromkeys(table.index.get_level_values("site"))
        },
    }


def unsupported(measurement: Measurement) -> list[Block]:
    """List the places that resample but could not be measured, and why."""
    rows = measurement.sites[~measurement.sites["supported"].astype(bool)]
    return [{key: row[key] for key in ("name", "op", "reason")} for _, row in rows.iterrows()]


def accuracy(measurement: Measurement) -> Block:
    """Give top-1 and top-5 accuracy, those that are known, with their intervals."""
    return {str(key): row.to_dict() for key, row in measurement.accuracy().iterrows()}


def groups(measurement: Measurement, accounting: str) -> Block | None:
    """Compare the images that were classified correctly with the others.

    Parameters
    ----------
    measurement : Measurement
        Of images, labelled or not.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    dict or None
        ``correct`` and ``incorrect``: n, and for each category ``quantiles`` and ``points`` (none
        where there are many); ``test``: for each category the two-sided p-value of Mann and Whitney
        (1947) and the share of pairs in which the incorrect image has the larger fraction, ties
        counting half. None unless there are images of both kinds.
    """
    if measurement.accuracy().empty:
        return None
    fractions = per_image(measurement, None, accounting)
    sides = {name: fractions[fractions["group"] == name] for name in GROUPS}
    if any(side.empty for side in sides.values()):
        return None
    test = _test(comparison(measurement, accounting=accounting))
    return {**{name: _distribution(side) for name, side in sides.items()}, "test": test}


def attack(measurement: Measurement, accounting: str) -> list[Block]:
    """Give accuracy and aliasing at each epsilon of an attacked run, ascending; else nothing.

    Returns
    -------
    list of dict
        condition (its name), eps, n, accuracy (of :func:`accuracy`), overall, sites (as their
        functions give them), and ``harmed``: of :func:`aliascope.runs.comparisons.harmed`. Where
        categories were not measured these are None, [] and None, and energy is that of
        :func:`energy`.
    """
    return [_at_epsilon(measurement.at(each), accounting) for each in epsilons(measurement)]


def _at_epsilon(measurement: Measurement, accounting: str) -> Block:
    there = "categories" in measurement.measures
    return {
        "condition": measurement.condition.name,
        "eps": measurement.condition.get("eps"),
        "n": len(measurement.samples),
        "accuracy": accuracy(measurement),
        "overall": overall(measurement, accounting) if there else None,
        "sites": sites(measurement, accounting) if there else [],
        "harmed": harmed(measurement, accounting) if there else None,
        "energy": None if there else energy(measurement),
    }


def ring(site_fractions: list[Block]) -> Block:
    """Order the wedges of the nested ring: each category outside, its sites inside.

    Returns
    -------
    dict
        order: category keys counter-clockwise from three o'clock; shares: of the whole ring, by
        category, one number per site.
    """
    n = len(site_fractions)
    return {
        "order": list(RING_ORDER),
        "shares": {key: [site["mean"][key] / n for site in site_fractions] for key in RING_ORDER},
    }


def _with_interval(row: Any) -> Block:
    return {
        "mean": {key: float(row[key]) for key in COLUMNS},
        "low": {key: float(row[f"{key}_low"]) for key in COLUMNS},
        "high": {key: float(row[f"{key}_high"]) for key in COLUMNS},
    }


def _distribution(fractions: pd.DataFrame) -> Block:
    few = len(fractions) <= DRAWN_POINTS
    levels = quantiles(fractions)
    return {
        "n": len(fractions),
        "categories": {
            key: {
                "quantiles": levels[key].tolist(),
                "points": fractions[key].tolist() if few else [],
            }
            for key in COLUMNS
        },
    }


def _test(table: pd.DataFrame) -> Block | None:
    right, wrong = (int(table[f"n_{group}"].iloc[0]) for group in GROUPS)
    if min(right, wrong) < FEWEST_TESTED:
        return None
    return {
        str(key): {"p": float(row["p"]), "larger": float(row["U"]) / (right * wrong)}
        for key, row in table.iterrows()
    }
