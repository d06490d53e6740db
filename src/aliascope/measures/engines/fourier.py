"""Discrete Fourier transforms of several signals at once, one in each lane of a vector.

Nothing is shuffled within a vector, as every lane does the same; a transform of one signal has to.
Complex numbers are two vectors next to each other: all real parts, then all imaginary ones.

The algorithm is Stockham's, as C. Van Loan, *Computational Frameworks for the Fast Fourier
Transform* (SIAM, 1992), section 1.7, has it, with a pass for each factor of the length. A pass of
radix p takes p numbers that lie a p-th of the transform apart, transforms them, and writes them
next to each other, times the twiddle factors of the transforms that are left.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from aliascope.measures.engines.vectors import begin, constant, load, read, splat, store

Array = NDArray[Any]

ROOT = math.sqrt(0.5)
COS3, SIN3 = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
COS5 = math.cos(2 * math.pi / 5), math.cos(4 * math.pi / 5)
SIN5 = math.sin(2 * math.pi / 5), math.sin(4 * math.pi / 5)
COS7 = math.cos(2 * math.pi / 7), math.cos(4 * math.pi / 7), math.cos(6 * math.pi / 7)
SIN7 = math.sin(2 * math.pi / 7), math.sin(4 * math.pi / 7), math.sin(6 * math.pi / 7)

WRITTEN_OUT = (2, 3, 4, 5, 7, 8)
"""Radices with a pass of their own; those of other primes take a number of steps that grows with
the prime."""


class Plan(NamedTuple):
    """How signals of a length are transformed.

    Attributes
    ----------
    radices : ndarray of int
        Whose product is the length; of 1 it has a single 1.
    twiddles : ndarray of float
        Of each pass: the radix less one for each of the transforms that it leaves; and where its
        radix is not written out, the roots of unity of that order. Real and imaginary part in turn.
    """

    radices: Array
    twiddles: Array


class Ready(NamedTuple):
    """A plan as compiled code uses it: its length, its passes, and where its arrays begin."""

    length: int
    passes: int
    radices: Any
    twiddles: Any


@functools.lru_cache(maxsize=256)
def plan(length: int, dtype: str) -> Plan:
    """Plan the transforms of a length, with twiddle factors of a kind.

    Examples
    --------
    >>> plan(224, "float32").radices.tolist()
    [8, 4, 7]
    """
    radices = _radices(length)
    twiddles, left = [], length
    for radix in radices:
        left //= radix
        turns = np.outer(np.arange(left), np.arange(1, radix)).ravel() / (left * radix)
        twiddles.append(turns)
        if radix not in WRITTEN_OUT:
            twiddles.append(np.arange(radix) / radix)
    parts = np.exp(-2j * np.pi * np.concatenate(twiddles)).view(float)
    return Plan(np.array(radices), parts.astype(dtype))


def _radices(length: int) -> list[int]:
    twos = (length & -length).bit_length() - 1
    radices, left = [], length >> twos
    while twos:
        power = 3 if twos == 3 or twos > 4 else min(twos, 2)  # 16 is 4 times 4
        radices.append(2**power)
        twos -= power
    factor = 3
    while left > 1:
        while left % factor == 0:
            radices.append(factor)
            left //= factor
        factor += 2
    return radices or [1]


@njit(nogil=True, cache=True)
def ready(radices, twiddles):  # type: ignore[no-untyped-def]
    """Make a plan ready, for as long as its arrays are kept. Radices may be filled up with 0."""
    length, passes = 1, 0
    for radix in radices:
        if radix:
            length *= radix
            passes += 1
    return Ready(length, passes, begin(radices), begin(twiddles))


@njit(nogil=True, cache=True)
def transform(m, x, step, filled, y, scratch, plan, lanes):  # type: ignore[no-untyped-def]
    """Transform complex numbers, so far apart, of which the first so many are not zero.

    Parameters
    ----------
    m : pointer to float
        The memory in which all of this lies.
    x, y, scratch : int
        Where what is transformed begins, what comes out, and room for twice as much as that.
    step, filled : int
        Number n starts at ``x + 2 * len(lanes) * n * step``; the one after the last that is filled
        has to be zero.
    plan : Ready
    lanes : tuple
        As long as there are lanes.
    """
    length, passes, radices, w = plan
    left, done, at = length, 1, 0
    a, b = scratch, scratch + 2 * len(lanes) * length
    for i in range(passes):
        radix = read(radices, i)
        left //= radix
        out = y if left == 1 else a
        if radix == 8:
            _pass_8(m, x, step, filled, out, left, done, w, at, lanes)
        elif radix == 4:
            _pass_4(m, x, step, filled, out, left, done, w, at, lanes)
        elif radix == 7:
            _pass_7(m, x, step, filled, out, left, done, w, at, lanes)
        elif radix == 2:
            _pass_2(m, x, step, filled, out, left, done, w, at, lanes)
        elif radix == 3:
            _pass_3(m, x, step, filled, out, left, done, w, at, lanes)
        elif radix == 5:
            _pass_5(m, x, step, filled, out, left, done, w, at, lanes)
        else:
            _pass_odd(m, x, step, filled, out, radix, left, done, w, at, lanes)
            at += radix
        at += left * (radix - 1)
        done *= radix
        x, step, filled = a, np.intp(1), length
        a, b = b, a


# A pass: of `left * radix * done` numbers, those of each of `done` transforms are so far apart.


@njit(nogil=True, cache=True)
def _pass_2(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            o = k + done * q
            put(m, y, o, _plus(a, b), lanes)
            put(m, y, o + done, _turned(_minus(a, b), w, at + q, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_3(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos, sin = constant(m, COS3, lanes), constant(m, SIN3, lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            c = _take(m, x, step, filled, k + 2 * done * left, lanes)
            sums = _plus(b, c)
            e, f = _plus(a, _times(sums, cos)), _times(_minus(b, c), sin)
            o = k + 2 * done * q
            put(m, y, o, _plus(a, sums), lanes)
            put(m, y, o + done, _turned(_minus_i(e, f), w, at + 2 * q, lanes), lanes)
            put(m, y, o + 2 * done, _turned(_plus_i(e, f), w, at + 2 * q + 1, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_4(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            c = _take(m, x, step, filled, k + 2 * done * left, lanes)
            d = _take(m, x, step, filled, k + 3 * done * left, lanes)
            a, b, c, d = _of_4(a, b, c, d)
            o = k + 3 * done * q
            put(m, y, o, a, lanes)
            put(m, y, o + done, _turned(b, w, at + 3 * q, lanes), lanes)
            put(m, y, o + 2 * done, _turned(c, w, at + 3 * q + 1, lanes), lanes)
            put(m, y, o + 3 * done, _turned(d, w, at + 3 * q + 2, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_5(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos1, cos2 = constant(m, COS5[0], lanes), constant(m, COS5[1], lanes)
    sin1, sin2 = constant(m, SIN5[0], lanes), constant(m, SIN5[1], lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            c = _take(m, x, step, filled, k + 2 * done * left, lanes)
            d = _take(m, x, step, filled, k + 3 * done * left, lanes)
            e = _take(m, x, step, filled, k + 4 * done * left, lanes)
            sum1, sum2, apart1, apart2 = _plus(b, e), _plus(c, d), _minus(b, e), _minus(c, d)
            even1 = _plus(a, _plus(_times(sum1, cos1), _times(sum2, cos2)))
            even2 = _plus(a, _plus(_times(sum1, cos2), _times(sum2, cos1)))
            odd1 = _plus(_times(apart1, sin1), _times(apart2, sin2))
            odd2 = _minus(_times(apart1, sin2), _times(apart2, sin1))
            o = k + 4 * done * q
            put(m, y, o, _plus(a, _plus(sum1, sum2)), lanes)
            put(m, y, o + done, _turned(_minus_i(even1, odd1), w, at + 4 * q, lanes), lanes)
            put(m, y, o + 2 * done, _turned(_minus_i(even2, odd2), w, at + 4 * q + 1, lanes), lanes)
            put(m, y, o + 3 * done, _turned(_plus_i(even2, odd2), w, at + 4 * q + 2, lanes), lanes)
            put(m, y, o + 4 * done, _turned(_plus_i(even1, odd1), w, at + 4 * q + 3, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_7(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos1, cos2 = constant(m, COS7[0], lanes), constant(m, COS7[1], lanes)
    cos3, sin3 = constant(m, COS7[2], lanes), constant(m, SIN7[2], lanes)
    sin1, sin2 = constant(m, SIN7[0], lanes), constant(m, SIN7[1], lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            c = _take(m, x, step, filled, k + 2 * done * left, lanes)
            d = _take(m, x, step, filled, k + 3 * done * left, lanes)
            e = _take(m, x, step, filled, k + 4 * done * left, lanes)
            f = _take(m, x, step, filled, k + 5 * done * left, lanes)
            g = _take(m, x, step, filled, k + 6 * done * left, lanes)
            sum1, sum2, sum3 = _plus(b, g), _plus(c, f), _plus(d, e)
            apart1, apart2, apart3 = _minus(b, g), _minus(c, f), _minus(d, e)
            even1 = _plus(a, _of_3(sum1, cos1, sum2, cos2, sum3, cos3))
            even2 = _plus(a, _of_3(sum1, cos2, sum2, cos3, sum3, cos1))
            even3 = _plus(a, _of_3(sum1, cos3, sum2, cos1, sum3, cos2))
            odd1 = _of_3(apart1, sin1, apart2, sin2, apart3, sin3)
            odd2 = _of_3(apart1, sin2, _negative(apart2), sin3, _negative(apart3), sin1)
            odd3 = _of_3(apart1, sin3, _negative(apart2), sin1, apart3, sin2)
            o = k + 6 * done * q
            put(m, y, o, _plus(_plus(a, sum1), _plus(sum2, sum3)), lanes)
            put(m, y, o + done, _turned(_minus_i(even1, odd1), w, at + 6 * q, lanes), lanes)
            put(m, y, o + 2 * done, _turned(_minus_i(even2, odd2), w, at + 6 * q + 1, lanes), lanes)
            put(m, y, o + 3 * done, _turned(_minus_i(even3, odd3), w, at + 6 * q + 2, lanes), lanes)
            put(m, y, o + 4 * done, _turned(_plus_i(even3, odd3), w, at + 6 * q + 3, lanes), lanes)
            put(m, y, o + 5 * done, _turned(_plus_i(even2, odd2), w, at + 6 * q + 4, lanes), lanes)
            put(m, y, o + 6 * done, _turned(_plus_i(even1, odd1), w, at + 6 * q + 5, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_8(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    root, less = constant(m, ROOT, lanes), constant(m, -ROOT, lanes)
    half_empty = filled <= 4 * done * left
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            c = _take(m, x, step, filled, k + 2 * done * left, lanes)
            d = _take(m, x, step, filled, k + 3 * done * left, lanes)
            if half_empty:
                even0, even1, even2, even3 = _of_4(a, b, c, d)
            else:
                e = _take(m, x, step, filled, k + 4 * done * left, lanes)
                f = _take(m, x, step, filled, k + 5 * done * left, lanes)
                g = _take(m, x, step, filled, k + 6 * done * left, lanes)
                h = _take(m, x, step, filled, k + 7 * done * left, lanes)
                even0, even1, even2, even3 = _of_4(
                    _plus(a, e), _plus(b, f), _plus(c, g), _plus(d, h)
                )
                a, b, c, d = _minus(a, e), _minus(b, f), _minus(c, g), _minus(d, h)
            # Times the eighth roots of unity.
            b = (b[0] + b[1]) * root, (b[1] - b[0]) * root
            c = c[1], _negative(c)[0]
            d = (d[1] - d[0]) * root, (d[0] + d[1]) * less
            odd0, odd1, odd2, odd3 = _of_4(a, b, c, d)
            o = k + 7 * done * q
            put(m, y, o, even0, lanes)
            put(m, y, o + done, _turned(odd0, w, at + 7 * q, lanes), lanes)
            put(m, y, o + 2 * done, _turned(even1, w, at + 7 * q + 1, lanes), lanes)
            put(m, y, o + 3 * done, _turned(odd1, w, at + 7 * q + 2, lanes), lanes)
            put(m, y, o + 4 * done, _turned(even2, w, at + 7 * q + 3, lanes), lanes)
            put(m, y, o + 5 * done, _turned(odd2, w, at + 7 * q + 4, lanes), lanes)
            put(m, y, o + 6 * done, _turned(even3, w, at + 7 * q + 5, lanes), lanes)
            put(m, y, o + 7 * done, _turned(odd3, w, at + 7 * q + 6, lanes), lanes)


@njit(nogil=True, cache=True)
def _pass_odd(m, x, step, filled, y, radix, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    """Do it by the definition, both outputs of a pair at once."""
    roots = at + left * (radix - 1)
    half = (radix - 1) // 2
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            o = k + (radix - 1) * done * q
            first = _take(m, x, step, filled, k, lanes)
            whole = first
            for u in range(1, half + 1):
                even = first
                odd = _minus(first, first)
                for t in range(1, half + 1):
                    a = _take(m, x, step, filled, k + t * done * left, lanes)
                    b = _take(m, x, step, filled, k + (radix - t) * done * left, lanes)
                    i = roots + t * u % radix
                    cos, sin = splat(read(w, 2 * i), lanes), splat(read(w, 2 * i + 1), lanes)
                    even = _plus(even, _times(_plus(a, b), cos))
                    odd = _minus(odd, _times(_minus(a, b), sin))
                    if u == 1:
                        whole = _plus(whole, _plus(a, b))
                i = at + (radix - 1) * q + u - 1
                put(m, y, o + u * done, _turned(_minus_i(even, odd), w, i, lanes), lanes)
                i = at + (radix - 1) * (q + 1) - u
                put(m, y, o + (radix - u) * done, _turned(_plus_i(even, odd), w, i, lanes), lanes)
            put(m, y, o, whole, lanes)


@njit(nogil=True, cache=True)
def _of_4(a, b, c, d):  # type: ignore[no-untyped-def]
    sum0, sum1, apart0, apart1 = _plus(a, c), _plus(b, d), _minus(a, c), _minus(b, d)
    return _plus(sum0, sum1), _minus_i(apart0, apart1), _minus(sum0, sum1), _plus_i(apart0, apart1)


@njit(nogil=True, cache=True)
def _of_3(a, f, b, g, c, h):  # type: ignore[no-untyped-def]
    return a[0] * f + b[0] * g + c[0] * h, a[1] * f + b[1] * g + c[1] * h


@njit(nogil=True, cache=True)
def _take(m, x, step, filled, index, lanes):  # type: ignore[no-untyped-def]
    """Read a number; beyond what is filled, the zero after it."""
    return take(m, x, min(index, filled) * step, lanes)


@njit(nogil=True, cache=True)
def take(m, x, index, lanes):  # type: ignore[no-untyped-def]
    """Read a complex number of each lane."""
    at, width = x + 2 * len(lanes) * index, len(lanes)
    return load(m, at, lanes), load(m, at + width, lanes)


@njit(nogil=True, cache=True)
def put(m, y, index, number, lanes):  # type: ignore[no-untyped-def]
    """Write a complex number of each lane."""
    at, width = y + 2 * len(lanes) * index, len(lanes)
    store(m, at, number[0])
    store(m, at + width, number[1])


@njit(nogil=True, cache=True)
def _turned(a, w, index, lanes):  # type: ignore[no-untyped-def]
    real, imag = splat(read(w, 2 * index), lanes), splat(read(w, 2 * index + 1), lanes)
    return a[0] * real - a[1] * imag, a[0] * imag + a[1] * real


@njit(nogil=True, cache=True)
def _plus(a, b):  # type: ignore[no-untyped-def]
    return a[0] + b[0], a[1] + b[1]


@njit(nogil=True, cache=True)
def _minus(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[0], a[1] - b[1]


@njit(nogil=True, cache=True)
def _plus_i(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[1], a[1] + b[0]


@njit(nogil=True, cache=True)
def _minus_i(a, b):  # type: ignore[no-untyped-def]
    return a[0] + b[1], a[1] - b[0]


@njit(nogil=True, cache=True)
def _times(a, factor):  # type: ignore[no-untyped-def]
    return a[0] * factor, a[1] * factor


@njit(nogil=True, cache=True)
def _negative(a):  # type: ignore[no-untyped-def]
    return a[0] - a[0] - a[0], a[1] - a[1] - a[1]
