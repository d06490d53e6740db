"""Stacked bars of the four fractions: one a site, or one a channel."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aliascope.errors import AliascopeError
from aliascope.figures.palette import LABELS, palette
from aliascope.measurement import Measurement

STACK = ("tangled", "aliased", "non_aliased", "no_pass")
"""Left to right, or bottom to top: what aliases most first."""

LONGEST_NAME = 28


def sites(measurement: Measurement, *, accounting: str = "exact", colours: str = "paper") -> Figure:
    """Draw a stacked bar for each site, in the order in which they run.

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
        Its bars have gids such as ``bar/tangled/layer1.0.conv1``.

    Raises
    ------
    AliascopeError
        If nothing was measured.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> figure = sites(al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]))
    >>> len(figure.axes[0].patches)
    4
    """
    table = measurement.fractions(by="site", accounting=accounting)
    if table.empty:
        raise AliascopeError("The run has no measured site, so there are no bars to draw.")
    colour = palette(colours)
    height = 0.75 + 0.17 * len(table)
    figure = Figure(figsize=(3.4, height))
    axes = figure.add_axes((0.42, 0.36 / height, 0.55, 1 - 0.58 / height))
    rows = np.arange(len(table))[::-1]
    left = np.zeros(len(table))
    for name in STACK:
        width = 100 * table[name].to_numpy()
        for row, start, share, site in zip(rows, left, width, table.index, strict=True):
            axes.barh(
                row, share, left=start, height=0.78, color=colour[name], gid=f"bar/{name}/{site}"
            )
        left += width
    low, high = (100 * table[f"tangled_{end}"].to_numpy() for end in ("low", "high"))
    axes.hlines(rows, low, high, color="black", lw=0.9, gid="intervals")
    axes.set_yticks(rows, [_shortened(str(name)) for name in table.index], fontsize=6)
    axes.set(xlim=(0, 100), ylim=(-0.6, len(table) - 0.4))
    axes.set_xlabel("bins (%)", fontsize=7)
    axes.tick_params(labelsize=6, width=0.6, length=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    _legend(figure, axes, colours)
    return figure


def channels(
    measurement: Measurement, site: str, *, accounting: str = "exact", colours: str = "paper"
) -> Figure:
    """Draw a stacked bar for each channel of a site, sorted by tangled.

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
        Its areas have gids such as ``area/tangled``.

    Raises
    ------
    AliascopeError
        If the site is unknown, or channels were not kept.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="channel")
    >>> len(channels(m, "(root)").axes)
    1
    """
    table = measurement.fractions(by="channel", accounting=accounting)
    names = list(dict.fromkeys(table.index.get_level_values("site")))
    if site not in names:
        raise AliascopeError(f"There is no site {site!r}; the sites are {', '.join(names)}.")
    of_site = table[table.index.get_level_values("site") == site]
    of_site = of_site.sort_values(list(STACK[:2]), ascending=False)
    colour = palette(colours)
    figure = Figure(figsize=(3.4, 2.1))
    axes = figure.add_axes((0.12, 0.19, 0.85, 0.63))
    edges = np.arange(len(of_site) + 1) - 0.5
    bottom = np.zeros(len(of_site))
    for name in STACK:
        top = bottom + 100 * of_site[name].to_numpy()
        axes.stairs(top, edges, baseline=bottom, fill=True, color=colour[name], gid=f"area/{name}")
        bottom = top
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 100))
    axes.set_xlabel(f"{len(of_site)} channels of {_shortened(site)}, by tangled", fontsize=7)
    axes.set_ylabel("bins (%)", fontsize=7)
    axes.set_xticks([])
    axes.tick_params(labelsize=6.5, width=0.6, length=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    _legend(figure, axes, colours)
    return figure


def _legend(figure: Figure, axes: Axes, colours: str) -> None:
    from matplotlib.patches import Patch

    colour = palette(colours)
    figure.legend(
        handles=[Patch(color=colour[name], label=LABELS[name]) for name in STACK],
        loc="upper center",
        ncols=4,
        fontsize=6.5,
        frameon=False,
        handlelength=1,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[-LONGEST_NAME + 1 :]
