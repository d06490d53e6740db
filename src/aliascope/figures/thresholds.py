"""Aliased and tangled bins over the threshold: how much a number depends on that choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aliascope.figures.layout import Page, images, text_width
from aliascope.figures.shades import shade
from aliascope.figures.stages import MANY, stage_starts
from aliascope.palette import palette
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

HARMED = "aliased + tangled bins (%)"


def thresholds(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw aliased + tangled bins over the threshold: a line a site, and their mean.

    Of many sites, those of one size of map that follow each other have one shade, and their lines
    are thin.

    Parameters
    ----------
    measurement : Measurement
        Of a run with other thresholds than its own.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    colour, page = palette(colours)["tangled"], Page.of(**look)
    table = measurement.thresholds(accounting=accounting)
    overall = measurement.thresholds("overall", accounting=accounting)
    names = list(dict.fromkeys(table.index.get_level_values("site")))
    many = len(names) > MANY
    shades = [shade(colour, place) for place in _places(measurement, names)]
    of_ends = zip(("first", "last"), (shades[0], shades[-1]), strict=True)
    ends = [Line2D([], [], color=each, label=f"{which} site") for which, each in of_ends]
    of_all = f"mean of {counted(len(names), 'site')}"
    samples: list[Artist] = [*ends[2 - min(2, len(names)) :]]
    samples.append(Line2D([], [], color="black", lw=1.8, label=of_all))
    legend = page.legend_rows(samples)
    head, left = page.legend_height(legend) + 0.05, page.tall(0.45)
    right = page.tall(0.12)
    words, below = page.label(_below(measurement), page.width - left - right)
    below += page.tall(0.19)
    high = max(page.tall(1.65 if not page.wide else 2.2), text_width(HARMED, page.medium))
    sheet = page.sheet(head + high + below, _caption(measurement, accounting, len(names)))
    axes = sheet.axes(left, below, right, head)
    for name, of_site in zip(names, shades, strict=True):
        at = table.loc[name]
        both = 100 * (at["aliased"] + at["tangled"])
        axes.plot(at.index, both, color=of_site, lw=0.5 if many else 0.9, gid=f"site/{name}")
    both = 100 * (overall["aliased"] + overall["tangled"])
    axes.plot(overall.index, both, color="black", lw=1.8, gid="mean")
    if measurement.criterion is not None:
        own = measurement.criterion.threshold_db
        axes.axvline(own, color="0.45", lw=0.8, ls=(0, (3, 2)), gid="own")
    axes.set(xlim=(overall.index.min(), overall.index.max()), ylim=(0, 100))
    axes.set_xticks(np.asarray(overall.index[::2]))
    sheet.label(axes, words, HARMED)
    sheet.legend(legend)
    return sheet.figure


def _places(measurement: Measurement, names: list[str]) -> list[float]:
    """Where each site's shade is from light (0) to dark (1): by order, of many by their stage."""
    starts = set(stage_starts(measurement, names) if len(names) > MANY else range(1, len(names)))
    numbers = np.cumsum([k in starts for k in range(len(names))])
    # Lines are thinner than what is filled, so the palest is not quite so pale.
    return [0.35 + 0.65 * float(number / max(1, numbers[-1])) for number in numbers]


def _below(measurement: Measurement) -> str:
    criterion = measurement.criterion
    reference = "reference" if criterion is None else criterion.reference
    level = {"max": "largest", "mean": "mean"}.get(reference, reference)
    return f"threshold (dB below the {level} power)"


def _caption(measurement: Measurement, accounting: str, n_sites: int) -> str:
    shades = "; sites from light (first) to dark (last)" if n_sites > 1 else ""
    shades += ", those of one size of map alike" if n_sites > MANY else ""
    number = int(measurement.thresholds("overall")["n"].max())
    caption = f"Mean over {images(measurement, accounting, number=number)}{shades}"
    criterion = measurement.criterion
    if criterion is None:
        return f"{caption}."
    return (
        f"{caption}. Dashed: the run's own threshold, {criterion.threshold_db:g} dB (grid "
        f"{criterion.grid}, fold scale {criterion.fold_scale})."
    )
