"""What the page says and draws of a comparison with another run."""

from __future__ import annotations

import math

from aliascope.report.numbers import Block
from aliascope.report.words import NO_BREAK, percent, signed
from aliascope.runs.comparison import OVERALL, Comparison
from aliascope.runs.energy import ENERGY

WORDS = {ENERGY: "aliased energy", "tangled": "the tangled fraction"}
"""Of the values that may be drawn."""


def comparison(found: Comparison) -> Block:
    """Give a comparison of the run with another one.

    Parameters
    ----------
    found : Comparison
        Of the page's run with the other.

    Returns
    -------
    dict
        names, images (how many), said (sentences), notes, drawn (the value that is drawn), and rows
        of :meth:`Comparison.table`: site, value, overall (whether it is the mean over sites),
        before, after, difference, low, high, p.
    """
    value = ENERGY if ENERGY in found.values else "tangled"
    rows: list[Block] = []
    for key, row in found.table().iterrows():
        site, of = (str(part) for part in key)  # type: ignore[attr-defined]
        rows.append(
            {
                "site": site,
                "value": of,
                "overall": site == OVERALL,
                **{key: float(row[key]) for key in ("before", "after", "difference", "p")},
                "low": float(row["difference_low"]),
                "high": float(row["difference_high"]),
            }
        )
    return {
        "names": list(found.names),
        "images": len(found.images),
        "said": _said(found, rows, value),
        "notes": found.notes,
        "drawn": value,
        "rows": rows,
    }


def points(change: float, low: float, high: float) -> str:
    """Write a difference of fractions in points, with its interval.

    Examples
    --------
    >>> points(-0.1234, -0.2, -0.05).replace(NO_BREAK, " ")
    '−12.3 points (95 % interval −20.0 to −5.0)'
    """
    words = f"{signed(change)} points"
    if math.isnan(low):
        return words
    return f"{words} (95{NO_BREAK}% interval {signed(low)} to {signed(high)})"


def _said(found: Comparison, rows: list[Block], value: str) -> list[str]:
    sites = [row for row in rows if row["value"] == value and not row["overall"]]
    (mean,) = (row for row in rows if row["value"] == value and row["overall"])
    n = "1 image" if len(found.images) == 1 else f"{len(found.images)} images"
    over = "at the one site" if len(sites) == 1 else f"averaged over {_averaged(found, value)}"
    known = [row for row in sites if not math.isnan(row["difference"])]
    changed = any(row["difference"] for row in known)
    went = f"went from {percent(mean['before'])} to {percent(mean['after'])}: {_points(mean)}"
    said = [
        f"On the {n} that both runs have, {WORDS[value]} {over} "
        f"{went if changed else 'is the same'}."
    ]
    if len(sites) > 1 and changed:
        most = max(known, key=lambda row: abs(row["difference"]))
        apart = sum(not row["low"] <= 0 <= row["high"] for row in known)  # NaN is not apart
        said.append(
            f"It changes most at {most['site']}: {_points(most)}. The interval leaves 0 out at "
            f"{apart} of {len(sites)} sites."
        )
    accuracy = found.accuracy()
    if accuracy.n:
        change = points(accuracy.mean, accuracy.low, accuracy.high)
        agreement = found.agreement()
        agree = (
            f"; the predictions agree on {percent(agreement)} of images" if agreement >= 0 else ""
        )
        said.append(f"Top-1 accuracy changes by {change}{agree}.")
    return said


def _points(row: Block) -> str:
    return points(row["difference"], row["low"], row["high"])


def _averaged(found: Comparison, value: str) -> str:
    rates = found.sites["rate"]
    if value != ENERGY or rates.nunique() == 1:
        return f"{len(found.sites)} sites"
    rate = rates.mode().iloc[0]
    return f"the {int((rates == rate).sum())} sites of rate {'×'.join(map(str, rate))}"
