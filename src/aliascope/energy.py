"""How much of a signal aliases: its low part, and the share of energy beyond the new Nyquist rate.

This module is the definition. It is written to be read beside ``docs/definitions.md``, works on a
plain tensor, and keeps no state; the measure in :mod:`aliascope.measures.energy` is a faster way to
compute what is defined here and is tested against it.

Along an axis of N samples the orthonormal DCT-II has coefficients k = 0 ... N - 1, of k / 2N cycles
a sample: the spectrum of the signal continued by its mirror image, which no step at the border
spreads over all frequencies. Decimation by r keeps apart what is slower than the new Nyquist rate:
coefficient k is *within* where ``k * r < N``, and *beyond* otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from aliascope.precision import unrounded
from aliascope.spectrum import checked_rate, real_signal

FEWEST_KEPT = 7
"""Kept samples of an axis below which aliased energy is known only roughly."""

UNDEFINED = 8.0
"""Times eps² and the whole energy: less than that varies only by rounding."""


@functools.lru_cache(maxsize=64)
def cosines(n: int) -> Tensor:
    """Orthonormal DCT-II as a matrix.

    Parameters
    ----------
    n : int
        Samples.

    Returns
    -------
    Tensor of float64, shape (n, n)
        Row k is coefficient k. Shared: not to be written to.

    Examples
    --------
    >>> c = cosines(5)
    >>> torch.allclose(c @ c.T, torch.eye(5, dtype=torch.float64))
    True
    """
    # Kept for whoever asks next, so it must not be of the mode or device of whoever asks first.
    with torch.inference_mode(False), torch.device("cpu"):
        k = torch.arange(n, dtype=torch.float64)[:, None]
        angles = math.pi / n * k * (torch.arange(n, dtype=torch.float64) + 0.5)
        matrix = torch.cos(angles) * math.sqrt(2 / n)
        matrix[0] = math.sqrt(1 / n)
    return matrix


def within(n: int, rate: int, shift: int = 0) -> Tensor:
    """How much of each coefficient of an axis counts as within: all, half on the cut, or nothing.

    Parameters
    ----------
    n : int
        Samples.
    rate : int
        Decimation rate; at 1 all is within.
    shift : int
        Coefficients by which the cut, n / rate, is moved.

    Returns
    -------
    Tensor of float64, shape (n,)

    Examples
    --------
    >>> within(6, 2), within(7, 2)
    (tensor([1.0000, 1.0000, 1.0000, 0.5000, 0.0000, 0.0000], dtype=torch.float64),
     tensor([1., 1., 1., 1., 0., 0., 0.], dtype=torch.float64))
    """
    k = rate * torch.arange(n, dtype=torch.float64, device="cpu")
    cut = n + rate * shift if rate > 1 else math.inf
    return (k < cut).double() + 0.5 * (k == cut).double()


def low_pass(signal: Tensor, rate: Sequence[int]) -> Tensor:
    """Low part of a dense signal: what decimation keeps apart from all else.

    The projection on the coefficients of the orthonormal DCT-II that are within (``k * r < N``) on
    every axis: a small matrix product, by ``P = C_wᵀ C_w``, along each. What is left,
    ``signal - low``, is the high part, and aliases.

    Parameters
    ----------
    signal : Tensor, shape (..., *size)
        Real signal; the last ``len(rate)`` axes are spatial (1, 2 or 3 of them). Half precision and
        integers are converted to float32.
    rate : sequence of int
        Decimation rate, per spatial axis; 1 or more.

    Returns
    -------
    Tensor, shape (..., *size)
        float32 or float64, on the signal's device; differentiable.

    Raises
    ------
    AliascopeError
        If the signal is complex, or the rate does not fit it.

    Examples
    --------
    >>> x = torch.randn(2, 3, 9, 12)
    >>> low = low_pass(x, (2, 3))
    >>> torch.allclose(low_pass(low, (2, 3)), low, atol=1e-6)
    True
    >>> float(aliased_energy(low, (2, 3)).max()) < 1e-6
    True
    """
    rate = checked_rate(signal, rate)
    low = real_signal(signal)
    for axis, r in enumerate(rate, start=-len(rate)):
        if r > 1:
            n = signal.shape[axis]
            kept = cosines(n)[: -(-n // r)]
            low = _along(low, axis, (kept.T @ kept).to(low))
    return low


def aliased_energy(signal: Tensor, rate: Sequence[int]) -> Tensor:
    """Share of a dense signal's varying energy that lies beyond the new Nyquist rate.

    The sum of the squared coefficients beyond over that of all but the constant one. A coefficient
    exactly on the cut, ``k * r = N``, counts half, per axis.

    Parameters
    ----------
    signal : Tensor, shape (..., *size)
        Real signal; the last ``len(rate)`` axes are spatial (1, 2 or 3 of them). Half precision and
        integers are converted to float32.
    rate : sequence of int
        Decimation rate, per spatial axis; 1 or more.

    Returns
    -------
    Tensor, shape (...)
        In [0, 1]: one ratio a map. NaN where it is not defined: where nothing varies but by the
        rounding of the signal's dtype (the energy that varies is below 8 eps² of the whole), or an
        axis of rate r > 1 has r samples or fewer. Differentiable.

    Raises
    ------
    AliascopeError
        If the signal is complex, or the rate does not fit it.

    Notes
    -----
    White noise has 1 - (Π W - 1) / (Π N - 1), W being the sum of :func:`within` along an axis; see
    :func:`white_energy`. Of ways to estimate a larger image's share from a map cut out of it, the
    mirror is the least biased of those tried in ``benchmarks/truth.py``.

    Examples
    --------
    >>> n = torch.arange(32) + 0.5
    >>> slow, fast = (torch.cos(torch.pi * k * n / 32) for k in (5, 29))
    >>> aliased_energy(torch.stack([slow, fast, 2 * slow + fast]), (2,)).round(decimals=3)
    tensor([0.0000, 1.0000, 0.2000])
    """
    rate = checked_rate(signal, rate)
    axes = tuple(range(-len(rate), 0))
    size = [signal.shape[axis] for axis in axes]
    x = real_signal(signal)
    varying = x - x.mean(dim=axes, keepdim=True)
    energy = varying
    for axis, n in zip(axes, size, strict=True):
        energy = _along(energy, axis, cosines(n).to(x))
    energy = energy.square()
    counted = 1 - outer([within(n, r) for n, r in zip(size, rate, strict=True)])
    beyond = (energy * counted.to(x)).sum(dim=axes)
    total = energy.sum(dim=axes)
    share = (beyond / total).clamp(0, 1)
    undefined = total <= least_varying(signal.dtype) * x.square().sum(dim=axes)
    if any(r > 1 and n <= r for n, r in zip(size, rate, strict=True)):
        undefined = torch.ones_like(undefined)
    return share.masked_fill(undefined, math.nan)


def least_varying(dtype: torch.dtype) -> float:
    """Share of a map's energy that has to vary for its spectrum to mean anything.

    Examples
    --------
    >>> f"{least_varying(torch.bfloat16):.5f}", least_varying(torch.int32) < 1e-12
    ('0.00049', True)
    """
    if not dtype.is_floating_point:
        dtype = torch.float32
    return UNDEFINED * torch.finfo(dtype).eps ** 2


def white_energy(size: Sequence[int], rate: Sequence[int]) -> float:
    """Aliased energy that white noise of a size and rate has on average.

    Examples
    --------
    >>> white_energy((32, 32), (2, 2)), white_energy((8,), (1,))
    (0.734..., 0.0)
    """
    kept = math.prod(float(within(n, r).sum()) for n, r in zip(size, rate, strict=True))
    return 1 - (kept - 1) / (math.prod(size) - 1) if math.prod(size) > 1 else math.nan


def outer(weights: Sequence[Tensor]) -> Tensor:
    """Multiply weights of axes out to weights of a map.

    Examples
    --------
    >>> outer([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])])
    tensor([[3., 4.],
            [6., 8.]])
    """
    product = weights[0]
    for each in weights[1:]:
        product = product[..., None] * each
    return product


def _along(signal: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply the samples of one axis by a matrix."""
    with unrounded(signal.device.type):
        return (signal.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
