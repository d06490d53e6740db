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
import os
import types
from typing import Any

import numpy as np
import torch
from numba import config, njit, prange, set_num_threads
from numpy.typing import NDArray

Array = NDArray[Any]


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


def _count(spectra, rate, bins, references, of_peak, ratio, counts):  # type: ignore[no-untyped-def]
    r, s = rate
    m, n = bins
    for b in prange(spectra.shape[0]):
        # Real and imaginary parts in turn.
        lines = spectra[b]
        threshold = references[b] * ratio
        if of_peak:
            threshold = _peak(lines, r, s, m, n) * ratio
        passing = np.empty(m, np.int32)
        turned = np.empty(m, np.int32)
        at_home = np.empty(m, np.int32)
        all_none = 0
        all_one = 0
        all_home = 0
        for w in range(n // 2 + 1):
            passing[:] = 0
            turned[:] = 0
            for j in range(s):
                if 2 * j < s:
                    line = lines[j * n + w]
                    for i in range(r):
                        _add_passing(line[2 * i * m : 2 * (i + 1) * m], threshold, passing)
                else:
                    line = lines[(s - j) * n - w]
                    for i in range(r):
                        _add_passing(line[2 * i * m : 2 * (i + 1) * m], threshold, turned)
            passing[0] += turned[0]
            for h in range(1, m):
                passing[h] += turned[m - h]
            # Rows below the middle are at home in the first fold, the others in the last.
            positive = (m + 1) // 2
            line = lines[w]
            at_home[:] = 0
            _add_passing(line[: 2 * positive], threshold, at_home)
            last = 2 * (r - 1) * m
            _add_passing(line[last + 2 * positive : last + 2 * m], threshold, at_home[positive:])
            none = 0
            one = 0
            home = 0
            for h in range(m):
                none += passing[h] == 0
                one += passing[h] == 1
                home += (passing[h] == 1) & at_home[h]
            if 2 * w < n:  # the bin itself
                all_none += none
                all_one += one
                all_home += home
            if w > 0:  # its twin, whose home differs at the middle of an even number of rows
                middle = m // 2
                if m % 2 == 0 and passing[middle] == 1:
                    home -= at_home[middle]
                    at_home[middle] = 0
                    _add_passing(line[2 * middle : 2 * middle + 2], threshold, at_home[middle:])
                    home += at_home[middle]
                all_none += none
                all_one += one
                all_home += home
        counts[b, 0] = all_none
        counts[b, 1] = all_home
        counts[b, 2] = all_one - all_home
        counts[b, 3] = m * n - all_none - all_one


@njit(nogil=True, cache=True, inline="always")
def _add_passing(values, threshold, passing):  # type: ignore[no-untyped-def]
    for h in range(values.size // 2):
        real, imag = values[2 * h], values[2 * h + 1]
        passing[h] += np.int32(real * real + imag * imag > threshold)


@njit(nogil=True, cache=True)
def _peak(lines, r, s, m, n):  # type: ignore[no-untyped-def]
    """Largest power of the mean of the folds."""
    direct = np.empty(2 * m, lines.dtype)
    turned = np.empty(2 * m, lines.dtype)
    largest = np.zeros(m, lines.dtype)
    for w in range(n // 2 + 1):
        direct[:] = 0
        turned[:] = 0
        for j in range(s):
            if 2 * j < s:
                line = lines[j * n + w]
                for i in range(r):
                    _add(line[2 * i * m : 2 * (i + 1) * m], direct)
            else:
                line = lines[(s - j) * n - w]
                for i in range(r):
                    _add(line[2 * i * m : 2 * (i + 1) * m], turned)
        direct[0] += turned[0]
        direct[1] -= turned[1]
        for h in range(1, m):
            direct[2 * h] += turned[2 * (m - h)]
            direct[2 * h + 1] -= turned[2 * (m - h) + 1]
        for h in range(m):
            power = direct[2 * h] * direct[2 * h] + direct[2 * h + 1] * direct[2 * h + 1]
            largest[h] = power if power > largest[h] else largest[h]
    return largest.max() / lines.dtype.type((r * s) ** 2)


@njit(nogil=True, cache=True, inline="always")
def _add(values, total):  # type: ignore[no-untyped-def]
    for h in range(values.size):
        total[h] += values[h]


def _compiled(function: Any, *, parallel: bool) -> Any:
    """Compile a function; the one for several threads has a name, and so a file, of its own."""
    name = f"{function.__name__}_parallel" if parallel else function.__name__
    copy = types.FunctionType(function.__code__, function.__globals__, name)
    copy.__qualname__ = name
    copy.__module__ = function.__module__
    return njit(nogil=True, cache=True, parallel=parallel)(copy)


def _peaks(spectra, rate, bins, peaks):  # type: ignore[no-untyped-def]
    for b in prange(spectra.shape[0]):
        peaks[b] = _peak(spectra[b], rate[0], rate[1], bins[0], bins[1])


_ALONE = {each: _compiled(each, parallel=False) for each in (_prepare, _turn, _peaks, _count)}
_TOGETHER = {each: _compiled(each, parallel=True) for each in (_prepare, _turn, _peaks, _count)}

_process: int | None = None
"""That started numba's threads. A child that it forks has none, and waits for them for ever."""


def _run(function: Any, threads: int, *arguments: Any) -> None:
    """Run on as many threads as torch has, and as numba can have.

    Numba and torch share what counts OpenMP's threads, and numba sets it when it starts its own, so
    torch is given its number back.
    """
    global _process
    threads = min(threads, int(getattr(config, "NUMBA_NUM_THREADS", 1)))
    if threads == 1 or _process not in (None, os.getpid()):
        _ALONE[function](*arguments)
        return
    before = torch.get_num_threads()
    _process = os.getpid()
    set_num_threads(threads)
    _TOGETHER[function](*arguments)
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


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
    _run(_prepare, threads, signals, rate, padded, finite, energy)
    return finite, energy


def turn(spectra: Array, out: Array, threads: int) -> None:
    """Write spectra of rows, (B, H, half), into the first H columns of (B, half, L)."""
    _run(_turn, threads, spectra, out)


def peaks(spectra: Array, rate: tuple[int, int], bins: tuple[int, int], threads: int) -> Array:
    """Largest powers of the decimated signals' spectra, (B,); arguments as for `count`."""
    parts = spectra.view(spectra.real.dtype)
    found = np.empty(len(spectra), parts.dtype)
    _run(_peaks, threads, parts, rate, bins, found)
    return found


def count(
    spectra: Array,
    rate: tuple[int, int],
    bins: tuple[int, int],
    references: Array | None,
    ratio: float,
    threads: int,
) -> Array:
    """Count the bins of each category.

    Parameters
    ----------
    spectra : ndarray of complex, shape (B, half, rows)
        Half spectra: the last spatial axis, of which half is there, then the first.
    rate, bins : (int, int)
        Decimation rate and bins M, of rows and of the last axis.
    references : ndarray of float, shape (B,), or None
        Reference levels; None takes the largest power of the decimated signals' spectra.
    ratio : float
        Threshold over reference level.
    threads : int
        Threads to use.

    Returns
    -------
    ndarray of int64, shape (B, 4)
    """
    parts = spectra.view(spectra.real.dtype)
    counts = np.empty((len(spectra), 4), np.int64)
    of_peak = references is None
    given = np.empty(len(spectra), parts.dtype) if references is None else references
    ratios = parts.dtype.type(ratio)
    _run(_count, threads, parts, rate, bins, given, of_peak, ratios, counts)
    return counts
