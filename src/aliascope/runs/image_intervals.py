"""Intervals of means over images: what each image gave is one value, however many shifts it had."""

from __future__ import annotations

import numpy as np

from aliascope.runs.arrays import Array
from aliascope.runs.intervals import CONFIDENCE, wilson

RESAMPLES = 2000

FEW_VALUES = 256
"""Up to so many different values a resample is drawn as their counts, which is faster."""


def over_images(values: Array, seed: int = 0) -> tuple[float, float]:
    """Give the 95 % interval of a mean over images.

    Wilson's where each image says yes or no (1 or 0); else by the percentiles of means over images
    drawn anew with replacement.

    Parameters
    ----------
    values : ndarray, shape (images,)
        One value an image; NaN is left out.
    seed : int
        Of the resamples.

    Returns
    -------
    (float, float)
        NaN without images, and where a single one has a value between yes and no.

    Examples
    --------
    >>> [round(end, 3) for end in over_images(np.array([1.0] * 18 + [0.0] * 2))]
    [0.699, 0.972]
    >>> low, high = over_images(np.linspace(0, 1, 101))
    >>> bool(0.44 < low < 0.45 < 0.55 < high < 0.56)
    True
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return np.nan, np.nan
    if np.isin(values, (0.0, 1.0)).all():
        return wilson(int(values.sum()), len(values))
    if len(values) < 2:
        return np.nan, np.nan
    ends = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
    low, high = np.percentile(_means(values, np.random.default_rng(seed)), ends)
    return float(low), float(high)


def _means(values: Array, generator: np.random.Generator) -> Array:
    """Draw as many images as there are, with replacement, and average; many times."""
    different, counts = np.unique(values, return_counts=True)
    if len(different) <= FEW_VALUES:
        drawn = generator.multinomial(len(values), counts / len(values), size=RESAMPLES)
        return np.asarray(drawn @ different / len(values))
    picks = (generator.integers(len(values), size=len(values)) for _ in range(RESAMPLES))
    return np.array([values[pick].mean() for pick in picks])
