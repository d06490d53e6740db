"""Maps of the categories of bins: those of one channel, their fractions, and the most mixed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.runs.arrays import Array
from aliascope.runs.fractions import fractions_of
from aliascope.runs.measurement import Measurement


def channel_map(measurement: Measurement, site: str, sample: int, channel: int) -> Array:
    """Read the categories of one channel, (M,) or (M_h, M_w), zero frequency first.

    Parameters
    ----------
    measurement, site, sample, channel
        As for :func:`aliascope.figures.pixels`.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    AliascopeError
        If the site, sample or channel is not there, the maps were not kept, or the site has three
        spatial axes.
    """
    maps = measurement.category_map(site, sample)
    if maps.ndim > 3:
        raise AliascopeError(
            f"Site {site} has {maps.ndim - 1} spatial axes, which a plane cannot show; "
            "choose a site with one or two."
        )
    if not 0 <= channel < len(maps):
        raise AliascopeError(
            f"channel is {channel}, but site {site} has {len(maps)}, counted from 0."
        )
    return np.asarray(maps[channel])


def percentages(category: Array, accounting: str = "exact") -> pd.Series:
    """Fractions of a map's bins in each category.

    Parameters
    ----------
    category : ndarray of uint8
        Categories.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.

    Returns
    -------
    Series
        In [0, 1], by column name.

    Examples
    --------
    >>> percentages(np.array([0, 0, 2, 3])).tolist()
    [0.5, 0.0, 0.25, 0.25]
    """
    counts = np.bincount(category.ravel(), minlength=len(COLUMNS))
    return pd.Series(fractions_of(counts, accounting), index=COLUMNS)


def most_mixed(maps: Array) -> int:
    """Find the channel whose bins are spread most evenly over the four categories.

    Parameters
    ----------
    maps : ndarray of uint8, shape (C, *M)
        Categories, as :meth:`Measurement.category_map` gives them.

    Returns
    -------
    int
        Channel with the largest entropy of its four fractions.

    Examples
    --------
    >>> most_mixed(np.array([[3, 3, 3, 3], [0, 1, 2, 3], [0, 0, 1, 1]]))
    1
    """
    shares = np.stack([(maps == c).mean(axis=tuple(range(1, maps.ndim))) for c in range(4)])
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return int(np.argmax(-(shares * logs).sum(axis=0)))
