"""Energies of several signals at once, one in each lane of a vector, compiled for the CPU.

What :mod:`aliascope.measures.energy` does by matrix products, of as many channels as a vector has
lanes: some columns of theirs are added to their mirror image and subtracted from it, which halves
the products, are multiplied by the basis while they are in the cache, and the same is done along
the other axis with what came out. Each map has a constant taken off first, near its mean, so that
rounding is relative to what varies.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from aliascope.measures.engines.compiling import MEMORY, run
from aliascope.measures.engines.gathering import flat, gathered
from aliascope.measures.engines.vectors import (
    WIDTHS,
    begin,
    constant,
    load,
    read,
    store,
)

Array = NDArray[Any]

LANES = WIDTHS[0]

COLUMNS = 4
"""Worked on at once; then as many rows of what came out."""

ROWS = 2
"""Of a basis, multiplied at once; those of even and of odd number are filled up with zeros."""

BANDS = 4
"""Of a signal's rows, on which several threads can work."""

ADDED = 16
"""Rows whose squares are added up in float32 before they are in float64."""

SPARSE = 8
"""Of so many rows one is looked at for the constant; of up to twice as many where there are few."""


class Places(NamedTuple):
    """Where a thread's arrays begin in its memory, and how large that is.

    Panels are (samples, columns, lanes): what was added, what was subtracted, the product.
    """

    copied: int
    even: int
    odd: int
    product: int
    low: int
    sums: int
    end: int


def _weigh(  # type: ignore[no-untyped-def]
    signals, shape, strides, bases_h, bases_w, shares_h, shares_w, n_even, least, places, memory,
    sums, lanes,
):  # fmt: skip
    per_sample = -(-shape[1] // len(lanes))
    threads = len(memory)
    for thread in prange(threads):
        m = begin(memory[thread])
        for group in range(thread, shape[0] * per_sample, threads):
            sample, first = group // per_sample, group % per_sample * len(lanes)
            last = min(shape[1], first + len(lanes))
            maps = gathered(begin(signals), shape, strides, sample, first, m, places.copied, lanes)
            near = _near_mean(maps, shape, lanes)
            totals = np.zeros((2 + len(shares_h), len(lanes)))
            _fold_columns(maps, shape, near, bases_h, n_even[0], m, places, totals, lanes)
            _fold_rows(shape, bases_w, n_even[1], shares_h, shares_w, m, places, totals, lanes)
            store(m, places.sums, near)
            constants = memory[thread, places.sums : places.sums + len(lanes)]
            _sum_up(shape[2] * shape[3], constants, totals, least, sums[sample, first:last])


@njit(nogil=True)
def _near_mean(maps, shape, lanes):  # type: ignore[no-untyped-def]
    """Mean of some rows of each map."""
    x, start, of_row, of_value = maps
    total = constant(x, 0, lanes)
    rows = 0
    for h in range(shape[2] // 2 % SPARSE, shape[2], SPARSE):
        rows += 1
        of_this = constant(x, 0, lanes)
        for w in range(shape[3]):
            of_this = of_this + load(x, start + h * of_row + w * of_value, lanes)
        total = total + of_this
    return total * constant(x, 1.0 / (rows * shape[3]), lanes)


@njit(nogil=True)
def _fold_columns(maps, shape, near, bases, n_even, m, places, totals, lanes):  # type: ignore[no-untyped-def]
    """Transform the columns of maps without a constant, and sum what is left and its squares."""
    x, start, of_row, of_value = maps
    height, width = shape[2:]
    zero = constant(m, 0, lanes)
    strip = COLUMNS * len(lanes)
    for first in range(0, width, COLUMNS):
        last = min(width, first + COLUMNS)
        half = (height + 1) // 2
        for some in range(0, half, ADDED):
            added = of_even = of_odd = zero
            for h in range(some, min(half, some + ADDED)):
                mirrored = height - 1 - h
                weight = constant(m, 0.5 if mirrored > h else 0.25, lanes)
                for w in range(first, last):
                    at = start + w * of_value
                    front = load(x, at + h * of_row, lanes) - near
                    back = load(x, at + mirrored * of_row, lanes) - near
                    even, odd = front + back, front - back
                    out = h * strip + (w - first) * len(lanes)
                    store(m, places.even + out, even)
                    store(m, places.odd + out, odd)
                    weighed = even * weight
                    added = added + weighed
                    of_even = of_even + even * weighed
                    of_odd = of_odd + odd * (odd * weight)
            _add_lanes(added + added, m, places.sums, totals[0], lanes)
            _add_lanes(of_even + of_odd, m, places.sums, totals[1], lanes)
        out = places.low + first * len(lanes) * len(bases)
        _multiply(bases[:n_even], m, places.even, out, lanes)
        _multiply(bases[n_even:], m, places.odd, out + n_even * strip, lanes)


@njit(nogil=True)
def _fold_rows(shape, bases, n_even, shares_h, shares_w, m, places, totals, lanes):  # type: ignore[no-untyped-def]
    """Transform the rows of what came out, and sum what is within each cut."""
    rows, width, strip = shares_h.shape[1], shape[3], COLUMNS * len(lanes)
    for first in range(0, rows, COLUMNS):
        last = min(rows, first + COLUMNS)
        for w in range((width + 1) // 2):
            of_front = _of_column(w, rows, places.low, strip, lanes)
            of_back = _of_column(width - 1 - w, rows, places.low, strip, lanes)
            for i in range(first, last):
                front = load(m, of_front + i * strip, lanes)
                back = load(m, of_back + i * strip, lanes)
                out = w * strip + (i - first) * len(lanes)
                store(m, places.even + out, front + back)
                store(m, places.odd + out, front - back)
        _multiply(bases[:n_even], m, places.even, places.product, lanes)
        _multiply(bases[n_even:], m, places.odd, places.product + n_even * strip, lanes)
        for cut in range(len(shares_h)):
            _sum_products(
                shares_h[cut, first:last], shares_w[cut], m, places, totals[2 + cut], lanes
            )


@njit(nogil=True)
def _sum_products(of_rows, of_columns, m, places, total, lanes):  # type: ignore[no-untyped-def]
    """Add the squares of what came out, by how much of each is within."""
    width, strip = len(lanes), COLUMNS * len(lanes)
    a = b = c = d = constant(m, 0, lanes)
    for j in range(len(of_columns)):
        share, at = constant(m, of_columns[j], lanes), places.product + j * strip
        p, q = load(m, at, lanes), load(m, at + width, lanes)
        r, s = load(m, at + 2 * width, lanes), load(m, at + 3 * width, lanes)
        a, b, c, d = (
            a + p * (p * share),
            b + q * (q * share),
            c + r * (r * share),
            d + s * (s * share),
        )
    _put(m, places.sums, a, b, c, d, lanes)
    for i in range(len(of_rows)):
        for lane in range(width):
            total[lane] += of_rows[i] * read(m, places.sums + i * width + lane)


@njit(nogil=True)
def _of_column(w, rows, low, strip, lanes):  # type: ignore[no-untyped-def]
    """Where the coefficients of a column begin."""
    return low + w // COLUMNS * rows * strip + w % COLUMNS * len(lanes)


@njit(nogil=True)
def _add_lanes(vector, m, spare, total, lanes):  # type: ignore[no-untyped-def]
    """Add a vector to totals in float64."""
    store(m, spare, vector)
    for lane in range(len(lanes)):
        total[lane] += read(m, spare + lane)


@njit(nogil=True)
def _multiply(bases, m, panel, out, lanes):  # type: ignore[no-untyped-def]
    """Multiply (rows, K) by a panel of K samples: two rows at a time."""
    samples, width, strip = bases.shape[1], len(lanes), COLUMNS * len(lanes)
    rows = begin(bases)
    for i in range(0, bases.shape[0], ROWS):
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = constant(m, 0, lanes)
        for n in range(samples):
            at = panel + n * strip
            p0, p1 = load(m, at, lanes), load(m, at + width, lanes)
            p2, p3 = load(m, at + 2 * width, lanes), load(m, at + 3 * width, lanes)
            a = constant(m, read(rows, i * samples + n), lanes)
            b = constant(m, read(rows, (i + 1) * samples + n), lanes)
            a0, a1, a2, a3 = a0 + a * p0, a1 + a * p1, a2 + a * p2, a3 + a * p3
            b0, b1, b2, b3 = b0 + b * p0, b1 + b * p1, b2 + b * p2, b3 + b * p3
        _put(m, out + i * strip, a0, a1, a2, a3, lanes)
        _put(m, out + (i + 1) * strip, b0, b1, b2, b3, lanes)


@njit(nogil=True)
def _put(m, out, a, b, c, d, lanes):  # type: ignore[no-untyped-def]
    store(m, out, a)
    store(m, out + len(lanes), b)
    store(m, out + 2 * len(lanes), c)
    store(m, out + 3 * len(lanes), d)


@njit(nogil=True)
def _sum_up(size, constants, totals, least, sums):  # type: ignore[no-untyped-def]
    for k in range(len(sums)):
        mean = totals[0, k] / size
        whole = totals[1, k]
        varying = whole - mean * totals[0, k]
        undefined = varying <= least * (varying + size * (mean + constants[k]) ** 2)
        undefined = undefined and math.isfinite(varying)
        sums[k, 0] = 0.0 if undefined else varying
        for c in range(2, len(totals)):
            beyond = min(max(whole - totals[c, k], 0.0), varying)
            sums[k, c - 1] = 0.0 if undefined else beyond


def _vary(signals, constants, sums):  # type: ignore[no-untyped-def]
    count, height = signals.shape[0], signals.shape[1]
    for g in prange(count * BANDS):
        b, band = g // BANDS, g % BANDS
        rows = signals[b, height * band // BANDS : height * (band + 1) // BANDS]
        _vary_band(rows, constants[b], sums[b, band])


@njit(nogil=True)
def _vary_band(signal, constant, sums):  # type: ignore[no-untyped-def]
    """Sum what is left of some rows without a constant, and its squares: (2, C)."""
    channels = signal.shape[2]
    added = np.empty(channels, signal.dtype)
    squares = np.empty(channels, signal.dtype)
    sums[:] = 0
    for h in range(signal.shape[0]):
        added[:] = 0
        squares[:] = 0
        for w in range(signal.shape[1]):
            _add_apart(signal[h, w], constant, added, squares)
        for k in range(channels):
            sums[0, k] += added[k]
            sums[1, k] += squares[k]


@njit(nogil=True, inline="always")
def _add_apart(values, constant, total, squares):  # type: ignore[no-untyped-def]
    for k in range(total.size):
        apart = values[k] - constant[k]
        total[k] += apart
        squares[k] += apart * apart


def vary(signals: Array, threads: int) -> tuple[Array, Array]:
    """Sum the squares of what varies in each map, (N, H, W, C), and give its mean: (N, C) each.

    The mean of a row is taken off first.
    """
    count, height, width, channels = signals.shape
    sums = np.empty((count, BANDS, 2, channels))
    constants = signals[:, height // 2].mean(axis=1)
    run(_vary, threads, signals, constants, sums)
    total, squares = sums.sum(axis=1).transpose(1, 0, 2)
    apart = total / (height * width)
    return np.maximum(squares - total * apart, 0.0), constants + apart


def weigh(
    dense: Tensor,
    bases: list[Array],
    shares: list[Array],
    n_even: tuple[int, int],
    least: float,
    threads: int,
) -> Array:
    """Weigh each map of signals.

    Parameters
    ----------
    dense : Tensor of float32 or float64, shape (N, C, H, W)
        On a CPU, in any layout.
    bases : two of ndarray of float, shape (coefficients, K)
        Of H and W: coefficients of even number, then of odd, at the first half of the samples, K.
        There are of each a multiple of `ROWS`.
    shares : two of ndarray of float64, shape (cuts, coefficients)
        How much of each is within.
    n_even : two of int
        Of H and W: coefficients of even number.
    least : float
        Share of the energy that has to vary.
    threads : int
        Threads to use.

    Returns
    -------
    ndarray of float64, shape (N, C, 1 + cuts)
        Energy that varies, and that beyond each cut; 0 where next to nothing varies.
    """
    dense = dense.resolve_neg()
    shape, lanes = dense.shape, LANES
    used = max(1, min(threads, shape[0] * -(-shape[1] // lanes)))
    (rows, half_h), (columns, half_w) = (each.shape for each in bases)
    copied = 0 if dense.stride(1) == 1 and shape[1] % lanes == 0 else shape[2] * shape[3]
    panel, strips = COLUMNS * max(half_h, half_w), -(-shape[3] // COLUMNS)
    numbers = (copied, panel, panel, COLUMNS * columns, strips * COLUMNS * rows, COLUMNS)
    places = Places(*(int(start) for start in lanes * np.cumsum((0, *numbers))))
    memory = MEMORY.of(used, places.end, bases[0].dtype)
    sums = np.empty((shape[0], shape[1], 1 + shares[0].shape[0]))
    arrays = (*bases, *shares, n_even, least, places, memory, sums, (0,) * lanes)
    run(_weigh, threads, flat(dense), tuple(shape), dense.stride(), *arrays)
    return sums
