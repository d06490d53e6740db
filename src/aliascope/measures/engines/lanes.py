"""Counting several signals at once, one in each lane of a vector, compiled for the CPU.

The half spectrum and its twins are those of :mod:`aliascope.measures.engines.half_spectrum`. Here
a thread takes as many signals as a vector has lanes, and does all of it while they are in its
cache: their rows' transforms, two rows of a signal as the real and the imaginary part of one; then,
for each column of bins, the transforms of the columns that hold its folds, and the counting. What a
signal's count is depends on no other signal.

Arrays of a thread lie in one memory of its own, as complex numbers, see
:mod:`aliascope.measures.engines.fourier`:

* samples, (rows / 2, W + 1): two rows as one, and a zero after each;
* rows, (H + 1, L_w / 2 + 1): half the spectrum of each row, and a row of zeros;
* columns, (rate, L_h): the spectra of the columns with the folds of a column of bins;
* line, of a row, and scratch for the transforms.

Compiled by numba at the first use, and kept on disk for the next.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from aliascope.measures.engines.compiling import MEMORY, kept, run
from aliascope.measures.engines.fourier import plan, put, ready, room, take, transform
from aliascope.measures.engines.gathering import flat
from aliascope.measures.engines.half_spectrum import NOT_FINITE, parts_to_copy, working_dtype
from aliascope.measures.engines.vectors import (
    WIDTHS,
    above,
    begin,
    constant,
    counted,
    larger,
    lesser,
    load,
    read,
    store,
    write,
)
from aliascope.spectrum import Criterion, bin_counts

Array = NDArray[Any]

SMALL = 4 << 20
"""Bytes that as many signals as there are lanes may take to be called small."""


class Task(NamedTuple):
    """What is counted, as compiled code takes it.

    Attributes
    ----------
    shape, strides : (int, int, int, int)
        Of the signals, (N, C, H, W).
    rate, bins : (int, int)
        Of rows and of the last axis.
    of_peak : bool
        Whether the reference level is the largest power, or the mean.
    """

    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    rate: tuple[int, int]
    bins: tuple[int, int]
    of_peak: bool


class Plans(NamedTuple):
    """Of rows and columns of padded signals and of decimated ones, in that order, filled up."""

    lengths: tuple[int, int, int, int]
    radices: Array
    twiddles: Array
    chirps: Array


@functools.lru_cache(maxsize=64)
def _plans(lengths: tuple[int, int, int, int], kind: str) -> Plans:
    made = []
    for arrays in zip(*(plan(length, kind) for length in lengths), strict=True):
        longest = max(array.size for array in arrays)
        filled = np.zeros((len(lengths), longest), arrays[0].dtype)
        for row, array in zip(filled, arrays, strict=True):
            row[: array.size] = array
        made.append(filled)
    return Plans(lengths, *made)


class Places(NamedTuple):
    """Where a thread's arrays begin in its memory, and how large that is."""

    samples: int
    rows: int
    columns: int
    line: int
    scratch: int
    levels: int
    end: int


def _count(  # type: ignore[no-untyped-def]
    signals, shape, strides, rate, bins, of_peak, lengths, radices, twiddles, chirps, places,
    memory, ratios, tallies, finite, counts, lanes,
):  # fmt: skip
    groups = -(-len(finite) // len(lanes))
    threads = len(memory)
    for thread in prange(threads):
        task = Task(shape, strides, rate, bins, of_peak)
        m, tally = begin(memory[thread]), begin(tallies[thread])
        plans = (
            ready(lengths[0], radices[0], twiddles[0], chirps[0]),
            ready(lengths[1], radices[1], twiddles[1], chirps[1]),
            ready(lengths[2], radices[2], twiddles[2], chirps[2]),
            ready(lengths[3], radices[3], twiddles[3], chirps[3]),
        )
        for group in range(thread, groups, threads):
            first = group * len(lanes)
            last = min(first + len(lanes), len(finite))
            values = begin(signals), first
            _count_group(values, task, plans, places, m, ratios, tally, finite[first:last], lanes)
            _add_up(tally, task.bins[0] * task.bins[1], counts[first:last], lanes)


@kept
def _count_group(signals, task, plans, places, m, ratios, tallies, finite, lanes):  # type: ignore[no-untyped-def]
    rows, columns, decimated_rows, decimated_columns = plans
    _gather(signals, task, m, places.samples, lanes)
    _scale(task, m, places, finite, lanes)
    reference = _decimate(task, decimated_rows, m, places, lanes)
    if task.of_peak:
        reference = _peak(task, decimated_columns, m, places, lanes)
    for level in range(ratios.size):
        store(m, places.levels + level * len(lanes), reference * constant(m, ratios[level], lanes))
    for at in range(0, 6 * ratios.size * len(lanes), len(lanes)):
        store(tallies, at, constant(tallies, 0, lanes))
    _transform_rows(task, rows, m, places, lanes)
    for column in range(task.bins[1] // 2 + 1):
        _transform_columns(column, task, columns, m, places, lanes)
        _tally_column(column, task, m, places, ratios.size, tallies, lanes)


@njit(nogil=True, inline="always")
def _gather(signals, task, m, samples, lanes):  # type: ignore[no-untyped-def]
    """Write the signals of a group, two rows as one."""
    values, first = signals
    count, channels, height, width = task.shape
    of_sample, of_channel, of_row, of_value = task.strides
    in_order = of_channel == 1 and first % channels + len(lanes) <= channels
    zero = constant(m, 0, lanes)
    for pair in range((height + 1) // 2):
        line = samples + 2 * len(lanes) * pair * (width + 1)
        put(m, line, width, (zero, zero), lanes)
        for part in range(2):
            row = 2 * pair + part
            at = line + part * len(lanes)
            if row == height:
                for w in range(width):
                    store(m, at + 2 * len(lanes) * w, zero)
            elif in_order:
                start = first // channels * of_sample + first % channels + row * of_row
                for w in range(width):
                    store(m, at + 2 * len(lanes) * w, load(values, start + w * of_value, lanes))
            else:
                for lane in range(len(lanes)):
                    k = first + lane if first + lane < count * channels else first
                    start = k // channels * of_sample + k % channels * of_channel + row * of_row
                    for w in range(width):
                        # Lanes that are left over take the first signal.
                        value = read(values, start + w * of_value)
                        write(m, at + 2 * len(lanes) * w + lane, value)


@njit(nogil=True, inline="always")
def _scale(task, m, places, finite, lanes):  # type: ignore[no-untyped-def]
    """Scale each signal by the power of two that brings its peak near a half."""
    width = len(lanes)
    end = places.samples + 2 * width * ((task.shape[2] + 1) // 2) * (task.shape[3] + 1)
    zero = constant(m, 0, lanes)
    peak, undefined = zero, zero
    for at in range(places.samples, end, width):
        value = load(m, at, lanes)
        peak = larger(peak, larger(value, zero - value))
        undefined = undefined + value * zero  # NaN where a value is NaN or infinite
    store(m, places.line, peak)
    store(m, places.line + width, undefined)
    for lane in range(width):
        exponent = 0
        is_finite = read(m, places.line + width + lane) == 0
        if is_finite:
            exponent = min(125, max(-125, math.frexp(read(m, places.line + lane))[1]))
        if lane < finite.size:
            finite[lane] = is_finite
        write(m, places.line + lane, math.ldexp(0.5, -exponent))
    scale = load(m, places.line, lanes)
    for at in range(places.samples, end, width):
        store(m, at, load(m, at, lanes) * scale)


@njit(nogil=True, inline="always")
def _decimate(task, of_rows, m, places, lanes):  # type: ignore[no-untyped-def]
    """Transform the rows of the decimated signals, and give the mean power of their spectra."""
    rate = task.rate
    height, width = -(-task.shape[2] // rate[0]), -(-task.shape[3] // rate[1])
    zero = constant(m, 0, lanes)
    energy = zero
    for pair in range((height + 1) // 2):
        for part in range(2):
            row = (2 * pair + part) * rate[0]
            at = places.samples + 2 * len(lanes) * (row // 2) * (task.shape[3] + 1)
            at += row % 2 * len(lanes)
            of_row = zero
            for w in range(width):
                value = zero
                if row < task.shape[2]:
                    value = load(m, at + 2 * len(lanes) * w * rate[1], lanes)
                store(m, places.line + (2 * w + part) * len(lanes), value)
                of_row = of_row + value * value
            energy = energy + of_row
        if task.of_peak:
            put(m, places.line, width, (zero, zero), lanes)
            _transform_pair(m, places.line, width, pair, places, of_rows, lanes)
    # Parseval: the mean over M bins of the power is the sum of the squared samples.
    return energy * constant(m, 4, lanes)


@njit(nogil=True, inline="always")
def _transform_rows(task, of_rows, m, places, lanes):  # type: ignore[no-untyped-def]
    height, width = task.shape[2:]
    for pair in range((height + 1) // 2):
        line = places.samples + 2 * len(lanes) * pair * (width + 1)
        _transform_pair(m, line, width, pair, places, of_rows, lanes)
    _clear_row(m, places, height, of_rows.length // 2 + 1, lanes)


@njit(nogil=True, inline="always")
def _transform_pair(m, line, width, pair, places, of_rows, lanes):  # type: ignore[no-untyped-def]
    """Transform two rows as one, and write half the spectrum of each, times two."""
    length = of_rows.length
    half = length // 2 + 1
    out = places.columns
    transform(m, line, np.intp(1), width, out, places.scratch, of_rows, lanes)
    for k in range(half):
        a = take(m, out, k, lanes)
        b = take(m, out, length - k if k else 0, lanes)
        put(m, places.rows, 2 * pair * half + k, (a[0] + b[0], a[1] - b[1]), lanes)
        put(m, places.rows, (2 * pair + 1) * half + k, (a[1] + b[1], b[0] - a[0]), lanes)


@njit(nogil=True, inline="always")
def _clear_row(m, places, row, half, lanes):  # type: ignore[no-untyped-def]
    zero = constant(m, 0, lanes)
    for k in range(row * half, (row + 1) * half):
        put(m, places.rows, k, (zero, zero), lanes)


@njit(nogil=True, inline="always")
def _peak(task, of_columns, m, places, lanes):  # type: ignore[no-untyped-def]
    """Largest power of the decimated signals' spectra, of which the rows are transformed."""
    height = -(-task.shape[2] // task.rate[0])
    half = task.bins[1] // 2 + 1
    _clear_row(m, places, height, half, lanes)
    peak = constant(m, 0, lanes)
    for column in range(half):
        start = places.rows + 2 * len(lanes) * column
        transform(m, start, half, height, places.columns, places.scratch, of_columns, lanes)
        for k in range(task.bins[0]):
            peak = larger(peak, _power(m, places.columns, k, lanes))
    return peak


@njit(nogil=True, inline="always")
def _transform_columns(column, task, of_columns, m, places, lanes):  # type: ignore[no-untyped-def]
    """Transform those with the folds of a column of bins, or with their twins."""
    rate, bins = task.rate[1], task.bins[1]
    half = rate * bins // 2 + 1
    for j in range(rate):
        k = j * bins + column if 2 * j < rate else (rate - j) * bins - column
        out = places.columns + 2 * len(lanes) * j * of_columns.length
        start = places.rows + 2 * len(lanes) * k
        transform(m, start, half, task.shape[2], out, places.scratch, of_columns, lanes)


@njit(nogil=True, inline="always")
def _tally_column(column, task, m, places, levels, tallies, lanes):  # type: ignore[no-untyped-def]
    """Tally a column of bins; one that stands for its twins too, in the second half of tallies.

    Rows below the middle are at home in the first fold, the others in the last. At the middle of an
    even number of rows the twin's home, seen from here, is the first. The middle of an even number
    of columns is at home in the last fold of columns, but holds its own twins, whose home is the
    first.
    """
    rows, last = task.bins[0], task.rate[0] - 1
    twice = 0 < column < task.bins[1] - column
    for row in range(rows):
        first, second = _largest_two(m, places.columns, row, rows, task.rate, lanes)
        home = _power(m, places.columns, row if 2 * row < rows else last * rows + row, lanes)
        at = places.scratch + 3 * row * len(lanes)
        store(m, at, home)
        store(m, at + len(lanes), first)
        store(m, at + 2 * len(lanes), second)
    out = 3 * levels * len(lanes) if twice else 0
    _tally(m, places, rows, levels, tallies, out, lanes)
    if twice and rows % 2 == 0:
        middle = rows // 2
        of_twins = _power(m, places.columns, middle, lanes)
        at = places.scratch + 3 * middle * len(lanes)
        _tally_twins(m, places, at, levels, of_twins, tallies, lanes)


@njit(nogil=True, inline="always")
def _largest_two(m, columns, row, rows, rate, lanes):  # type: ignore[no-untyped-def]
    """Give the two largest powers of a bin's folds."""
    first = second = constant(m, 0, lanes)
    length = rate[0] * rows
    for j in range(rate[1]):
        fold = columns + 2 * len(lanes) * j * length
        twins = 2 * j >= rate[1]  # whose rows are in the opposite order
        for i in range(rate[0]):
            k = i * rows + row
            power = _power(m, fold, length - k if twins and k else k, lanes)
            second = larger(second, lesser(first, power))
            first = larger(first, power)
    return first, second


@njit(nogil=True, inline="always")
def _tally(m, places, rows, levels, tallies, out, lanes):  # type: ignore[no-untyped-def]
    """Tally bins at each level: one fold passes or more, more do, or only the home fold."""
    for level in range(levels):
        threshold = load(m, places.levels + level * len(lanes), lanes)
        some = many = only_home = constant(tallies, 0, lanes)
        for row in range(rows):
            at = places.scratch + 3 * row * len(lanes)
            home, first, second = _three(m, at, lanes)
            more = above(second, threshold)
            some = counted(some, above(first, threshold))
            many = counted(many, more)
            only_home = counted(only_home, above(home, threshold) & ~more)
        at = out + 3 * level * len(lanes)
        _add(tallies, at, some, lanes)
        _add(tallies, at + len(lanes), many, lanes)
        _add(tallies, at + 2 * len(lanes), only_home, lanes)


@njit(nogil=True, inline="always")
def _tally_twins(m, places, at, levels, of_twins, tallies, lanes):  # type: ignore[no-untyped-def]
    """Make up for a bin that was tallied twice, though its twin's home is another fold."""
    home, _, second = _three(m, at, lanes)
    none = constant(tallies, 0, lanes)
    for level in range(levels):
        threshold = load(m, places.levels + level * len(lanes), lanes)
        no_more = ~above(second, threshold)
        too_many = counted(none, above(home, threshold) & no_more)
        too_few = counted(none, above(of_twins, threshold) & no_more)
        _add(tallies, (3 * level + 2) * len(lanes), too_few - too_many, lanes)


@njit(nogil=True)
def _three(m, at, lanes):  # type: ignore[no-untyped-def]
    second, third = at + len(lanes), at + 2 * len(lanes)
    return load(m, at, lanes), load(m, second, lanes), load(m, third, lanes)


@njit(nogil=True)
def _add(tallies, at, found, lanes):  # type: ignore[no-untyped-def]
    store(tallies, at, load(tallies, at, lanes) + found)


@njit(nogil=True)
def _power(m, start, index, lanes):  # type: ignore[no-untyped-def]
    real, imag = take(m, start, index, lanes)
    return real * real + imag * imag


@njit(nogil=True)
def _add_up(tallies, bins, counts, lanes):  # type: ignore[no-untyped-def]
    signals, levels = counts.shape[:2]
    twice = 3 * levels * len(lanes)
    for lane in range(signals):
        for level in range(levels):
            at = 3 * level * len(lanes) + lane
            some = read(tallies, at) + 2 * read(tallies, twice + at)
            at += len(lanes)
            more = read(tallies, at) + 2 * read(tallies, twice + at)
            at += len(lanes)
            only_home = read(tallies, at) + 2 * read(tallies, twice + at)
            counts[lane, level, 0] = bins - some
            counts[lane, level, 1] = only_home
            counts[lane, level, 2] = some - more - only_home
            counts[lane, level, 3] = more


def _places(task: Task, levels: int, lanes: int) -> Places:
    height, width = task.shape[2:]
    length = tuple(r * m for r, m in zip(task.rate, task.bins, strict=True))
    numbers = (
        (height + 1) // 2 * (width + 1),  # samples
        (height + 1) * (length[1] // 2 + 1),  # rows
        max(task.rate[1] * length[0], length[1]),  # columns, and what comes out of a row
        width + 1,  # line
        max(room(n) for n in (*length, *task.bins)),  # scratch
        -(-levels // 2),  # levels
    )
    starts = np.cumsum((0, *(2 * lanes * n for n in numbers)))
    return Places(*(int(start) for start in starts))


def _choose_lanes(
    task: Task, ratios: Array, workspace: int | None, threads: int
) -> tuple[int, int]:
    """Choose lanes and threads that the workspace has room for, and that have something to do.

    Code is compiled for each number of lanes, so small signals are given the largest always.
    """
    signals = task.shape[0] * task.shape[1]
    sizes = {lanes: ratios.itemsize * _places(task, ratios.size, lanes).end for lanes in WIDTHS}
    small = sizes[WIDTHS[0]] <= (SMALL if workspace is None else min(SMALL, workspace))
    ways = []
    for lanes, size in sizes.items():
        if small and lanes < WIDTHS[0]:
            continue
        groups = -(-signals // lanes)
        used = max(1, min(threads, groups))
        if workspace is not None:
            used = max(1, min(used, workspace // size))
        too_much = 0 if workspace is None else max(0, used * size - workspace)
        # Half as many lanes take more than half the time.
        time = -(-groups // used) * (1.0 if lanes == WIDTHS[0] else 0.6)
        ways.append((too_much, time, lanes, used))
    *_, lanes, used = min(ways)
    return lanes, used


def count(
    dense: Tensor,
    rate: Sequence[int],
    criterion: Criterion,
    ratios: Sequence[float],
    workspace: int | None = None,
) -> Tensor:
    """Count the bins of each category, at several thresholds.

    Parameters
    ----------
    dense, rate, criterion, workspace
        See :func:`aliascope.measures.engines.count_categories`. On a CPU, of one axis or two.
    ratios : sequence of float
        Thresholds over the reference level, in place of the criterion's.

    Returns
    -------
    Tensor of int64, shape (N * C, len(ratios), 4)

    Examples
    --------
    >>> count(torch.ones(1, 1, 4, 4), (2, 2), Criterion(grid="native"), [0.01])
    tensor([[[3, 1, 0, 0]]])
    """
    dense, dtype = dense.resolve_neg(), working_dtype(dense.dtype)
    shape = (dense.shape[0] * dense.shape[1], len(ratios), 4)
    counts = torch.empty(shape, dtype=torch.int64, device="cpu")
    numbers = np.array(ratios, str(dtype).removeprefix("torch."))
    done = 0
    for part in [dense] if dense.dtype == dtype else parts_to_copy(dense, workspace):
        signals, task = _task(part.to(dtype), rate, criterion)
        found = counts[done : done + signals.shape[0] * signals.shape[1]]
        _run(signals, task, numbers, found, workspace)
        done += len(found)
    return counts


def fits(dense: Tensor, rate: Sequence[int], criterion: Criterion, workspace: int) -> bool:
    """Whether the workspace has room for as many signals as are counted at once at least."""
    _, task = _task(dense, rate, criterion)
    itemsize = working_dtype(dense.dtype).itemsize
    return itemsize * _places(task, 1, min(WIDTHS)).end <= workspace


def _task(dense: Tensor, rate: Sequence[int], criterion: Criterion) -> tuple[Tensor, Task]:
    """Give the signals with two axes, and what is to be done with them."""
    signals = dense if dense.ndim == 4 else dense.unsqueeze(2)
    by = (1, rate[0]) if dense.ndim == 3 else (rate[0], rate[1])
    count, channels, height, width = signals.shape
    of_sample, of_channel, of_row, of_value = signals.stride()
    bins = bin_counts((height, width), by, criterion.grid_for(rate))
    task = Task(
        (count, channels, height, width),
        (of_sample, of_channel, of_row, of_value),
        by,
        (bins[0], bins[1]),
        criterion.reference == "max",
    )
    return signals, task


def _run(signals: Tensor, task: Task, ratios: Array, counts: Tensor, workspace: int | None) -> None:
    kind = str(ratios.dtype)
    (r_h, r_w), (m_h, m_w) = task.rate, task.bins
    plans = _plans((r_w * m_w, r_h * m_h, m_w, m_h), kind)
    if workspace is not None:  # of which the signals themselves are a part
        taken = signals.numel() * signals.element_size()
        workspace = max(workspace // 2, workspace - taken)
    available = torch.get_num_threads()
    lanes, threads = _choose_lanes(task, ratios, workspace, available)
    places = _places(task, ratios.size, lanes)
    memory = MEMORY.of(threads, places.end, ratios.dtype)
    tallies = np.empty((threads, 6 * lanes * ratios.size), np.int32)
    finite = np.empty(len(counts), np.bool_)
    found = counts.numpy()
    arrays = (flat(signals), *task, *plans, places, memory, ratios, tallies, finite, found)
    run(_count, available, *arrays, (0,) * lanes)
    found[~finite] = NOT_FINITE
