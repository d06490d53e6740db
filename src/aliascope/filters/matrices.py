"""Filters as matrices: the definition, which docs/filters.md states in words.

A filter is a linear decimation, one matrix an axis: ``y = D_h · dense · D_wᵀ`` of a map, D of shape
(ceil(N / r), N). D is every r-th row of a square matrix F, the filter without the decimation.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from aliascope.energy import cosines
from aliascope.errors import AliascopeError
from aliascope.filters.kernels import kernel, spectral_weight
from aliascope.filters.names import FilterName


def filter_matrix(name: str, size: int, rate: int, boundary: str = "mirror") -> Tensor:
    """Filter and decimation of one axis as a matrix.

    Parameters
    ----------
    name : str
        One of those that :func:`aliascope.filters` lists.
    size : int
        Samples N of the axis, 1 or more.
    rate : int
        Decimation rate r, 1 or more; at 1 the matrix is the identity.
    boundary : {"mirror", "circular", "zero"}
        How the map goes on beyond its ends: its mirror image, the end sample twice, as the DCT-II
        has it; itself again; or zeros. ``ideal-circular`` is circular in any case; ``ideal`` and
        ``hamming`` cannot be "zero".

    Returns
    -------
    Tensor of float64, shape (ceil(N / r), N)
        Each row sums to 1; with the boundary "zero" only those do that stay away from the ends.

    Raises
    ------
    AliascopeError
        If there is no such filter or boundary, or size or rate is below 1.

    Notes
    -----
    ``ideal`` is the projection of :func:`aliascope.low_pass`, decimated: a map without anything
    beyond comes out exactly. ``ideal-circular`` keeps the bins k with ``2 r |k| < N``, chosen by
    frequency as ``numpy.fft.fftfreq`` has them. ``hamming`` weighs what ``ideal`` keeps by
    0.54 + 0.46 cos(π f), f being frequency over the new Nyquist rate. The kernels of ``blur:K``,
    ``lanczos:a`` and ``box`` are in :func:`aliascope.filters.kernels.kernel`.

    Examples
    --------
    >>> import aliascope as al
    >>> al.filter_matrix("blur:3", 5, 2) * 4
    tensor([[3., 1., 0., 0., 0.],
            [0., 1., 2., 1., 0.],
            [0., 0., 0., 1., 3.]], dtype=torch.float64)
    >>> x = torch.randn(14, dtype=torch.float64)
    >>> torch.allclose(al.filter_matrix("ideal", 14, 2) @ x, al.low_pass(x, (2,))[::2])
    True
    """
    return dense_matrix(name, size, rate, boundary)[::rate].clone()


def dense_matrix(name: str, size: int, rate: int, boundary: str = "mirror") -> Tensor:
    """Filter of one axis as a matrix, without the decimation.

    Parameters
    ----------
    name, size, rate, boundary
        As for :func:`filter_matrix`.

    Returns
    -------
    Tensor of float64, shape (N, N)
        Shared: not to be written to.

    Examples
    --------
    >>> dense_matrix("box", 3, 2, "zero") * 2
    tensor([[1., 1., 0.],
            [0., 1., 1.],
            [0., 0., 1.]], dtype=torch.float64)
    """
    for what, number in (("size", size), ("rate", rate)):
        if not isinstance(number, int) or number < 1:
            raise AliascopeError(f"{what} is {number!r}, but it must be a whole number from 1 on.")
    return _dense(FilterName.read(name, boundary), size, rate)


@functools.lru_cache(maxsize=64)
def _dense(filter: FilterName, size: int, rate: int) -> Tensor:
    # Kept for whoever asks next, so it must not be of the mode or device of whoever asks first.
    with torch.inference_mode(False), torch.device("cpu"):
        if rate == 1 or size == 1:
            return torch.eye(size, dtype=torch.float64)
        if not filter.is_spectral:
            return _convolution(kernel(filter, rate), size, filter.boundary)
        if filter.boundary == "circular":
            return _circular(filter, size, rate)
        return _mirrored(filter, size, rate)


def _mirrored(filter: FilterName, size: int, rate: int) -> Tensor:
    """Weigh the coefficients of the DCT-II."""
    kept = cosines(size)[: -(-size // rate)]
    if filter.kind == "ideal":
        return kept.T @ kept  # to the bit what low_pass multiplies by
    position = rate * torch.arange(len(kept), dtype=torch.float64) / size
    return kept.T @ (spectral_weight(filter, position)[:, None] * kept)


def _circular(filter: FilterName, size: int, rate: int) -> Tensor:
    """Weigh the bins of the DFT, each with the one of the same frequency below zero."""
    position = 2 * rate * torch.fft.fftfreq(size, dtype=torch.float64).abs()
    # 2 r |k| < N in whole numbers: a bin on the cut must not be kept for its rounding.
    bins = torch.arange(size)
    bins = torch.minimum(bins, size - bins)
    weights = spectral_weight(filter, position) * (2 * rate * bins < size)
    impulse = torch.fft.ifft(weights).real
    n = torch.arange(size)
    return impulse[(n[:, None] - n) % size]


def _convolution(taps: Tensor, size: int, boundary: str) -> Tensor:
    """Sum each sample's taps into the sample that stands there."""
    n = torch.arange(size)[:, None] + torch.arange(len(taps)) - (len(taps) - 1) // 2
    weights = taps.expand(size, -1)
    if boundary == "zero":
        inside = (n >= 0) & (n < size)
        n, weights = n.clamp(0, size - 1), weights * inside
    elif boundary == "circular":
        n = n % size
    else:
        n = n % (2 * size)
        n = torch.minimum(n, 2 * size - 1 - n)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add(1, n, weights)
