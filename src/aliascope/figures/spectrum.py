"""The mean dense spectrum of a site, with the new Nyquist box."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aliascope.errors import AliascopeError
from aliascope.measurement import Measurement

FLOOR_DB = -60.0
"""Lowest level of the colour scale, relative to the largest power."""


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
        Power in dB relative to its largest, frequencies in cycles per dense sample; what lies
        outside the box (gid ``nyquist``) folds into it when samples are dropped.

    Raises
    ------
    AliascopeError
        If the site is unknown or has three axes, or the folds were not kept.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> m = al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)], detail="folds")
    >>> len(spectrum(m, "(root)").axes)
    2
    """
    power, rate = mean_power(measurement, site)
    level = 10 * np.log10(np.maximum(power / power.max(), 1e-30))
    figure = Figure(figsize=(3.4, 2.7))
    axes = figure.add_axes((0.15, 0.15, 0.68, 0.8))
    if level.ndim == 1:
        frequencies = np.fft.fftshift(np.fft.fftfreq(len(level)))
        axes.plot(frequencies, level, color="black", lw=0.8, gid="spectrum")
        axes.axvspan(-0.5 / rate[0], 0.5 / rate[0], color="0.9", gid="nyquist")
        axes.set_ylabel("power (dB)", fontsize=7)
    else:
        drawn = axes.imshow(
            level,
            extent=(-0.5, 0.5, 0.5, -0.5),
            vmin=FLOOR_DB,
            vmax=0,
            cmap="magma",
            interpolation="nearest",
            gid="spectrum",
        )
        width, height = 1 / rate[1], 1 / rate[0]
        axes.add_patch(
            Rectangle(
                (-width / 2, -height / 2),
                width,
                height,
                fill=False,
                ec="white",
                lw=1,
                gid="nyquist",
            )
        )
        bar = figure.colorbar(drawn, cax=figure.add_axes((0.85, 0.15, 0.03, 0.8)))
        bar.set_label("power (dB)", fontsize=7)
        bar.ax.tick_params(labelsize=6, width=0.6)
        axes.set_ylabel("vertical frequency", fontsize=7)
    axes.set_xlabel("frequency (cycles per dense sample)", fontsize=7)
    axes.tick_params(labelsize=6, width=0.6)
    return figure


def mean_power(measurement: Measurement, site: str) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """Mean over samples and channels of the dense power spectrum, zero frequency in the centre.

    Parameters
    ----------
    measurement, site
        As for :func:`spectrum`.

    Returns
    -------
    ndarray, tuple of int
        Power, (L,) or (L_h, L_w), and the rate.
    """
    total: Any = 0.0
    shape = None
    axes = 0
    for sample in measurement.samples["sample"]:
        folds = measurement.folds(site, int(sample))
        axes = (folds.ndim - 1) // 2
        if axes > 2:
            raise AliascopeError(
                f"Site {site} has {axes} spatial axes, which a plane cannot show; "
                "choose a site with one or two."
            )
        if shape not in (None, folds.shape):
            raise AliascopeError(
                f"The images of this run give site {site} signals of different sizes; "
                "evaluate with one --crop."
            )
        shape = folds.shape
        total = total + np.square(np.abs(folds)).mean(axis=0)
    rate = total.shape[:axes]
    # (r_h, r_w, M_h, M_w) side by side: (r_h, M_h, r_w, M_w) -> (L_h, L_w)
    order = [axis for i in range(axes) for axis in (i, axes + i)]
    lengths = [total.shape[i] * total.shape[axes + i] for i in range(axes)]
    dense = total.transpose(order).reshape(lengths) / len(measurement.samples)
    return np.fft.fftshift(dense), rate
