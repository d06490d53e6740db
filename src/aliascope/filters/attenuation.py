"""What a filter is worth: how much noise still folds, and what it takes from the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aliascope.filters.kernels import kernel, response
from aliascope.filters.names import FilterName

FREQUENCIES = 1 << 14
"""Of the sums that stand for integrals over frequency."""

LINE = 224
"""Samples of a line of 1/f noise: its lowest frequency is 1 / (2 · 224) cycles a sample."""


def folded_share(name: str | None, rate: int, noise: str = "white") -> float:
    """Share of filtered noise that lies beyond the new Nyquist rate, and so folds, along an axis.

    Parameters
    ----------
    name : str or None
        Of a filter; None for none.
    rate : int
        Decimation rate, 2 or more.
    noise : {"white", "1/f"}
        Of even power; or of power falling as 1/f, as along a line through a photograph whose
        amplitude falls as 1/f, from the lowest frequency of 224 samples on.

    Returns
    -------
    float
        In [0, 1]: power beyond over all the power that the filter leaves.

    Examples
    --------
    >>> [f"{100 * folded_share(f'blur:{k}', 2):.1f}" for k in range(2, 8)]
    ['18.2', '7.6', '3.3', '1.5', '0.7', '0.3']
    """
    lowest = 0.0 if noise == "white" else 0.5 / LINE
    steps = (torch.arange(FREQUENCIES, dtype=torch.float64) + 0.5) / FREQUENCIES
    frequency = lowest + (0.5 - lowest) * steps
    power = _gain(name, rate, frequency).square()
    if noise != "white":
        power = power / frequency
    return float(power[frequency > 0.5 / rate].sum() / power.sum())


def pass_band_loss(name: str | None, rate: int) -> float:
    """Loss at half the new Nyquist rate, in decibels.

    Examples
    --------
    >>> [f"{pass_band_loss(f'blur:{k}', 2):.1f}" for k in (2, 7)]
    ['0.7', '4.1']
    """
    at = torch.tensor([0.25 / rate], dtype=torch.float64)
    return -20 * math.log10(float(_gain(name, rate, at))) + 0.0


def multiply_adds(name: str | None, rate: int, size: int) -> int:
    """Multiply-adds for each sample that a square map keeps, one axis after the other.

    The first axis makes ``rate`` times as many samples as are kept; each of both costs as many as
    the filter has taps, and at most the samples of the axis.

    Parameters
    ----------
    name : str or None
        Of a filter; None for none.
    rate, size : int
        Of both axes.

    Examples
    --------
    >>> multiply_adds("blur:3", 2, 56), multiply_adds("ideal", 2, 56)
    (9, 168)
    """
    if name is None:
        return 0
    filter = FilterName.read(name)
    taps = size if filter.is_spectral else min(size, len(kernel(filter, rate)))
    return taps * (rate + 1)


def _gain(name: str | None, rate: int, frequency: Tensor) -> Tensor:
    if name is None:
        return torch.ones_like(frequency)
    return response(FilterName.read(name), rate, frequency)
