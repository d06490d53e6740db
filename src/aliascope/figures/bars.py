"""Stacked bars of the four fractions: one a site, or one a channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.figures.layout import Page, category_handles, fitted, images, text_width
from aliascope.figures.stages import draw_stages
from aliascope.palette import palette
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

ROW = 0.142
"""Inches from one site's bar to the next."""

WIDEST_NAME = 0.41
"""Share of the width that a site's name may take beside its bar."""


def sites(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw a stacked bar for each site, in the order in which they run, and one for their mean.

    The whisker on the left edge of tangled is its 95 % interval over samples. Of many sites, lines
    part those of one size of map from the next.

    Parameters
    ----------
    measurement : Measurement
        With at least one site.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    ['bar/no_pass/(root)', 'mean/no_pass']
    """
    colour, page = palette(colours), Page.of(**look)
    table = measurement.fractions(by="site", accounting=accounting)
    if table.empty:
        raise AliascopeError("The run has no measured site, so there are no bars to draw.")
    overall = measurement.fractions(by="overall", accounting=accounting).iloc[0]
    names = [*(str(name) for name in table.index), f"mean of {counted(len(table), 'site')}"]
    labels = [*fitted(names[:-1], WIDEST_NAME * page.width, page.small), names[-1]]
    rows = -np.array([*range(len(table)), len(table) + 0.5])
    legend = page.legend_rows(category_handles(COLUMNS, colours))
    head, (words, below) = page.legend_height(legend), page.label("bins (%)", page.width)
    below += page.tall(0.19)
    body = page.tall(ROW) * (len(names) + 0.5)
    sheet = page.sheet(head + body + below, _caption(measurement, accounting))
    beside = 0.1 + max(text_width(label, page.small) for label in labels)
    axes = sheet.axes(beside, below, page.tall(0.12), head)
    left = np.zeros(len(names))
    for category in COLUMNS:
        width = 100 * np.array([*table[category], overall[category]])
        drawn = axes.barh(rows, width, left=left, height=0.8, color=colour[category], lw=0)
        for patch, name in zip(drawn, table.index, strict=False):
            patch.set_gid(f"bar/{category}/{name}")
        drawn[-1].set_gid(f"mean/{category}")
        left += width
    low, high = (
        100 * (1 - np.array([*table[f"tangled_{end}"], overall[f"tangled_{end}"]]))
        for end in ("high", "low")
    )
    if not np.isnan(low).any():
        halo = [withStroke(linewidth=1.9, foreground="white")]
        axes.hlines(rows, low, high, color="black", lw=0.8, path_effects=halo, gid="intervals")
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 100), ylim=(rows[-1] - 0.55, 0.55))
    draw_stages([axes], measurement, table.index, (0.05 - beside) / (page.width - beside))
    sheet.label(axes, x=words)
    sheet.legend(legend)
    return sheet.figure


def channels(
    measurement: Measurement,
    site: str,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw a stacked bar for each channel of a site, sorted by tangled, then by aliased.

    Below stand the channels' numbers: of each, or where there is no room for that of every few.

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
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    >>> sorted(label.get_text() for label in channels(m, "(root)").axes[0].get_xticklabels())
    ['0', '1', '2']
    """
    colour, page = palette(colours), Page.of(**look)
    table = sorted_channels(measurement, site, accounting=accounting)
    numbers = [str(number) for number in table.index.get_level_values("channel")]
    legend = page.legend_rows(category_handles(COLUMNS, colours))
    head, left = page.legend_height(legend) + 0.05, page.tall(0.45)
    room = page.width - left - 0.1
    words, below = page.label(f"channel of {page.named(site)}, most tangled first", room)
    most = max(text_width(number, page.small) for number in numbers)
    each = room / len(numbers)
    # Upright numbers take their height, which is little more than a line's.
    upright = most + 0.05 > each
    every = max(1, math.ceil(page.line / each)) if upright else 1
    below += 0.06 + (most if upright and every == 1 else page.tall(0.11))
    if every > 1:
        every = max(1, math.ceil((most + 0.08) / each))
        upright = False
    caption = (
        f"{counted(len(table), 'channel')} of {page.named(site)}; mean over "
        f"{images(measurement, accounting)}. Most tangled: channel{_first(numbers)}."
    )
    sheet = page.sheet(head + page.tall(1.55) + below, caption)
    axes = sheet.axes(left, below, 0.1, head)
    edges = np.arange(len(table) + 1) + 0.5
    bottom = np.zeros(len(table))
    for category in COLUMNS:
        top = bottom + 100 * table[category].to_numpy()
        area = axes.stairs(top, edges, baseline=bottom, fill=True, color=colour[category])
        area.set(gid=f"area/{category}", linewidth=0.2)
        bottom = top
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 100))
    axes.set_xticks(np.arange(1, len(table) + 1)[::every], numbers[::every])
    if upright:
        axes.tick_params(axis="x", labelrotation=90)
    sheet.label(axes, words, "bins (%)")
    sheet.legend(legend)
    return sheet.figure


def sorted_channels(
    measurement: Measurement, site: str, *, accounting: str = "exact"
) -> pd.DataFrame:
    """Tabulate the fractions of a site's channels, most tangled first, then most aliased.

    Parameters
    ----------
    measurement, site, accounting
        As for :func:`channels`.

    Returns
    -------
    DataFrame
        Index site and channel (counted from 0), columns the four categories.

    Raises
    ------
    AliascopeError
        If the site is unknown, or channels were not kept.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="channel")
    >>> sorted_channels(m, "(root)").columns.tolist()
    ['no_pass', 'non_aliased', 'aliased', 'tangled']
    """
    table = measurement.fractions(by="channel", accounting=accounting, site=site)
    if "site" not in table.index.names:
        table = pd.concat({site: table}, names=["site"])
    return table.sort_values(["tangled", "aliased"], ascending=False, kind="stable")[COLUMNS]


def _first(numbers: list[str]) -> str:
    """Name the first few channels.

    Examples
    --------
    >>> _first(["7"]), _first(["7", "2", "9", "4"])
    (' 7', 's 7, 2 and 9')
    """
    if len(numbers) == 1:
        return f" {numbers[0]}"
    *most, last = numbers[:3]
    return f"s {', '.join(most)} and {last}"


def _caption(measurement: Measurement, accounting: str) -> str:
    caption = f"Mean over {images(measurement, accounting)}"
    if len(measurement.samples) > 1:
        caption += "; whiskers: 95 % interval of tangled over images"
    left_out = int((~measurement.sites["supported"].astype(bool)).sum())
    return caption + (f". {counted(left_out, 'site')} not measured." if left_out else ".")
