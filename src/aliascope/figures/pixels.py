"""The category of every bin of one signal, one pixel a bin."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.figures.colorbar import draw_bar
from aliascope.figures.palette import LABELS, palette
from aliascope.measurement import Measurement


def pixels(
    measurement: Measurement,
    site: str,
    sample: int,
    channel: int = 0,
    *,
    colour_bar: bool = True,
    colours: str = "paper",
) -> Figure:
    """Draw the category map of one sample, site and channel, zero frequency in the centre.

    After the pixel plots of Ribeiro and Schön (2021).

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
        Draw the bar of the four colours below.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        Its image has the gid ``map`` and holds the categories.

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
    maps = measurement.category_map(site, sample)
    if not 0 <= channel < len(maps):
        raise AliascopeError(
            f"channel is {channel}, but site {site} has {len(maps)} channels, counted from 0."
        )
    category = np.atleast_2d(maps[channel])
    if category.ndim > 2:
        raise AliascopeError(
            f"Site {site} has {category.ndim} spatial axes, which a plane cannot show; "
            "choose a site with one or two."
        )
    shares = {name: float((category == c).mean()) for c, name in enumerate(COLUMNS)}
    figure = Figure(figsize=(3.4, 3.4 + 0.75 * colour_bar))
    bottom = 0.22 if colour_bar else 0.08
    axes = figure.add_axes((0.02, bottom, 0.96, 0.97 - bottom))
    colour = palette(colours)
    axes.imshow(
        np.fft.fftshift(category),
        cmap=ListedColormap([colour[name] for name in COLUMNS]),
        vmin=-0.5,
        vmax=3.5,
        interpolation="nearest",
        aspect="auto" if category.shape[0] == 1 else "equal",
        gid="map",
    )
    axes.set_axis_off()
    if colour_bar:
        draw_bar(figure.add_axes((0.04, 0.085, 0.92, 0.045)), colours, size=7)
    words = ", ".join(f"{LABELS[name]} {100 * share:.1f} %" for name, share in shares.items())
    figure.text(0.5, 0.015, words, ha="center", fontsize=6.2, gid="percentages")
    return figure


def most_mixed(maps: np.ndarray[Any, Any]) -> int:
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
