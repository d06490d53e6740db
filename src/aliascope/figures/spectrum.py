"""The mean dense spectrum of a site, with the new Nyquist box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from aliascope.errors import AliascopeError
from aliascope.figures.layout import THIN, Page, frequency_edges, frequency_ticks, text_width
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN
from aliascope.runs.mean_spectrum import MeanSpectrum, mean_spectrum
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

LOWEST_DB = -80.0
"""Decibels below the largest power at which the scale ends at the latest."""

SIDE = 3.3
"""Inches of the plane's side at most."""

AXIS, POWER = "{} (cycles/sample)", "power (dB re its largest value)"


def spectrum(measurement: Measurement, site: str, **look: Unpack[Look]) -> Figure:
    """Draw the mean power spectrum of a site's dense signals.

    Parameters
    ----------
    measurement : Measurement
        Of a run with detail folds.
    site : str
        Name of the site; it must have one or two spatial axes.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        Power in dB relative to its largest (gid ``spectrum``) over frequency in cycles per dense
        sample. What lies outside the new Nyquist box (gid ``nyquist``) folds into it when samples
        are dropped.

    Raises
    ------
    AliascopeError
        If the site is unknown, has three axes or only zeros, or the folds were not kept.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="folds")
    >>> spectrum(m, "(root)").axes[0].images[0].get_array().shape
    (30, 30)
    """
    page = Page.of(**look)
    mean = mean_spectrum(measurement, site)
    largest = mean.power.max()
    if largest == 0:
        raise AliascopeError(
            f"Site {site} is zero in every image, so it has no spectrum; choose another site."
        )
    level = 10 * np.log10(np.maximum(mean.power / largest, 1e-30))
    lowest = min(max(LOWEST_DB, 10 * float(np.floor(level.min() / 10))), -10.0)
    caption = (
        f"{page.named(site)}, dense signal: mean power over "
        f"{counted(mean.samples, 'image')} and "
        f"{counted(mean.channels, 'channel')}"
    )
    if measurement.condition != CLEAN:
        caption += f", {measurement.condition.label}"
    caption += (
        f". {100 * mean.outside():.1f} % of it lies beyond the new Nyquist frequency "
        f"({'box' if level.ndim > 1 else 'grey'}) and folds."
    )
    return (
        _curve(page, mean, level, lowest, caption)
        if level.ndim == 1
        else (_plane(page, mean, level, lowest, caption))
    )


def _curve(page: Page, mean: MeanSpectrum, level: Array, lowest: float, caption: str) -> Figure:
    """Draw the spectrum of signals with one spatial axis."""
    left, right = page.tall(0.56), page.tall(0.17)
    high = max(page.tall(1.6), text_width(POWER, page.medium))
    words, below = page.label(AXIS.format("frequency"), page.width - left - right)
    below += page.tall(0.19)
    sheet = page.sheet(0.1 + high + below, caption)
    axes = sheet.axes(left, below, right, 0.1)
    nyquist = 0.5 / mean.rate[0]
    axes.axvspan(-nyquist, nyquist, color="0.88", lw=0, gid="nyquist")
    axes.plot(mean.frequencies(0), level, color="black", lw=0.9, gid="spectrum")
    axes.set(xlim=(-0.5, 0.5), ylim=(lowest, 3))
    axes.set_xticks(*frequency_ticks(page, page.width - left - right))
    sheet.label(axes, words, POWER)
    return sheet.figure


def _plane(page: Page, mean: MeanSpectrum, level: Array, lowest: float, caption: str) -> Figure:
    """Draw the spectrum of maps."""
    names = [AXIS.format("down"), POWER]
    side = 0.55 * page.width  # about, for breaking the labels beside
    (down, thick), (power, thick_bar) = (page.label(name, side) for name in names)
    left, scale = page.tall(0.37) + thick, 0.2 + page.tall(0.3) + thick_bar
    side = min(page.width - left - scale, SIDE)
    down, power = (page.label(name, side)[0] for name in names)
    words, below = page.label(AXIS.format("across"), side)
    below += page.tall(0.19)
    sheet = page.sheet(side + below + 0.1, caption)
    spare = (page.width - left - side - scale) / 2
    axes = sheet.axes(left + spare, below, spare + scale, 0.1)
    drawn = _draw_plane(axes, mean, level, lowest)
    axes.set_xticks(*frequency_ticks(page, side))
    axes.set_yticks(*frequency_ticks(page, side))
    sheet.label(axes, words, down)
    at = left + spare + side + 0.06
    bar = sheet.figure.colorbar(drawn, cax=sheet.axes(at, below, page.width - at - 0.1, 0.1))
    bar.set_label(power, fontsize=page.medium, labelpad=1.5, linespacing=1.05)
    bar.outline.set_linewidth(THIN)
    return sheet.figure


def _draw_plane(axes: Axes, mean: MeanSpectrum, level: Array, lowest: float) -> AxesImage:
    (top, bottom), (left, right) = (frequency_edges(length) for length in level.shape)
    drawn = axes.imshow(
        level,
        extent=(left, right, bottom, top),
        vmin=lowest,
        vmax=0,
        cmap="magma",
        interpolation="nearest",
        aspect="auto",
        gid="spectrum",
    )
    height, width = (1 / rate for rate in mean.rate)
    axes.add_patch(
        Rectangle(
            (-width / 2, -height / 2),
            width,
            height,
            fill=False,
            edgecolor="white",
            lw=1.0,
            path_effects=[withStroke(linewidth=2.0, foreground="black")],
            gid="nyquist",
        )
    )
    axes.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5), facecolor="black")
    return drawn
