"""The category of every bin of one signal, one pixel a bin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.colorbar import bar_height, draw_bar
from aliascope.figures.layout import (
    MARGIN,
    Page,
    Sheet,
    frequency_edges,
    frequency_ticks,
    text_width,
    wrapped,
)
from aliascope.palette import palette
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN
from aliascope.runs.maps import channel_map, percentages
from aliascope.runs.measurement import Measurement

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

STRIP = 0.5
"""Inches of height of the map of a signal with one spatial axis."""

SIDE = 3.3
"""Inches of width of a map in a wide figure."""

KEY = 0.3
"""Inches between that map and its key."""

AXIS = "{} (cycles/sample)"


def pixels(
    measurement: Measurement,
    site: str,
    sample: int,
    channel: int = 0,
    *,
    colour_bar: bool = True,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw the category map of one sample, site and channel, zero frequency in the centre.

    Axes are in cycles a sample of the decimated signal, whose bins these are. The four percentages
    stand below, in a wide figure beside. After the pixel plots of Ribeiro and Schön (2021).

    Parameters
    ----------
    measurement : Measurement
        Of a run with detail pixel or folds.
    site : str
        Name of the site; it must have one or two spatial axes.
    sample : int
        Number of the sample.
    channel : int
        Channel of the dense signal, counted from 0.
    colour_bar : bool
        Name the colours.
    accounting : {"exact", "published"}
        That of the percentages; see :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        Its image has the gid ``map`` and holds the categories; percentages have gids such as
        ``percentage/tangled``, or without the bar ``percentages``.

    Raises
    ------
    AliascopeError
        If the site, sample or channel is not there, or the maps were not kept.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 3, 16, 16)], detail="pixel")
    >>> pixels(m, "(root)", sample=0, channel=2).axes[0].images[0].get_array().shape
    (15, 15)
    """
    page = Page.of(**look)
    category = channel_map(measurement, site, sample, channel)
    shares = percentages(category, accounting)
    where = f"{page.named(site)}, image {sample}, channel {channel}, after decimation"
    if measurement.condition != CLEAN:
        where += f", {measurement.condition.label}"
    if accounting == "published":
        where += "; published accounting"
    plane = category.ndim > 1
    rows, columns = np.atleast_2d(category).shape
    names = [AXIS.format(way) for way in ("across", "down")]
    left = page.tall(0.37) + page.label(names[1], 0.5 * page.width)[1] if plane else page.tall(0.17)
    # A wide figure has its key beside a map; a strip is as wide as there is room.
    beside = page.wide and plane
    if beside:
        left += max(0.0, (page.width - left - SIDE - KEY - _key_width(page)) / 2)
    room = SIDE if beside else page.width - left - page.tall(0.12)
    width = min(1.0, 1.3 * columns / rows) * room if plane else room
    height = width * rows / columns if plane else STRIP
    words, below = page.label(names[0], width)
    below += page.tall(0.19)
    wide = page.width - 2 * MARGIN
    said = ", ".join(f"{LABELS[str(name)]} {_percent(share)}" for name, share in shares.items())
    plain = wrapped(said, wide, page.small)
    key = bar_height(page, wide) + page.line + 0.12 if colour_bar else page.line * len(plain) + 0.06
    key = 0.0 if beside else key
    sheet = page.sheet(0.06 + height + below + key, where)
    side = (room - width) / 2
    right = page.width - left - side - width
    axes = sheet.axes(left + side, key + below, right, 0.06)
    _draw_map(axes, category, palette(colours))
    axes.set_xticks(*frequency_ticks(page, width))
    axes.set_yticks(*(frequency_ticks(page, height) if plane else ([], [])))
    down = page.label(names[1], height)[0] if plane else ""
    sheet.label(axes, words, down)
    if beside:
        _write_key(sheet, shares, left + room + KEY, colours if colour_bar else None)
    elif colour_bar:
        bar = sheet.axes(MARGIN, page.line + 0.04, MARGIN, sheet.height - key + 0.04)
        draw_bar(bar, page, colours, wide)
        for i, (name, share) in enumerate(shares.items()):
            x = MARGIN + (i + 0.5) * wide / 4
            gid = f"percentage/{name}"
            place: dict[str, Any] = {"ha": "center", "va": "center", "gid": gid}
            sheet.text(x, page.line / 2, _percent(share), fontsize=page.medium, **place)
    else:
        for k, line in enumerate(reversed(plain)):
            y = page.line * (k + 0.5)
            sheet.text(page.width / 2, y, line, ha="center", va="center", gid="percentages")
    return sheet.figure


def _draw_map(axes: Axes, category: Array, colour: dict[str, str]) -> None:
    """Paint each bin, the zero frequency in the centre."""
    (top, bottom), (left, right) = (frequency_edges(n) for n in np.atleast_2d(category).shape)
    axes.imshow(
        np.fft.fftshift(category) if category.ndim > 1 else _strip(category),
        cmap=ListedColormap([colour[name] for name in COLUMNS]),
        vmin=-0.5,
        vmax=3.5,
        extent=(left, right, bottom, top),
        interpolation="nearest",
        aspect="auto",
        gid="map",
    )
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _key_width(page: Page) -> float:
    """Inches of the key: a sample, the longest name, and a percentage."""
    names = max(text_width(each, page.medium) for each in LABELS.values())
    return page.tall(0.25) + names + 0.1 + text_width("100.0 %", page.medium)


def _write_key(sheet: Sheet, shares: pd.Series[float], left: float, colours: str | None) -> None:
    """Name the categories beside the map, with their percentages."""
    page = sheet.page
    step = 1.9 * page.medium / 72
    for i, (name, share) in enumerate(shares.items()):
        y = sheet.height - 0.06 - step * (i + 1)
        if colours is not None:
            side = page.medium / 72
            fill = palette(colours)[str(name)]
            sheet.patch(left, y, 1.6 * side, side, fill, gid=f"bar/{name}")
        x = left + page.tall(0.25)
        sheet.text(x, y + 0.01, LABELS[str(name)], fontsize=page.medium)
        x = left + _key_width(page)
        words = _percent(share)
        gid = f"percentage/{name}"
        sheet.text(x, y + 0.01, words, fontsize=page.medium, ha="right", gid=gid)


def _percent(share: float) -> str:
    """Write a share in percent, not to be broken before its sign."""
    return f"{100 * share:.1f} %"


def _strip(category: Array) -> Array:
    """Centre a one-dimensional map and make it a row."""
    return np.fft.fftshift(category)[None]
