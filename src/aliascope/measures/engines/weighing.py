"""Energies of signals with channels last on a CPU, compiled.

What :mod:`aliascope.measures.energy` does by matrix products, without copies of the signal: of one
sample and as many channels as share a cache line, a strip at a time. A strip is added to its mirror
image and subtracted from it, which halves the products, is multiplied by the basis while it is in
the cache, and the same is done along the other axis with what came out. Each map has a constant
taken off first, near its mean, so that rounding is relative to what varies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from aliascope.measures.engines.compiling import run

Array = NDArray[Any]

CHANNELS = 16
"""Worked on at once: a cache line of float32."""

STRIP = 128
"""Values of a strip's row: some columns, then some rows, of these channels. That this is known when
it is compiled, and that a product is of two arrays, lets the compiler vectorise it."""

STEP = 8
"""Samples multiplied at once; bases are filled up with zeros to a multiple of it."""

ROWS = 2
"""Of a basis, multiplied at once; those of even and of odd number are filled up likewise."""

BANDS = 4
"""Of a signal's rows, on which several threads can work."""

SPARSE = 8
"""Of so many rows one is looked at for the constant. What varies is then an eighth or more of what
is left, however the rows were chosen."""


def _weigh(  # type: ignore[no-untyped-def]
    signals, bases_h, bases_w, shares_h, shares_w, even_h, even_w, least, sums
):
    count, channels = signals.shape[0], signals.shape[3]
    groups = (channels + CHANNELS - 1) // CHANNELS
    for g in prange(count * groups):
        b, first = g // groups, g % groups * CHANNELS
        last = min(channels, first + CHANNELS)
        signal = signals[b, :, :, first:last]
        constant = _near_mean(signal)
        whole, total, low = _fold_columns(signal, constant, bases_h, even_h)
        kept = _fold_rows(low, signal.shape, bases_w, even_w, shares_h, shares_w)
        _sum_up(signal.shape, constant, whole, total, kept, least, sums[b, first:last])


def _vary(signals, constants, sums):  # type: ignore[no-untyped-def]
    count, height = signals.shape[0], signals.shape[1]
    for g in prange(count * BANDS):
        b, band = g // BANDS, g % BANDS
        rows = signals[b, height * band // BANDS : height * (band + 1) // BANDS]
        _vary_band(rows, constants[b], sums[b, band])


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def _fold_columns(signal, constant, bases, n_even):  # type: ignore[no-untyped-def]
    """Transform the columns of some channels, (H, W, C), without a constant.

    Gives the energy of what is left, its sum, and coefficients (strips, coefficients, STRIP).
    """
    kind = signal.dtype.type
    height, width, channels = signal.shape
    columns = STRIP // channels
    total = np.zeros(channels)
    whole = np.zeros(channels)
    low = np.empty((-(-width // columns), bases.shape[0], STRIP), signal.dtype)
    even = np.zeros((bases.shape[1], STRIP), signal.dtype)
    odd = np.zeros((bases.shape[1], STRIP), signal.dtype)
    constants = np.zeros(STRIP, signal.dtype)
    for k in range(columns * channels):
        constants[k] = constant[k % channels]
    squares = np.empty(STRIP, signal.dtype)
    added = np.empty(STRIP, signal.dtype)
    front = np.zeros(STRIP, signal.dtype)
    back = np.zeros(STRIP, signal.dtype)
    for strip in range(low.shape[0]):
        start = strip * columns
        stop = min(width, start + columns)
        size = (stop - start) * channels
        squares[:] = 0
        added[:] = 0
        for h in range((height + 1) // 2):
            mirrored = height - 1 - h
            _gather(signal[h, start:stop], front)
            _gather(signal[mirrored, start:stop], back)
            _add_and_subtract(front, back, constants, even[h], odd[h])
            one = kind(0.5) if mirrored > h else kind(0.25)  # the middle is its own mirror image
            _add_squares(even[h], odd[h], one, squares)
            _add_scaled(even[h], one + one, added)
        for k in range(size):
            total[k % channels] += added[k]
            whole[k % channels] += squares[k]
        _multiply(bases[:n_even], even, low[strip, :n_even])
        _multiply(bases[n_even:], odd, low[strip, n_even:])
    return whole, total, low


@njit(nogil=True, cache=True)
def _fold_rows(low, shape, bases, n_even, shares_h, shares_w):  # type: ignore[no-untyped-def]
    """Transform the rows of what came out, and sum what is within each cut: (cuts, C)."""
    width, channels = shape[1], shape[2]
    columns = STRIP // channels
    cuts = shares_h.shape[0]
    kept = np.zeros((cuts, channels))
    even = np.zeros((bases.shape[1], STRIP), low.dtype)
    odd = np.zeros((bases.shape[1], STRIP), low.dtype)
    product = np.empty((bases.shape[0], STRIP), low.dtype)
    within = np.empty((cuts, STRIP), low.dtype)
    front = np.zeros(STRIP, low.dtype)
    back = np.zeros(STRIP, low.dtype)
    nothing = np.zeros(STRIP, low.dtype)
    for start in range(0, low.shape[1], columns):
        stop = min(low.shape[1], start + columns)
        for w in range((width + 1) // 2):
            mirrored = width - 1 - w
            k = w % columns * channels
            _gather(low[w // columns, start:stop, k : k + channels], front)
            k = mirrored % columns * channels
            _gather(low[mirrored // columns, start:stop, k : k + channels], back)
            _add_and_subtract(front, back, nothing, even[w], odd[w])
        _multiply(bases[:n_even], even, product[:n_even])
        _multiply(bases[n_even:], odd, product[n_even:])
        within[:] = 0
        for j in range(product.shape[0]):
            for c in range(cuts):
                if shares_w[c, j] > 0:
                    _add_weighed(product[j], low.dtype.type(shares_w[c, j]), within[c])
        for c in range(cuts):
            for i in range(start, stop):
                for k in range(channels):
                    kept[c, k] += shares_h[c, i] * within[c, (i - start) * channels + k]
    return kept


@njit(nogil=True, cache=True)
def _sum_up(shape, constant, whole, total, kept, least, sums):  # type: ignore[no-untyped-def]
    size = shape[0] * shape[1]
    for k in range(shape[2]):
        mean = total[k] / size
        varying = whole[k] - mean * total[k]
        undefined = varying <= least * (varying + size * (mean + constant[k]) ** 2)
        sums[k, 0] = 0.0 if undefined else varying
        for c in range(kept.shape[0]):
            beyond = min(max(whole[k] - kept[c, k], 0.0), varying)
            sums[k, 1 + c] = 0.0 if undefined else beyond


@njit(nogil=True, cache=True)
def _near_mean(signal):  # type: ignore[no-untyped-def]
    """Mean of some rows of each map, (C,)."""
    height, width, channels = signal.shape
    total = np.zeros(channels, signal.dtype)
    rows = 0
    for h in range(height // 2 % SPARSE, height, SPARSE):
        rows += 1
        for w in range(width):
            _add_scaled(signal[h, w], signal.dtype.type(1), total)
    return total / signal.dtype.type(rows * width)


# Loops of few arrays each: what may overlap is checked first; with more they are not vectorised.


@njit(nogil=True, cache=True, inline="always")
def _gather(values, out):  # type: ignore[no-untyped-def]
    """Write values of (positions, C) into a strip's row."""
    channels = values.shape[1]
    if channels == CHANNELS:
        for p in range(values.shape[0]):
            for c in range(CHANNELS):
                out[p * CHANNELS + c] = values[p, c]
    else:
        for p in range(values.shape[0]):
            for c in range(channels):
                out[p * channels + c] = values[p, c]


@njit(nogil=True, cache=True, inline="always")
def _add_and_subtract(front, back, constants, even, odd):  # type: ignore[no-untyped-def]
    for k in range(STRIP):
        even[k] = (front[k] - constants[k]) + (back[k] - constants[k])
    for k in range(STRIP):
        odd[k] = front[k] - back[k]


@njit(nogil=True, cache=True, inline="always")
def _add_squares(even, odd, factor, squares):  # type: ignore[no-untyped-def]
    for k in range(STRIP):
        squares[k] += factor * (even[k] * even[k] + odd[k] * odd[k])


@njit(nogil=True, cache=True, inline="always")
def _add_scaled(values, factor, total):  # type: ignore[no-untyped-def]
    for k in range(total.size):
        total[k] += factor * values[k]


@njit(nogil=True, cache=True, inline="always")
def _add_apart(values, constant, total, squares):  # type: ignore[no-untyped-def]
    for k in range(total.size):
        apart = values[k] - constant[k]
        total[k] += apart
        squares[k] += apart * apart


@njit(nogil=True, cache=True, inline="always")
def _add_weighed(values, weight, total):  # type: ignore[no-untyped-def]
    for k in range(STRIP):
        total[k] += weight * values[k] * values[k]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _multiply(bases, panel, out):  # type: ignore[no-untyped-def]
    """Multiply (rows, K) by (K, STRIP): two rows and eight samples at a time."""
    out[:] = 0
    samples, products = panel.ravel(), out.ravel()
    for n in range(0, bases.shape[1], STEP):
        p = samples[n * STRIP : (n + STEP) * STRIP]
        for i in range(0, bases.shape[0], ROWS):
            o = products[i * STRIP : (i + ROWS) * STRIP]
            a0, a1, a2, a3 = bases[i, n], bases[i, n + 1], bases[i, n + 2], bases[i, n + 3]
            a4, a5, a6, a7 = bases[i, n + 4], bases[i, n + 5], bases[i, n + 6], bases[i, n + 7]
            j = i + 1
            b0, b1, b2, b3 = bases[j, n], bases[j, n + 1], bases[j, n + 2], bases[j, n + 3]
            b4, b5, b6, b7 = bases[j, n + 4], bases[j, n + 5], bases[j, n + 6], bases[j, n + 7]
            for k in range(STRIP):
                p0, p1, p2, p3 = p[k], p[k + STRIP], p[k + 2 * STRIP], p[k + 3 * STRIP]
                p4, p5 = p[k + 4 * STRIP], p[k + 5 * STRIP]
                p6, p7 = p[k + 6 * STRIP], p[k + 7 * STRIP]
                o[k] += (
                    a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3 + a4 * p4 + a5 * p5 + a6 * p6 + a7 * p7
                )
                o[k + STRIP] += (
                    b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3 + b4 * p4 + b5 * p5 + b6 * p6 + b7 * p7
                )


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
    signals: Array,
    bases: list[Array],
    shares: list[Array],
    n_even: tuple[int, int],
    least: float,
    threads: int,
) -> Array:
    """Weigh each map of signals with channels last.

    Parameters
    ----------
    signals : ndarray of float, shape (N, H, W, C)
        Of which channels lie next to each other.
    bases : two of ndarray of float, shape (coefficients, K)
        Of H and W: coefficients of even number, then of odd, at the first half of the samples. K is
        a multiple of `STEP`, and there are of each a multiple of `ROWS`.
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
    sums = np.empty((signals.shape[0], signals.shape[3], 1 + shares[0].shape[0]))
    run(_weigh, threads, signals, *bases, *shares, *n_even, least, sums)
    return sums
