"""The category of every bin of one signal, one pixel a bin."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.colorbar import draw_bar
from aliascope.figures.layout import (
    COLUMN,
    LONGEST_NAME,
    MEDIUM,
    SMALL,
    add_axes,
    figure_with_caption,
    shortened,
)
from aliascope.palette import palette
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN
from aliascope.runs.maps import channel_map, percentages
from aliascope.runs.measurement import Measurement

STRIP = 0.5
"""Inches of height of the map of a signal with one spatial axis."""


def pixels(
    measurement: Measurement,
    site: str,
    sample: int,
    channel: int = 0,
    *,
    colour_bar: bool = True,
    accounting: str = "exact",
    colours: str = "paper",
) -> Figure:
    """Draw the category map of one sample, site and channel, zero frequency in the centre.

    The four percentages stand below. After the pixel plots of Ribeiro and Schön (2021).

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
        Name the colours in a bar below.
    accounting : {"exact", "published"}
        That of the percentages; see :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

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
    category = channel_map(measurement, site, sample, channel)
    shares = percentages(category, accounting)
    colour = palette(colours)
    rows, columns = np.atleast_2d(category).shape
    width = min(1.0, 1.3 * columns / rows) * (COLUMN - 0.1)
    height = STRIP if category.ndim == 1 else width * rows / columns
    where = f"{shortened(site, LONGEST_NAME)}, image {sample}, channel {channel}"
    if measurement.condition != CLEAN:
        where += f", {measurement.condition.label}"
    if accounting == "published":
        where += "; published accounting"
    below = 0.44 if colour_bar else 0.2
    figure, foot = figure_with_caption(0.05 + height + below, where)
    side = (COLUMN - width) / 2
    axes = add_axes(figure, side, foot + below, side, 0.05)
    axes.imshow(
        np.fft.fftshift(np.atleast_2d(category)) if category.ndim > 1 else _strip(category),
        cmap=ListedColormap([colour[name] for name in COLUMNS]),
        vmin=-0.5,
        vmax=3.5,
        interpolation="nearest",
        aspect="auto",
        gid="map",
    )
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if colour_bar:
        top = 0.05 + height + 0.06
        draw_bar(add_axes(figure, 0.05, foot + below - 0.24, 0.05, top), colours)
    place: dict[str, Any] = {"ha": "center", "va": "center"}
    y = (foot + 0.11) / (foot + below + height + 0.05)
    written = {name: f"{100 * share:.1f} %" for name, share in shares.items()}
    if colour_bar:
        for i, share in enumerate(written.values()):
            x = (0.05 + (i + 0.5) * (COLUMN - 0.1) / 4) / COLUMN
            figure.text(x, y, share, fontsize=MEDIUM, gid=f"percentage/{COLUMNS[i]}", **place)
    else:
        line = ", ".join(f"{LABELS[str(name)]} {share}" for name, share in written.items())
        figure.text(0.5, y, line, fontsize=SMALL, gid="percentages", **place)
    return figure


def _strip(category: Array) -> Array:
    """Centre a one-dimensional map and make it a row."""
    return np.fft.fftshift(category)[None]
