"""Aliased and tangled bins over the threshold: how much a number depends on that choice."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aliascope.figures.layout import (
    MEDIUM,
    add_axes,
    counted,
    figure_with_caption,
    images,
    mixed_with_white,
)
from aliascope.palette import palette
from aliascope.runs.measurement import Measurement


def thresholds(
    measurement: Measurement, *, accounting: str = "exact", colours: str = "paper"
) -> Figure:
    """Draw aliased + tangled bins over the threshold: a line a site, and their mean.

    Parameters
    ----------
    measurement : Measurement
        Of a run with other thresholds than its own.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        With lines of gid ``site/NAME`` and ``mean``, in percent over decibels, and ``own`` at the
        run's own threshold.

    Raises
    ------
    AliascopeError
        If other thresholds were not measured, or an option is unknown.

    Examples
    --------
    >>> from aliascope.runs.store import Store
    >>> store = Store.temporary()
    >>> store.write_run({})
    >>> thresholds(Measurement(store))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: Other thresholds were not measured in this run; measure ...
    """
    colour = palette(colours)["tangled"]
    table = measurement.thresholds(accounting=accounting)
    overall = measurement.thresholds("overall", accounting=accounting)
    names = list(dict.fromkeys(table.index.get_level_values("site")))
    figure, foot = figure_with_caption(2.25, _caption(measurement, accounting, len(names)))
    axes = add_axes(figure, 0.42, foot + 0.34, 0.1, 0.24)
    for place, name in enumerate(names):
        at = table.loc[name]
        shade = mixed_with_white(colour, 0.25 + 0.75 * place / max(1, len(names) - 1))
        both = 100 * (at["aliased"] + at["tangled"])
        axes.plot(at.index, both, color=shade, lw=0.9, gid=f"site/{name}")
    both = 100 * (overall["aliased"] + overall["tangled"])
    axes.plot(overall.index, both, color="black", lw=1.8, gid="mean")
    handles = [
        Line2D([], [], color=mixed_with_white(colour, 0.25), lw=0.9, label="first site"),
        Line2D([], [], color=colour, lw=0.9, label="last site"),
        Line2D([], [], color="black", lw=1.8, label=f"mean of {counted(len(names), 'site')}"),
    ]
    if measurement.criterion is not None:
        own = measurement.criterion.threshold_db
        axes.axvline(own, color="0.45", lw=0.8, ls=(0, (3, 2)), gid="own")
    axes.set(xlim=(overall.index.min(), overall.index.max()), ylim=(0, 100))
    axes.set_xticks(np.asarray(overall.index[::2]))
    axes.set_xlabel(_below(measurement), fontsize=MEDIUM, labelpad=1.5)
    axes.set_ylabel("aliased + tangled bins (%)", fontsize=MEDIUM, labelpad=1.5)
    figure.legend(
        handles=handles if len(names) > 1 else handles[1:],
        loc="upper center",
        ncols=3,
        fontsize=MEDIUM,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.0,
        borderpad=0.2,
    )
    return figure


def _below(measurement: Measurement) -> str:
    criterion = measurement.criterion
    reference = "reference" if criterion is None else criterion.reference
    level = {"max": "largest", "mean": "mean"}.get(reference, reference)
    return f"threshold (dB below the {level} power)"


def _caption(measurement: Measurement, accounting: str, n_sites: int) -> str:
    shades = "; sites from light (first) to dark (last)" if n_sites > 1 else ""
    number = int(measurement.thresholds("overall")["n"].max())
    caption = f"Mean over {images(measurement, accounting, number=number)}{shades}"
    criterion = measurement.criterion
    if criterion is None:
        return f"{caption}."
    return (
        f"{caption}. Dashed: the run's own threshold, {criterion.threshold_db:g} dB (grid "
        f"{criterion.grid}, fold scale {criterion.fold_scale})."
    )
