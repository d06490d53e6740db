"""Fast ways to count what :mod:`aliascope.spectrum` defines, behind one function."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from aliascope.engines import half_spectrum
from aliascope.spectrum import Criterion

NOT_FINITE = half_spectrum.NOT_FINITE
"""Count given to every category of a signal with NaN or infinite values."""


def count_categories(dense: Tensor, rate: Sequence[int], criterion: Criterion) -> Tensor:
    """Count the bins of each category, per sample and channel.

    Parameters
    ----------
    dense : Tensor, shape (N, C, *size)
        Real dense signal of a site. Half precision is converted to float32.
    rate : sequence of int
        Decimation rate per spatial axis.
    criterion : Criterion
        Threshold, reference level, grid and fold scale.

    Returns
    -------
    Tensor of int64, shape (N, C, 4), on the device of ``dense``
        Number of bins per :class:`~aliascope.categories.Category`. The four of a signal with a NaN
        or infinite value are ``NOT_FINITE``; checking for it is left to the caller, who can do so
        without waiting for the device at every site.

    Examples
    --------
    >>> import torch
    >>> count_categories(torch.ones(1, 1, 4, 4), (2, 2), Criterion(grid="native"))
    tensor([[[3, 1, 0, 0]]])
    """
    return half_spectrum.count_categories(dense, rate, criterion)
