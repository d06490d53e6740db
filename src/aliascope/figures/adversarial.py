"""Accuracy and aliasing over the size of an adversarial disturbance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aliascope.errors import AliascopeError
from aliascope.figures.palette import palette
from aliascope.measurement import Measurement

BAND = (0.01, 0.99)
"""Percentiles over images of the shaded band."""


def adversarial(
    measurement: Measurement, *, accounting: str = "exact", colours: str = "paper"
) -> Figure:
    """Draw top-1 and top-5 accuracy, and the fraction of bins that alias, over epsilon.

    Aliasing is aliased plus tangled, averaged over sites: its median over images, and the band from
    the 1st to the 99th percentile. After the figure of Ribeiro and Schön (2021).

    Parameters
    ----------
    measurement : Measurement
        Of an attacked run with at least two epsilons.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        With lines of gid ``top1``, ``top5`` and ``aliasing``; epsilon 0 stands left of a gap.

    Raises
    ------
    AliascopeError
        If the run has fewer than two epsilons.
    """
    table = over_epsilon(measurement, accounting=accounting)
    colour = palette(colours)
    positive = table.index[table.index > 0]
    zero = positive.min() / 4
    x = np.where(table.index == 0, zero, table.index)
    figure = Figure(figsize=(3.4, 2.4))
    axes = figure.add_axes((0.14, 0.2, 0.83, 0.71))
    axes.fill_between(
        x,
        100 * table["low"],
        100 * table["high"],
        color=colour["tangled"],
        alpha=0.18,
        lw=0,
        gid="band",
    )
    for name, column, line in (
        ("top1", "top-1", {"color": "black", "marker": "o"}),
        ("top5", "top-5", {"color": "0.45", "marker": "s"}),
        ("aliasing", "aliased + tangled", {"color": colour["tangled"], "marker": "^"}),
    ):
        if table[name].notna().any():
            axes.plot(x, 100 * table[name], label=column, gid=name, lw=1.1, ms=3, **line)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_ylim(-3, 103)
    axes.set_xticks(x, ["0" if eps == 0 else f"{eps:g}" for eps in table.index], fontsize=6)
    axes.minorticks_off()
    if (table.index == 0).any():
        axes.axvline(zero * 2, color="0.7", lw=0.8, ls=(0, (1, 2)), gid="gap")
    axes.tick_params(labelsize=6.5, width=0.6)
    axes.tick_params(axis="x", labelsize=6, rotation=30)
    axes.set_xlabel("largest disturbance ε of a pixel in [0, 1]", fontsize=7)
    axes.set_ylabel("images, bins (%)", fontsize=7)
    figure.legend(loc="upper center", ncols=3, fontsize=6.5, frameon=False, borderaxespad=0.1)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    return figure


def over_epsilon(measurement: Measurement, *, accounting: str = "exact") -> pd.DataFrame:
    """Tabulate accuracy and aliasing over epsilon.

    Parameters
    ----------
    measurement, accounting
        As for :func:`adversarial`.

    Returns
    -------
    DataFrame
        Index eps; columns n, top1, top5 (fractions of images; NaN without labels), aliasing (median
        over images of aliased + tangled), low and high (1st and 99th percentile).
    """
    if len(measurement.epsilons) < 2:
        raise AliascopeError(
            f"The run has {len(measurement.epsilons)} epsilons, too few for a curve; "
            "evaluate with --attack pgd."
        )
    rows = {}
    for eps in measurement.epsilons:
        at = measurement.at(eps)
        accuracy = at.accuracy()["accuracy"]
        each = at.fractions(by="sample", accounting=accounting)[["aliased", "tangled"]].sum(axis=1)
        low, middle, high = (float(each.quantile(q)) for q in (BAND[0], 0.5, BAND[1]))
        top1, top5 = (float(accuracy.get(name, np.nan)) for name in ("top1", "top5"))
        rows[eps] = (len(at.samples), top1, top5, middle, low, high)
    columns = ["n", "top1", "top5", "aliasing", "low", "high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "eps"
    return table
