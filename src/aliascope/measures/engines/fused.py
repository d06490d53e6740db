"""What stands around the FFTs on a CPU, compiled.

The half spectrum and its twins are those of :mod:`aliascope.measures.engines.half_spectrum`. What
is here does the rest for a block of signals: scale and pad them; then, of their spectra, find the
reference level and count, which reads each spectrum twice where torch's functions read it a dozen
times. Compiled by numba at the first use, and kept on disk for the next.

A fold j of the last axis that lies in the other half of the spectrum is there as its twin, in the
line ``(rate - j) * M_w - m_w``, with its rows in the opposite order. Such lines are added up in the
order in which they lie in memory, and turned round once: bin h takes what was added at -h mod M_h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from aliascope.measures.engines.compiling import run

Array = NDArray[Any]

TALLIED = 2048
"""Bins whose powers are compared at once, which stay in the cache for all thresholds."""


def _transpose(signals, out):  # type: ignore[no-untyped-def]
    count, pixels, channels = signals.shape
    width = 16  # channels of a cache line
    groups = (channels + width - 1) // width
    for k in prange(count * groups):
        b, first = k // groups, k % groups * width
        last = min(channels, first + width)
        for start in range(0, pixels, 32):
            stop = min(pixels, start + 32)
            for c in range(first, last):
                row = out[b, c]
                for p in range(start, stop):
                    row[p] = signals[b, p, c]


def _prepare(signals, rate, padded, finite, energy):  # type: ignore[no-untyped-def]
    for b in prange(signals.shape[0]):
        signal = signals[b]
        height, width = signal.shape
        peaks = np.zeros(width, signal.dtype)
        sums = np.zeros(width, signal.dtype)
        for h in range(height):
            row = signal[h]
            for w in range(width):
                size = abs(row[w])
                peaks[w] = size if size > peaks[w] else peaks[w]
                sums[w] += row[w] * 0  # NaN where a value is NaN or infinite
        peak = peaks.max()
        finite[b] = sums.sum() == 0
        exponent = 0
        if finite[b]:
            exponent = min(126, max(-126, math.frexp(peak)[1]))
        scale = signal.dtype.type(math.ldexp(1.0, -exponent))
        total = 0.0
        for h in range(height):
            row = signal[h]
            scaled = padded[b, h]
            for w in range(width):
                scaled[w] = row[w] * scale
            if h % rate[0] == 0:
                for w in range(0, width, rate[1]):
                    total += scaled[w] * scaled[w]
        energy[b] = total


def _turn(spectra, out):  # type: ignore[no-untyped-def]
    tile = 16  # columns of a row that share two cache lines
    for b in prange(spectra.shape[0]):
        height, half = spectra[b].shape
        for first in range(0, half, tile):
            last = min(half, first + tile)
            for h in range(height):
                row = spectra[b, h]
                for w in range(first, last):
                    out[b, w, h] = row[w]


def _count(spectra, rate, bins, references, of_peak, ratios, counts):  # type: ignore[no-untyped-def]
    for b in prange(spectra.shape[0]):
        r, s = rate
        m, n = bins
        # Of each bin of half the columns: the power of its home fold, and the two largest others.
        powers = np.empty((3, n // 2 + 1, m), spectra.dtype)
        twins = np.empty((n // 2 + 1, 3), spectra.dtype)
        if r == 2 and s == 2:
            largest = _sweep_two(spectra[b], m, n, powers)
        else:
            largest = _sweep(spectra[b], r, s, m, n, powers)
        _sweep_twins(spectra[b], r, s, m, n, twins)
        reference = largest if of_peak else references[b]
        _tally_bins(powers, twins, m, n, reference * ratios, counts[b])


@njit(nogil=True, cache=True)
def _tally_bins(powers, twins, m, n, thresholds, counts):  # type: ignore[no-untyped-def]
    """Count bins of which the home fold passes, none does, one other does, or more do.

    Only the home fold passes where it is above the threshold, but the lesser of it and the largest
    other is not; and so on: all are counts of what is above.
    """
    counts[:] = 0
    inside = (n - 1) // 2  # columns that stand for their twins too, between those that do not
    _tally(powers, 0, 1, 1, thresholds, counts)
    for start in range(1, inside + 1, max(1, TALLIED // m)):
        stop = min(inside + 1, start + max(1, TALLIED // m))
        _tally(powers, start, stop, 2, thresholds, counts)
    if n % 2 == 0:
        _tally(powers, n // 2, n // 2 + 1, 1, thresholds, counts)
    if m % 2 == 0:  # at the middle of an even number of rows, the twin's home is another fold
        for w in range(1, n // 2 + 1):
            home, first, second = powers[0, w, m // 2], powers[1, w, m // 2], powers[2, w, m // 2]
            own, one, two = twins[w, 0], twins[w, 1], twins[w, 2]
            for level in range(thresholds.size):
                t = thresholds[level]
                counts[level, 1] += (own > t >= one) - (home > t >= first)
                counts[level, 2] += (one > t >= max(own, two)) - (first > t >= max(home, second))
    for level in range(thresholds.size):
        counts[level, 3] = m * n - counts[level, 0] - counts[level, 1] - counts[level, 2]


@njit(nogil=True, cache=True)
def _tally(powers, start, stop, times, thresholds, counts):  # type: ignore[no-untyped-def]
    """Add the counts of some columns, so many times."""
    home = powers[0, start:stop].ravel()
    first, second = powers[1, start:stop].ravel(), powers[2, start:stop].ravel()
    both, more = np.empty(home.size, powers.dtype), np.empty(home.size, powers.dtype)
    for h in range(both.size):
        both[h] = home[h] if home[h] < first[h] else first[h]
    for h in range(both.size):
        above = home[h] if home[h] > second[h] else second[h]
        more[h] = first[h] if first[h] < above else above
    for level in range(thresholds.size):
        of_both = int(_above(both, thresholds[level]))
        only_home = int(_above(home, thresholds[level])) - of_both
        others = int(_above(first, thresholds[level]))
        counts[level, 0] += times * (both.size - only_home - others)
        counts[level, 1] += times * only_home
        counts[level, 2] += times * (others - int(_above(more, thresholds[level])))


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def _above(values, threshold):  # type: ignore[no-untyped-def]
    """Count values above a threshold; in floats, which are exact and fastest to add up."""
    zero, unit = values.dtype.type(0), values.dtype.type(1)
    found = zero
    for h in range(values.size):
        found += unit if values[h] > threshold else zero
    return found


@njit(nogil=True, cache=True)
def _sweep_two(lines, m, n, powers):  # type: ignore[no-untyped-def]
    """As `_sweep`, where both rates are 2: all four folds of a bin at once."""
    largest = np.zeros(m, lines.dtype)
    positive = (m + 1) // 2
    for w in range(n // 2 + 1):
        home, first, second = powers[0, w], powers[1, w], powers[2, w]
        front, back = lines[w, : 2 * m], lines[w, 2 * m :]
        # Of the twins' line, whose rows are in the opposite order.
        other_front, other_back = lines[n - w, : 2 * m], lines[n - w, 2 * m :]
        _keep_peaks(front, back, other_front, other_back, largest)
        _write_powers(front[: 2 * positive], home[:positive])
        _write_powers(back[2 * positive :], home[positive:])
        _sort_others(back, other_front, other_back, 0, positive, first, second)
        _sort_others(front, other_front, other_back, positive, m, first, second)
    return largest.max() / lines.dtype.type(16)


@njit(nogil=True, cache=True)
def _sweep(lines, r, s, m, n, powers):  # type: ignore[no-untyped-def]
    """Write the power of each bin's home fold and the two largest others; give the peak.

    The peak is the largest power of the mean of the folds. Rows below the middle are at home in the
    first fold, the others in the last.
    """
    positive = (m + 1) // 2
    power = np.empty(m, lines.dtype)
    direct = np.empty(2 * m, lines.dtype)  # sums of folds, real and imaginary parts in turn
    turned = np.empty(2 * m, lines.dtype)
    turned_first = np.empty(m, lines.dtype)
    turned_second = np.empty(m, lines.dtype)
    around = np.empty((4, m), lines.dtype)
    largest = np.zeros(m, lines.dtype)
    for w in range(n // 2 + 1):
        home, first, second = powers[0, w], powers[1, w], powers[2, w]
        first[:] = 0
        second[:] = 0
        direct[:] = 0
        turned[:] = 0
        turned_first[:] = 0
        turned_second[:] = 0
        for j in range(s):
            straight = 2 * j < s
            line = lines[j * n + w] if straight else lines[(s - j) * n - w]
            for i in range(r):
                part = line[2 * i * m : 2 * (i + 1) * m]
                _write_powers(part, power)
                if straight:
                    _add(part, direct)
                    if j == 0 and i == 0:
                        last = m if r == 1 else positive
                        _copy(power[:last], home[:last])
                        _keep_largest(power[last:], first[last:], second[last:])
                    elif j == 0 and i == r - 1:
                        _keep_largest(power[:positive], first[:positive], second[:positive])
                        _copy(power[positive:], home[positive:])
                    else:
                        _keep_largest(power, first, second)
                else:
                    _add(part, turned)
                    _keep_largest(power, turned_first, turned_second)
        if s > 1:  # what was found in twins, whose rows are in the opposite order
            _turn_round(turned_first, around[0])
            _turn_round(turned_second, around[1])
            _turn_parts_round(turned, around[2], around[3])
            _merge_largest(around[0], around[1], first, second)
            _add_parts(around[2], around[3], direct)
        _write_powers(direct, power)
        for h in range(m):
            largest[h] = power[h] if power[h] > largest[h] else largest[h]
    return largest.max() / lines.dtype.type((r * s) ** 2)


# Loops of few arrays each: what may overlap is checked first; with more they are not vectorised.
# Indices without a sign need no check for negative ones, which would prevent it as well.


@njit(nogil=True, cache=True, inline="always")
def _keep_peaks(front, back, other_front, other_back, largest):  # type: ignore[no-untyped-def]
    one, two, size = np.uint64(1), np.uint64(2), np.uint64(largest.size)
    real = (front[0] + back[0]) + (other_front[0] + other_back[0])
    imag = (front[1] + back[1]) - (other_front[1] + other_back[1])
    largest[0] = max(largest[0], real * real + imag * imag)
    for h in range(one, size):
        k, i = two * h, two * (size - h)
        real = (front[k] + back[k]) + (other_front[i] + other_back[i])
        imag = (front[k + one] + back[k + one]) - (other_front[i + one] + other_back[i + one])
        power = real * real + imag * imag
        largest[h] = power if power > largest[h] else largest[h]


@njit(nogil=True, cache=True, inline="always")
def _sort_others(  # type: ignore[no-untyped-def]
    away, other_front, other_back, start, stop, first, second
):
    """Write the two largest of three folds' powers, of the rows from start to stop."""
    one, two, size = np.uint64(1), np.uint64(2), np.uint64(first.size)
    begin = np.uint64(start)
    if start == 0:
        a = away[0] * away[0] + away[1] * away[1]
        b = other_front[0] * other_front[0] + other_front[1] * other_front[1]
        c = other_back[0] * other_back[0] + other_back[1] * other_back[1]
        first[0] = max(a, b, c)
        second[0] = max(min(b, c), min(a, max(b, c)))
        begin = one
    for h in range(begin, np.uint64(stop)):
        k, i = two * h, two * (size - h)
        a = away[k] * away[k] + away[k + one] * away[k + one]
        b = other_front[i] * other_front[i] + other_front[i + one] * other_front[i + one]
        c = other_back[i] * other_back[i] + other_back[i + one] * other_back[i + one]
        above = b if b > c else c
        below = c if b > c else b
        between = a if a < above else above
        first[h] = a if a > above else above
        second[h] = between if between > below else below


@njit(nogil=True, cache=True, inline="always")
def _write_powers(values, power):  # type: ignore[no-untyped-def]
    for h in range(power.size):
        power[h] = values[2 * h] * values[2 * h] + values[2 * h + 1] * values[2 * h + 1]


@njit(nogil=True, cache=True, inline="always")
def _copy(values, out):  # type: ignore[no-untyped-def]
    for h in range(out.size):
        out[h] = values[h]


@njit(nogil=True, cache=True, inline="always")
def _add(values, total):  # type: ignore[no-untyped-def]
    for h in range(values.size):
        total[h] += values[h]


@njit(nogil=True, cache=True, inline="always")
def _keep_largest(power, first, second):  # type: ignore[no-untyped-def]
    for h in range(power.size):
        lesser = power[h] if power[h] < first[h] else first[h]
        second[h] = lesser if lesser > second[h] else second[h]
        first[h] = power[h] if power[h] > first[h] else first[h]


@njit(nogil=True, cache=True, inline="always")
def _merge_largest(one, two, first, second):  # type: ignore[no-untyped-def]
    for h in range(first.size):
        lesser = one[h] if one[h] < first[h] else first[h]
        greater = two[h] if two[h] > second[h] else second[h]
        second[h] = lesser if lesser > greater else greater
        first[h] = one[h] if one[h] > first[h] else first[h]


@njit(nogil=True, cache=True, inline="always")
def _add_parts(real, imag, total):  # type: ignore[no-untyped-def]
    for h in range(real.size):
        total[2 * h] += real[h]
        total[2 * h + 1] += imag[h]


@njit(nogil=True, cache=True, inline="always")
def _turn_round(values, out):  # type: ignore[no-untyped-def]
    out[0] = values[0]
    size = np.uint64(values.size)
    for h in range(np.uint64(1), size):
        out[h] = values[size - h]


@njit(nogil=True, cache=True, inline="always")
def _turn_parts_round(values, real, imag):  # type: ignore[no-untyped-def]
    """Turn complex numbers round, and conjugate them."""
    real[0], imag[0] = values[0], -values[1]
    one, two, size = np.uint64(1), np.uint64(2), np.uint64(real.size)
    for h in range(one, size):
        k = two * (size - h)
        real[h] = values[k]
        imag[h] = -values[k + one]


@njit(nogil=True, cache=True)
def _sweep_twins(lines, r, s, m, n, twins):  # type: ignore[no-untyped-def]
    """Do the same at the middle of an even number of rows, whose twins are at home in fold 0."""
    if m % 2:
        return
    middle = m // 2
    for w in range(n // 2 + 1):
        own = first = second = lines.dtype.type(0)
        for j in range(s):
            straight = 2 * j < s
            line = lines[j * n + w] if straight else lines[(s - j) * n - w]
            for i in range(r):
                k = 2 * (i * m + middle)
                power = line[k] * line[k] + line[k + 1] * line[k + 1]
                if i == 0 and j == 0:
                    own = power
                elif power > first:
                    second = first
                    first = power
                elif power > second:
                    second = power
        twins[w, 0] = own
        twins[w, 1] = first
        twins[w, 2] = second


def prepare(
    signals: Array, rate: tuple[int, int], padded: Array, threads: int
) -> tuple[Array, Array]:
    """Scale signals by the power of two that brings their peak near 1, into padded buffers.

    Parameters
    ----------
    signals : ndarray of float, shape (B, H, W)
        A block.
    rate : (int, int)
        Decimation rate.
    padded : ndarray of float, shape (B, H, L)
        Whose first W columns are written.
    threads : int
        Threads to use.

    Returns
    -------
    finite : ndarray of bool, shape (B,)
        Whether all values of a signal are; where not, what was written means nothing.
    energy : ndarray of float, shape (B,)
        Sum of the squares of the scaled samples that decimation keeps.
    """
    finite = np.empty(len(signals), np.bool_)
    energy = np.empty(len(signals), signals.dtype)
    run(_prepare, threads, signals, rate, padded, finite, energy)
    return finite, energy


def turn(spectra: Array, out: Array, threads: int) -> None:
    """Write spectra of rows, (B, H, half), into the first H columns of (B, half, L)."""
    run(_turn, threads, spectra, out)


def count(
    spectra: Array,
    rate: tuple[int, int],
    bins: tuple[int, int],
    references: Array | None,
    ratios: Sequence[float],
    threads: int,
) -> Array:
    """Count the bins of each category, at several thresholds.

    Parameters
    ----------
    spectra : ndarray of complex, shape (B, half, rows)
        Half spectra: the last spatial axis, of which half is there, then the first.
    rate, bins : (int, int)
        Decimation rate and bins M, of rows and of the last axis.
    references : ndarray of float, shape (B,), or None
        Reference levels; None takes the largest power of the decimated signals' spectra.
    ratios : sequence of float
        Thresholds over the reference level.
    threads : int
        Threads to use.

    Returns
    -------
    ndarray of int64, shape (B, len(ratios), 4)
    """
    parts = spectra.view(spectra.real.dtype)
    counts = np.empty((len(spectra), len(ratios), 4), np.int64)
    of_peak = references is None
    given = np.empty(len(spectra), parts.dtype) if references is None else references
    levels = np.array(ratios, parts.dtype)
    run(_count, threads, parts, rate, bins, given, of_peak, levels, counts)
    return counts


def transpose(signals: Array, out: Array, threads: int) -> None:
    """Write signals with channels last, (B, P, C), into (B, C, P)."""
    run(_transpose, threads, signals, out)
