"""Signals in any layout, as compiled code reads them: a number of each of several at once."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from aliascope.measures.engines.vectors import read, write


def flat(dense: Tensor) -> NDArray[Any]:
    """Give all that lies between a signal's first value and its last."""
    extent = 1 + sum((d - 1) * s for d, s in zip(dense.shape, dense.stride(), strict=True))
    return dense.detach().as_strided((extent,), (1,)).numpy()


@njit(nogil=True)
def gathered(x, shape, strides, sample, first, m, copied, lanes):  # type: ignore[no-untyped-def]
    """Give where some channels of a sample begin, and how far apart rows and values are.

    Channels that do not lie next to each other are copied, and the first takes lanes left over.
    """
    start = sample * strides[0] + first * strides[1]
    if strides[1] == 1 and first + len(lanes) <= shape[1]:
        return x, start, strides[2], strides[3]
    height, width = shape[2:]
    for lane in range(len(lanes)):
        of_lane = start + (lane * strides[1] if first + lane < shape[1] else 0)
        for h in range(height):
            at = copied + h * width * len(lanes) + lane
            for w in range(width):
                value = read(x, of_lane + h * strides[2] + w * strides[3])
                write(m, at + w * len(lanes), value)
    return m, copied, width * len(lanes), len(lanes)
