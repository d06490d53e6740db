"""Is what an opened site gives what the operation itself gives? Compared at its first pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aliascope.seam.layouts import strides_of

MISFIT = {torch.float16: 0.05, torch.bfloat16: 0.3}
"""Relative recomposition error above which a split is wrong rather than rounded; else 0.001."""

COMPARED_AT_ONCE = 1 << 20
"""Values of a recomposed output that are compared at once."""


@torch.no_grad()
def misfit(original: Tensor, recomposed: Tensor) -> tuple[float, str]:
    """Compare a decimated dense signal with what the operation itself gives.

    Parameters
    ----------
    original, recomposed : Tensor
        What the operation gave, and what its split gives.

    Returns
    -------
    error : float
        Largest difference, relative to the largest magnitude of the original; NaN where there are
        no values to compare.
    reason : str
        Why the split is wrong, in one clause; "" where it is not.

    Examples
    --------
    >>> misfit(torch.tensor([2.0, 4.0]), torch.tensor([2.0, 3.0]))
    (0.25, 'its split differs from it by 0.2 of its peak')
    """
    for gives, wanted in (
        (tuple(recomposed.shape), tuple(original.shape)),
        (recomposed.dtype, original.dtype),
        (strides_of(recomposed), strides_of(original)),
    ):
        if gives != wanted:
            kind = "the strides " if isinstance(gives, list) else ""
            return float("nan"), f"its split gives {kind}{gives} in place of {wanted}"
    if original.is_meta or original.numel() == 0:
        return float("nan"), ""
    largest = float(original.abs().max())
    difference = _largest_difference(original, recomposed)
    error = difference / largest if largest > 0 else difference
    if error > MISFIT.get(original.dtype, 1e-3):
        return error, f"its split differs from it by {error:.1g} of its peak"
    return error, ""


def _largest_difference(one: Tensor, other: Tensor) -> float:
    """Compare in double precision, a piece at a time: doubled copies of the whole are large."""
    pieces = max(1, -(-one.numel() // COMPARED_AT_ONCE))
    longest = max(range(one.ndim), key=lambda axis: one.shape[axis], default=0)
    pairs = zip(one.chunk(pieces, longest), other.chunk(pieces, longest), strict=True)
    differences = [(first.double() - second.double()).abs().max() for first, second in pairs]
    return float(torch.stack(differences).max())


def first_tensor(output: Any) -> Tensor:
    """Find the signal in what an operation gave, which may come with indices."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output
