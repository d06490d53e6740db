"""Is what an opened site gives what the operation itself gives? Compared at its first pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aliascope.sites import Site, Split

MISFIT = {torch.float16: 0.05, torch.bfloat16: 0.3}
"""Relative recomposition error above which a split is wrong rather than rounded; else 0.001."""


COMPARED_AT_ONCE = 1 << 20
"""Values of a recomposed output that are compared at once."""


@torch.no_grad()
def _check_recomposition(
    site: Site, split: Split, raw: Tensor, original_call: Callable[[], Any]
) -> None:
    """Compare the decimated dense signal with what the operation itself gives."""
    original = _first_tensor(original_call())
    _compare(site, original, _first_tensor(split.finish(split.decimate(raw))))


@torch.no_grad()
def _compare(site: Site, original: Tensor, recomposed: Tensor) -> None:
    for gives, wanted in (
        (tuple(recomposed.shape), tuple(original.shape)),
        (recomposed.dtype, original.dtype),
    ):
        if gives != wanted:
            site.supported = False
            site.reason = f"its split gives {gives} in place of {wanted}"
            return
    if original.is_meta:
        return
    largest = float(original.abs().max())
    difference = _largest_difference(original, recomposed)
    site.recomposition_error = difference / largest if largest > 0 else difference
    if site.recomposition_error > MISFIT.get(original.dtype, 1e-3):
        site.supported = False
        site.reason = f"its split differs from it by {site.recomposition_error:.1g} of its peak"


def _largest_difference(one: Tensor, other: Tensor) -> float:
    """Compare in double precision, a piece at a time: doubled copies of the whole are large."""
    pieces = max(1, -(-one.numel() // COMPARED_AT_ONCE))
    longest = max(range(one.ndim), key=lambda axis: one.shape[axis], default=0)
    pairs = zip(one.chunk(pieces, longest), other.chunk(pieces, longest), strict=True)
    differences = [(first.double() - second.double()).abs().max() for first, second in pairs]
    return float(torch.stack(differences).max())


def _first_tensor(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[0]
    return output
