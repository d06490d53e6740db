"""The mean dense spectrum of a site, with the new Nyquist box."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from aliascope.errors import AliascopeError
from aliascope.figures.layout import (
    COLUMN,
    LONGEST_NAME,
    MEDIUM,
    THIN,
    add_axes,
    counted,
    figure_with_caption,
    shortened,
)
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN
from aliascope.runs.mean_spectrum import MeanSpectrum, mean_spectrum
from aliascope.runs.measurement import Measurement

LOWEST_DB = -80.0
"""Decibels below the largest power at which the scale ends at the latest."""

TICKS = ([-0.5, -0.25, 0.0, 0.25, 0.5], ["−1/2", "−1/4", "0", "1/4", "1/2"])


def spectrum(measurement: Measurement, site: str) -> Figure:
    """Draw the mean power spectrum of a site's dense signals.

    Parameters
    ----------
    measurement : Measurement
        Of a run with detail folds.
    site : str
        Name of the site; it must have one or two spatial axes.

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
    mean = mean_spectrum(measurement, site)
    largest = mean.power.max()
    if largest == 0:
        raise AliascopeError(
            f"Site {site} is zero in every image, so it has no spectrum; choose another site."
        )
    level = 10 * np.log10(np.maximum(mean.power / largest, 1e-30))
    floor = max(LOWEST_DB, 10 * np.floor(level.min() / 10), -300.0)
    caption = (
        f"{shortened(site, LONGEST_NAME)}: mean power over {counted(mean.samples, 'image')} and "
        f"{counted(mean.channels, 'channel')}"
    )
    if measurement.condition != CLEAN:
        caption += f", {measurement.condition.label}"
    caption += (
        f". {100 * mean.outside():.1f} % of it lies beyond the new Nyquist frequency "
        f"({'box' if level.ndim > 1 else 'grey'}) and folds."
    )
    if level.ndim == 1:
        figure, foot = figure_with_caption(2.0, caption)
        _draw_curve(add_axes(figure, 0.46, foot + 0.34, 0.1, 0.08), mean, level, float(floor))
    else:
        side = COLUMN - 0.5 - 0.62
        figure, foot = figure_with_caption(side + 0.34 + 0.08, caption)
        axes = add_axes(figure, 0.5, foot + 0.34, 0.62, 0.08)
        beside = add_axes(figure, COLUMN - 0.56, foot + 0.34, 0.46, 0.08)
        _draw_plane(figure, axes, beside, mean, level, float(floor))
    return figure


def _draw_curve(axes: Axes, mean: MeanSpectrum, level: Array, floor: float) -> None:
    nyquist = 0.5 / mean.rate[0]
    axes.axvspan(-nyquist, nyquist, color="0.88", lw=0, gid="nyquist")
    axes.plot(mean.frequencies(0), level, color="black", lw=0.9, gid="spectrum")
    axes.set(xlim=(-0.5, 0.5), ylim=(min(floor, -10.0), 3))
    axes.set_xticks(*TICKS)
    axes.set_xlabel("cycles per dense sample", fontsize=MEDIUM, labelpad=1.5)
    axes.set_ylabel("power (dB)", fontsize=MEDIUM, labelpad=1.5)


def _draw_plane(
    figure: Figure, axes: Axes, beside: Axes, mean: MeanSpectrum, level: Array, floor: float
) -> None:
    (top, bottom), (left, right) = (_edges(length) for length in level.shape)
    drawn = axes.imshow(
        level,
        extent=(left, right, bottom, top),
        vmin=min(floor, -10.0),
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
    axes.set_xticks(*TICKS)
    axes.set_yticks(*TICKS)
    axes.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5), facecolor="black")
    axes.set_xlabel("cycles per dense sample", fontsize=MEDIUM, labelpad=1.5)
    axes.set_ylabel("cycles per dense sample", fontsize=MEDIUM, labelpad=1.5)
    bar = figure.colorbar(drawn, cax=beside)
    bar.set_label("power (dB)", fontsize=MEDIUM, labelpad=1.5)
    bar.outline.set_linewidth(THIN)


def _edges(length: int) -> tuple[float, float]:
    """Outer edges of the first and last bin, in cycles per sample."""
    return (-(length // 2) - 0.5) / length, (length - length // 2 - 0.5) / length
