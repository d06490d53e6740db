"""Kernels of the filters that have one, and what every filter does to each frequency.

All are scaled with the rate, so that a name means the same at every one: the response is, nearly or
exactly, a function of frequency over the new Nyquist rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aliascope.filters.names import FilterName

HAMMING = 0.54
"""Of the Hamming window, 0.54 + 0.46 cos: 1 in the middle, 0.08 at the ends."""


def kernel(filter: FilterName, rate: int) -> Tensor:
    r"""Give the taps of a filter that has a kernel.

    Parameters
    ----------
    filter : FilterName
        "blur", "lanczos" or "box".
    rate : int
        Decimation rate; at 1 nothing is filtered.

    Returns
    -------
    Tensor of float64, shape (taps,)
        Sums to 1. Tap j stands at sample ``j - (taps - 1) // 2``.

    Notes
    -----
    ``blur:K`` is K - 1 times the mean of r neighbours, of response
    ``|sin(π f r) / (r sin(π f))| ** (K - 1)``; at rate 2 these are the binomial coefficients. A
    binomial of more taps at a higher rate would also have the width, but not what a binomial has at
    rate 2: a zero, K - 1 fold, at every frequency that decimation folds onto a constant. Each
    sample of a map counts as much as every other, at every rate. An even number of taps shifts the
    map by half a sample.

    ``lanczos:a`` is ``sinc(x / r) sinc(x / (a r))`` for ``|x| < a r``, normalised.

    Examples
    --------
    >>> kernel(FilterName.read("blur:4"), 2) * 8
    tensor([1., 3., 3., 1.], dtype=torch.float64)
    >>> kernel(FilterName.read("blur:3"), 3) * 9
    tensor([1., 2., 3., 2., 1.], dtype=torch.float64)
    """
    if rate == 1:
        return torch.ones(1, dtype=torch.float64)
    if filter.kind == "lanczos":
        reach = filter.order * rate - 1
        x = torch.arange(-reach, reach + 1, dtype=torch.float64) / rate
        taps = torch.sinc(x) * torch.sinc(x / filter.order)
        return taps / taps.sum()
    taps = torch.ones(1, dtype=torch.float64)
    mean = torch.full((1, 1, rate), 1 / rate, dtype=torch.float64)
    for _ in range(1 if filter.kind == "box" else filter.order - 1):
        taps = torch.nn.functional.conv1d(taps[None, None], mean, padding=rate - 1)[0, 0]
    return taps


def spectral_weight(filter: FilterName, position: Tensor) -> Tensor:
    """How much of a frequency a filter that is defined by its spectrum lets through.

    Parameters
    ----------
    filter : FilterName
        "ideal" or "hamming".
    position : Tensor of float64
        Frequency over the new Nyquist rate; 1 is at the cut, which is beyond.

    Returns
    -------
    Tensor of float64
        In [0, 1].

    Examples
    --------
    >>> at = torch.tensor([0.0, 0.5, 0.999, 1.0], dtype=torch.float64)
    >>> spectral_weight(FilterName.read("hamming"), at).round(decimals=2)
    tensor([1.0000, 0.5400, 0.0800, 0.0000], dtype=torch.float64)
    """
    inside = (position < 1).double()
    if filter.kind == "hamming":
        return inside * (HAMMING + (1 - HAMMING) * torch.cos(math.pi * position))
    return inside


def response(filter: FilterName, rate: int, frequency: Tensor) -> Tensor:
    """Magnitude of what a filter does to each frequency, far from a map's ends.

    Parameters
    ----------
    filter : FilterName
        Any.
    rate : int
        Decimation rate.
    frequency : Tensor of float64
        Cycles a sample, from 0 to 1/2.

    Returns
    -------
    Tensor of float64

    Examples
    --------
    At half the new Nyquist rate:

    >>> response(FilterName.read("blur:3"), 2, torch.tensor([1 / 8], dtype=torch.float64))
    tensor([0.8536], dtype=torch.float64)
    """
    if rate == 1:
        return torch.ones_like(frequency)
    if filter.is_spectral:
        return spectral_weight(filter, 2 * rate * frequency)
    taps = kernel(filter, rate)
    phase = -2j * math.pi * frequency[:, None] * torch.arange(len(taps), dtype=torch.float64)
    return (taps * torch.exp(phase)).sum(dim=1).abs()
