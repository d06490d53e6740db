"""Intervals of shares and of means, without all of scipy.stats, which takes a second to load."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
"""Of every interval that is shown."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Give Wilson's score interval of a share.

    E. B. Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, JASA 1927.

    Parameters
    ----------
    hits, n : int
        How many of how many.

    Returns
    -------
    low, high : float
        In [0, 1]; NaN of nothing.

    Examples
    --------
    >>> low, high = wilson(18, 20)
    >>> round(low, 3), round(high, 3)
    (0.699, 0.972)
    """
    from scipy.special import ndtri

    if n == 0:
        return math.nan, math.nan
    z = float(ndtri((1 + CONFIDENCE) / 2))
    share, scale = hits / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    return low, 1.0 if hits == n else min(1.0, centre + half)


def student(n: int) -> float:
    """Give the quantile of Student's t for the interval of a mean of n values, 2 or more.

    Examples
    --------
    >>> round(student(2), 3), round(student(1000), 3)
    (12.706, 1.962)
    """
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
