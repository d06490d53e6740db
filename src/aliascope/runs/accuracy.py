"""How many images were classified correctly, with intervals."""

from __future__ import annotations

import pandas as pd

from aliascope.runs.intervals import wilson

ACCURACIES = ("top1", "top5")
"""Columns of the samples that say whether the label is among so many most likely classes."""


def accuracy_of(samples: pd.DataFrame) -> pd.DataFrame:
    """Count correct samples.

    Parameters
    ----------
    samples : DataFrame
        With those of :data:`ACCURACIES` that are known.

    Returns
    -------
    DataFrame
        As :meth:`aliascope.runs.measurement.Measurement.accuracy` gives it.

    Examples
    --------
    >>> accuracy_of(pd.DataFrame({"top1": [True, None, False]})).loc["top1", "n"]
    np.int64(2)
    """
    rows = {}
    for column in ACCURACIES:
        if column in samples and len(known := samples[column].dropna()):
            correct, n = int(known.astype(bool).sum()), len(known)
            rows[column] = (correct, n, correct / n, *wilson(correct, n))
    columns = ["correct", "n", "accuracy", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
