"""Stacked bars of the four fractions: one a site, or one a channel."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from aliascope.errors import AliascopeError
from aliascope.figures.layout import (
    LONGEST_NAME,
    MEDIUM,
    SMALL,
    add_axes,
    add_legend,
    counted,
    figure_with_caption,
    fitted,
    images,
    shortened,
    text_width,
)
from aliascope.palette import STACK, palette
from aliascope.runs.measurement import Measurement

ROW = 0.142
"""Inches from one site's bar to the next."""

WIDEST_NAME = 1.42
"""Inches of a site's name that fit beside its bar."""


def sites(measurement: Measurement, *, accounting: str = "exact", colours: str = "paper") -> Figure:
    """Draw a stacked bar for each site, in the order in which they run, and one for their mean.

    The whisker on the right edge of tangled is its 95 % interval over samples.

    Parameters
    ----------
    measurement : Measurement
        With at least one site.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        Its bars have gids such as ``bar/tangled/layer1.0.conv1`` (of the mean: ``mean/tangled``),
        in percent; the whiskers are the lines of ``intervals``, from top to bottom.

    Raises
    ------
    AliascopeError
        If nothing was measured, or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> figure = sites(al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]))
    >>> [patch.get_gid() for patch in figure.axes[0].patches][:2]
    ['bar/tangled/(root)', 'mean/tangled']
    """
    colour = palette(colours)
    table = measurement.fractions(by="site", accounting=accounting)
    if table.empty:
        raise AliascopeError("The run has no measured site, so there are no bars to draw.")
    overall = measurement.fractions(by="overall", accounting=accounting).iloc[0]
    names = [*(str(name) for name in table.index), f"mean of {counted(len(table), 'site')}"]
    labels = [*fitted(names[:-1], WIDEST_NAME), names[-1]]
    rows = -np.array([*range(len(table)), len(table) + 0.5])
    figure, foot = figure_with_caption(
        0.2 + ROW * (len(names) + 0.5) + 0.34, _caption(measurement, accounting)
    )
    beside = 0.1 + max(text_width(label) for label in labels)
    axes = add_axes(figure, beside, foot + 0.32, 0.1, 0.2)
    left = np.zeros(len(names))
    for category in STACK:
        width = 100 * np.array([*table[category], overall[category]])
        drawn = axes.barh(rows, width, left=left, height=0.8, color=colour[category], lw=0)
        for patch, name in zip(drawn, table.index, strict=False):
            patch.set_gid(f"bar/{category}/{name}")
        drawn[-1].set_gid(f"mean/{category}")
        left += width
    low, high = (
        100 * np.array([*table[f"tangled_{end}"], overall[f"tangled_{end}"]])
        for end in ("low", "high")
    )
    if not np.isnan(low).any():
        halo = [withStroke(linewidth=1.9, foreground="white")]
        axes.hlines(rows, low, high, color="black", lw=0.8, path_effects=halo, gid="intervals")
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 100), ylim=(rows[-1] - 0.55, 0.55))
    axes.set_xlabel("bins (%)", fontsize=MEDIUM, labelpad=1.5)
    add_legend(figure, STACK, colours)
    return figure


def channels(
    measurement: Measurement, site: str, *, accounting: str = "exact", colours: str = "paper"
) -> Figure:
    """Draw a stacked bar for each channel of a site, sorted by tangled, then by aliased.

    Parameters
    ----------
    measurement : Measurement
        Of a run with detail channel or finer.
    site : str
        Name of the site.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        Its areas, each the steps of one category in percent, have gids such as ``area/tangled``.

    Raises
    ------
    AliascopeError
        If the site is unknown, channels were not kept, or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="channel")
    >>> len(channels(m, "(root)").axes)
    1
    """
    colour = palette(colours)
    table = measurement.fractions(by="channel", accounting=accounting, site=site)
    table = table.sort_values(list(STACK[:2]), ascending=False)
    figure, foot = figure_with_caption(
        2.1,
        f"{counted(len(table), 'channel')} of {shortened(site, LONGEST_NAME)}; mean over "
        f"{images(measurement, accounting)}.",
    )
    axes = add_axes(figure, 0.42, foot + 0.32, 0.1, 0.24)
    edges = np.arange(len(table) + 1) + 0.5
    bottom = np.zeros(len(table))
    for category in STACK:
        top = bottom + 100 * table[category].to_numpy()
        area = axes.stairs(top, edges, baseline=bottom, fill=True, color=colour[category])
        area.set(gid=f"area/{category}", linewidth=0.2)
        bottom = top
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 100))
    axes.set_xlabel("channels, most tangled first", fontsize=MEDIUM, labelpad=1.5)
    axes.set_ylabel("bins (%)", fontsize=MEDIUM, labelpad=1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=SMALL)
    add_legend(figure, STACK, colours)
    return figure


def _caption(measurement: Measurement, accounting: str) -> str:
    caption = f"Mean over {images(measurement, accounting)}"
    if len(measurement.samples) > 1:
        caption += "; whiskers: 95 % interval of tangled over images"
    left_out = int((~measurement.sites["supported"].astype(bool)).sum())
    return caption + (f". {counted(left_out, 'site')} not measured." if left_out else ".")
