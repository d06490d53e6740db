"""Statistics of two conditions met by the same samples: differences, their intervals, tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aliascope.runs.intervals import CONFIDENCE, student, wilson

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Change:
    """A mean paired difference.

    Attributes
    ----------
    mean : float
        Of the differences; NaN of no sample.
    low, high : float
        95 % confidence interval.
    p : float
        Two-sided, of there being none; NaN where it cannot be told.
    n : int
        Samples that met both.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


NOTHING = Change(math.nan, math.nan, math.nan, math.nan, 0)


def paired_change(before: Sequence[float] | Array, after: Sequence[float] | Array) -> Change:
    """Compare what the same samples gave under two conditions.

    Parameters
    ----------
    before, after : array, shape (n,)
        Of each sample, in the same order; pairs with a NaN are left out.

    Returns
    -------
    Change
        Of after - before. Where all values are 0 or 1, the interval is Tango's and the test
        McNemar's exact one; otherwise Student's t of the differences.

    Examples
    --------
    >>> change = paired_change([1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1])
    >>> round(change.mean, 3), change.p, change.low < change.mean < change.high < 0
    (-0.667, 0.125, True)
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (before, after))
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    n = len(x)
    if n == 0:
        return NOTHING
    if set(np.unique(x)) | set(np.unique(y)) <= {0.0, 1.0}:
        lost, won = int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum())
        return Change((won - lost) / n, *tango(won, lost, n), mcnemar(won, lost), n)
    return _student(y - x)


def tango(won: int, lost: int, n: int) -> tuple[float, float]:
    """Score interval of a difference of paired proportions.

    Unlike that of the normal approximation it is wide where no pair differs: n samples without a
    change leave room for one of z² / (n + z²).

    Parameters
    ----------
    won, lost : int
        Pairs that went from 0 to 1, and from 1 to 0.
    n : int
        Pairs, 1 or more.

    Returns
    -------
    (float, float)
        Ends of the 95 % interval of (won - lost) / n, in [-1, 1].

    Notes
    -----
    Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 1998: the differences δ that the score test
    does not reject, with the discordant proportion estimated under δ by maximum likelihood.

    Examples
    --------
    >>> [round(end, 4) for end in tango(0, 0, 20)]
    [-0.1611, 0.1611]
    """
    from scipy import optimize, stats

    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))

    def score(delta: float) -> float:
        b = (2 * n - won + lost) * delta - won - lost
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return (won - lost - n * delta) / math.sqrt(variance) if variance > 0 else math.nan

    mean = (won - lost) / n
    low = -1.0 if won - lost == -n else _crossing(optimize, lambda d: score(d) - z, -1.0, mean)
    high = 1.0 if won - lost == n else _crossing(optimize, lambda d: score(d) + z, mean, 1.0)
    return low, high


def _crossing(optimize: Any, function: Any, low: float, high: float) -> float:
    """Find where the score passes a level; just inside the ends, where it may be 0/0."""
    tiny = 1e-12
    low, high = low + tiny, high - tiny
    ends = function(low), function(high)
    if not (ends[0] > 0 > ends[1]):  # the score is still within at the end of the range
        return low if abs(low) > abs(high) else high
    return float(optimize.brentq(function, low, high, xtol=1e-10))


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test: that pairs which differ go either way alike.

    Examples
    --------
    >>> mcnemar(0, 4), mcnemar(3, 3), mcnemar(0, 0)
    (0.125, 1.0, 1.0)
    """
    from scipy import stats

    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests by Holm's step-down method; NaN are none of them.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [math.nan] * len(ps)
    known = sorted((p, place) for place, p in enumerate(ps) if not math.isnan(p))
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def share(values: Sequence[float] | Array) -> tuple[float, float, float]:
    """Mean of shares with its 95 % interval: Wilson's where each is 0 or 1, else Student's t.

    Examples
    --------
    >>> [round(each, 2) for each in share([1, 1, 0, 1])]
    [0.75, 0.3, 0.95]
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if len(known) == 0:
        return math.nan, math.nan, math.nan
    if set(np.unique(known)) <= {0.0, 1.0}:
        return float(known.mean()), *wilson(int(known.sum()), len(known))
    change = _student(known)
    return change.mean, max(0.0, change.low), min(1.0, change.high)


def mean_change(values: Sequence[float] | Array) -> Change:
    """Mean of paired differences, by Student's t.

    Examples
    --------
    >>> round(mean_change([1.0, 2.0, 3.0]).p, 3)
    0.074
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return _student(known) if len(known) else NOTHING


def _student(differences: Array) -> Change:
    from scipy import stats

    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Change(mean, math.nan, math.nan, math.nan, n)
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return Change(mean, mean, mean, 1.0 if mean == 0 else 0.0, n)
    half = student(n) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Change(mean, mean - half, mean + half, p, n)
