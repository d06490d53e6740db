"""The numbers on the page, as plain lists and dictionaries; all that is drawn comes from these."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.palette import palette
from aliascope.figures.pie import RING_ORDER
from aliascope.runs.measurement import Measurement

DRAWN_POINTS = 150
"""Images drawn as points beside a box; of more, the box alone is drawn."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Whisker, quartile, median, quartile, whisker of a box."""

BAND = (0.01, 0.99)
"""Quantiles over images between which the published figure of attacks draws its band."""

FEWEST_COMPARED = 3
"""Images that each side of a comparison needs before a test is worth its name."""

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
        ``correct`` and ``incorrect``: n, and for each category ``quantiles`` (:data:`QUANTILES`)
        and ``points`` (none where there are many); ``test``: for each category the two-sided
        p-value of Mann and Whitney (1947) and the share of pairs in which the incorrect image has
        the larger fraction, ties counting half. None unless there are images of both kinds.
    """
    known = _labelled(measurement)
    if known["top1"].nunique() < 2:
        return None
    fractions = measurement.fractions(by="sample", accounting=accounting)
    right = known.set_index("sample")["top1"].astype(bool)
    fractions = fractions.loc[fractions.index.intersection(right.index)]
    right = right.loc[fractions.index]
    sides = {"correct": fractions[right], "incorrect": fractions[~right]}
    return {
        **{name: _distribution(side) for name, side in sides.items()},
        "test": _test(sides["correct"], sides["incorrect"]),
    }


def why_no_groups(measurement: Measurement) -> str:
    """Say why there is nothing to compare in :func:`groups`."""
    known = _labelled(measurement)
    if known.empty:
        return "The images have no labels, so there are no correct and incorrect ones to compare."
    if known["top1"].astype(bool).all():
        return (
            f"All {len(known)} labelled images were classified correctly, "
            "so there are no incorrect ones to compare with."
        )
    return (
        f"None of the {len(known)} labelled images was classified correctly, "
        "so there are no correct ones to compare with."
    )


def attack(measurement: Measurement, accounting: str) -> list[Block]:
    """Give accuracy and aliasing at each epsilon of an attacked run, ascending; else nothing.

    Returns
    -------
    list of dict
        eps, n, accuracy (of :func:`accuracy`), overall, sites (as their functions give them), and
        ``harmed``: median, low and high (:data:`BAND`) over images of aliased + tangled.
    """
    return [_at_epsilon(measurement.at(eps), accounting) for eps in measurement.epsilons]


def _at_epsilon(measurement: Measurement, accounting: str) -> Block:
    fractions = measurement.fractions(by="sample", accounting=accounting)
    harmed = (fractions["aliased"] + fractions["tangled"]).to_numpy()
    low, median, high = np.quantile(harmed, (BAND[0], 0.5, BAND[1])).tolist()
    return {
        "eps": measurement.eps,
        "n": len(measurement.samples),
        "accuracy": accuracy(measurement),
        "overall": overall(measurement, accounting),
        "sites": sites(measurement, accounting),
        "harmed": {"low": low, "median": median, "high": high},
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


def _labelled(measurement: Measurement) -> pd.DataFrame:
    samples = measurement.samples
    if "top1" not in samples:
        return pd.DataFrame({"sample": [], "top1": []})
    return samples.dropna(subset=["top1"])


def _distribution(fractions: pd.DataFrame) -> Block:
    few = len(fractions) <= DRAWN_POINTS
    return {
        "n": len(fractions),
        "categories": {
            key: {
                "quantiles": np.quantile(fractions[key], QUANTILES).tolist(),
                "points": fractions[key].tolist() if few else [],
            }
            for key in COLUMNS
        },
    }


def _test(correct: pd.DataFrame, incorrect: pd.DataFrame) -> Block | None:
    if min(len(correct), len(incorrect)) < FEWEST_COMPARED:
        return None
    result: Block = {}
    for key in COLUMNS:
        test = stats.mannwhitneyu(incorrect[key], correct[key], alternative="two-sided")
        p = float(test.pvalue)
        result[key] = {
            "p": 1.0 if math.isnan(p) else p,
            "larger": float(test.statistic) / (len(correct) * len(incorrect)),
        }
    return result
