"""Discrete Fourier transforms of several signals at once, one in each lane of a vector.

Nothing is shuffled within a vector, as every lane does the same; a transform of one signal has to.
Complex numbers are two vectors next to each other: all real parts, then all imaginary ones.

The algorithm is Stockham's, as C. Van Loan, *Computational Frameworks for the Fast Fourier
Transform* (SIAM, 1992), section 1.7, has it, with a pass for each factor of the length. A pass of
radix p takes p numbers that lie a p-th of the transform apart, transforms them, and writes them
next to each other, times the twiddle factors of the transforms that are left.

Lengths with a large prime factor are a convolution with a chirp, by transforms of a length that has
none: L. I. Bluestein, "A linear filtering approach to the computation of the discrete Fourier
transform", IEEE Transactions on Audio and Electroacoustics 18 (1970).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from aliascope.measures.engines.compiling import kept
from aliascope.measures.engines.vectors import begin, constant, load, read, store

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

LARGEST_RADIX = 150
"""Above it, a chirp takes less time."""


class Plan(NamedTuple):
    """How signals of a length are transformed.

    Attributes
    ----------
    radices : ndarray of int
        Whose product is the length of the transforms; of 1 it has a single 1.
    twiddles : ndarray of float
        Of each pass: the radix less one for each of the transforms that it leaves; and where its
        radix is not written out, the roots of unity of that order. Real and imaginary part in turn.
    chirp : ndarray of float
        Where transforms are of another length: the chirp of the signals' length, and the spectrum
        with which they convolve. Real and imaginary part in turn.
    """

    radices: Array
    twiddles: Array
    chirp: Array


class Ready(NamedTuple):
    """A plan as compiled code uses it: lengths of signals and transforms, passes, and pointers."""

    length: int
    inner: int
    passes: int
    radices: Any
    twiddles: Any
    chirp: Any


@functools.lru_cache(maxsize=256)
def plan(length: int, dtype: str) -> Plan:
    """Plan the transforms of a length, with factors of a kind.

    Examples
    --------
    >>> plan(224, "float32").radices.tolist()
    [8, 4, 7]
    """
    inner = inner_length(length)
    radices = _radices(inner)
    turns, left = [], inner
    for radix in radices:
        left //= radix
        turns.append(np.outer(np.arange(left), np.arange(1, radix)).ravel() / (left * radix))
        if radix not in WRITTEN_OUT:
            turns.append(np.arange(radix) / radix)
    twiddles = np.exp(-2j * np.pi * np.concatenate(turns))
    chirp = np.zeros(0, complex)
    if inner != length:
        n = np.arange(length)
        chirp = np.exp(-1j * np.pi * (n * n % (2 * length)) / length)
        filtering = np.zeros(inner, complex)
        filtering[:length] = chirp.conj()
        filtering[inner - length + 1 :] = chirp[:0:-1].conj()
        chirp = np.concatenate([chirp, np.fft.fft(filtering) / inner])
    return Plan(np.array(radices), *(z.view(float).astype(dtype) for z in (twiddles, chirp)))


@functools.cache
def inner_length(length: int) -> int:
    """Give the length of the transforms that signals of a length take.

    Examples
    --------
    >>> inner_length(446), inner_length(223 * 2 + 1)
    (896, 447)
    """
    if max(_radices(length)) <= LARGEST_RADIX:
        return length
    inner = 2 * length - 1
    while max(_radices(inner)) > max(WRITTEN_OUT):
        inner += 1
    return inner


def room(length: int) -> int:
    """Give how many complex numbers of scratch transforms of signals of a length need."""
    inner = inner_length(length)
    return 3 * inner + 2 if inner == length else 5 * inner + 3


def _radices(length: int) -> list[int]:
    twos = (length & -length).bit_length() - 1
    radices, left = [], length >> twos
    while twos:
        power = 3 if twos == 3 or twos > 4 else min(twos, 2)  # 16 is 4 times 4
        radices.append(2**power)
        twos -= power
    factor = 3
    while factor * factor <= left:
        while left % factor == 0:
            radices.append(factor)
            left //= factor
        factor += 2
    return [*radices, left] if left > 1 or not radices else radices


@njit(nogil=True)
def ready(length, radices, twiddles, chirp):  # type: ignore[no-untyped-def]
    """Make a plan ready, for as long as its arrays are kept. Radices may be filled up with 0."""
    inner, passes = 1, 0
    for radix in radices:
        if radix:
            inner *= radix
            passes += 1
    return Ready(length, inner, passes, begin(radices), begin(twiddles), begin(chirp))


@kept
def transform(m, x, step, filled, y, scratch, plan, lanes):  # type: ignore[no-untyped-def]
    """Transform complex numbers, so far apart, of which the first so many are not zero.

    Parameters
    ----------
    m : pointer to float
        The memory in which all of this lies.
    x, y, scratch : int
        Where what is transformed begins, what comes out, and `room` for what is between.
    step, filled : int
        Number n starts at ``x + 2 * len(lanes) * n * step``; the one after the last that is filled
        has to be zero.
    plan : Ready
    lanes : tuple
        As long as there are lanes.
    """
    if plan.inner == plan.length:
        _transform(m, x, step, filled, y, scratch, plan, lanes)
        return
    length, inner, chirp = plan.length, plan.inner, plan.chirp
    size, one = 2 * len(lanes) * (inner + 1), np.intp(1)
    a, b, left = scratch, scratch + size, scratch + 2 * size
    for n in range(filled):
        put(m, a, n, _turned(take(m, x, n * step, lanes), chirp, n, lanes), lanes)
    zero = constant(m, 0, lanes)
    put(m, a, filled, (zero, zero), lanes)
    _transform(m, a, one, filled, b, left, plan, lanes)
    for k in range(inner):  # the inverse is the transform of the conjugate
        real, imag = _turned(take(m, b, k, lanes), chirp, length + k, lanes)
        put(m, b, k, (real, zero - imag), lanes)
    _transform(m, b, one, inner, a, left, plan, lanes)
    for k in range(length):
        real, imag = take(m, a, k, lanes)
        put(m, y, k, _turned((real, zero - imag), chirp, k, lanes), lanes)


@njit(nogil=True)
def _transform(m, x, step, filled, y, scratch, plan, lanes):  # type: ignore[no-untyped-def]
    """Do it pass by pass."""
    length, radices, w = plan.inner, plan.radices, plan.twiddles
    left, done, at = length, 1, 0
    size = 2 * len(lanes) * length
    a, b, spare = scratch, scratch + size, scratch + 2 * size
    for i in range(plan.passes):
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
            _pass_odd(m, x, step, filled, out, spare, radix, left, done, w, at, lanes)
            at += radix
        at += left * (radix - 1)
        done *= radix
        x, step, filled = a, np.intp(1), length
        a, b = b, a


# A pass transforms numbers that lie `done * left` apart, and writes them `done` apart.


@njit(nogil=True)
def _pass_2(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            b = _take(m, x, step, filled, k + done * left, lanes)
            o = k + done * q
            put(m, y, o, _plus(a, b), lanes)
            put(m, y, o + done, _turned(_minus(a, b), w, at + q, lanes), lanes)


@njit(nogil=True)
def _pass_3(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos, sin = constant(m, COS3, lanes), constant(m, SIN3, lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            sums, apart = _take_two(m, x, step, filled, k, 1, 3, done * left, lanes)
            o, i = k + 2 * done * q, at + 2 * q - 1
            put(m, y, o, _plus(a, sums), lanes)
            even, odd = _plus(a, _times(sums, cos)), _times(apart, sin)
            _put_two(m, y, o, done, even, odd, w, i, 1, 3, lanes)


@njit(nogil=True)
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


@njit(nogil=True)
def _pass_5(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos1, cos2 = constant(m, COS5[0], lanes), constant(m, COS5[1], lanes)
    sin1, sin2 = constant(m, SIN5[0], lanes), constant(m, SIN5[1], lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            sum1, apart1 = _take_two(m, x, step, filled, k, 1, 5, done * left, lanes)
            sum2, apart2 = _take_two(m, x, step, filled, k, 2, 5, done * left, lanes)
            o, i = k + 4 * done * q, at + 4 * q - 1
            put(m, y, o, _plus(a, _plus(sum1, sum2)), lanes)
            even = _plus(a, _plus(_times(sum1, cos1), _times(sum2, cos2)))
            odd = _plus(_times(apart1, sin1), _times(apart2, sin2))
            _put_two(m, y, o, done, even, odd, w, i, 1, 5, lanes)
            even = _plus(a, _plus(_times(sum1, cos2), _times(sum2, cos1)))
            odd = _minus(_times(apart1, sin2), _times(apart2, sin1))
            _put_two(m, y, o, done, even, odd, w, i, 2, 5, lanes)


@njit(nogil=True)
def _pass_7(m, x, step, filled, y, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    cos1, cos2 = constant(m, COS7[0], lanes), constant(m, COS7[1], lanes)
    cos3, sin3 = constant(m, COS7[2], lanes), constant(m, SIN7[2], lanes)
    sin1, sin2 = constant(m, SIN7[0], lanes), constant(m, SIN7[1], lanes)
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            a = _take(m, x, step, filled, k, lanes)
            sum1, apart1 = _take_two(m, x, step, filled, k, 1, 7, done * left, lanes)
            sum2, apart2 = _take_two(m, x, step, filled, k, 2, 7, done * left, lanes)
            sum3, apart3 = _take_two(m, x, step, filled, k, 3, 7, done * left, lanes)
            o, i = k + 6 * done * q, at + 6 * q - 1
            put(m, y, o, _plus(_plus(a, sum1), _plus(sum2, sum3)), lanes)
            even = _plus(a, _of_3(sum1, cos1, sum2, cos2, sum3, cos3))
            odd = _of_3(apart1, sin1, apart2, sin2, apart3, sin3)
            _put_two(m, y, o, done, even, odd, w, i, 1, 7, lanes)
            even = _plus(a, _of_3(sum1, cos2, sum2, cos3, sum3, cos1))
            odd = _of_3(apart1, sin2, _negative(apart2), sin3, _negative(apart3), sin1)
            _put_two(m, y, o, done, even, odd, w, i, 2, 7, lanes)
            even = _plus(a, _of_3(sum1, cos3, sum2, cos1, sum3, cos2))
            odd = _of_3(apart1, sin3, _negative(apart2), sin1, apart3, sin2)
            _put_two(m, y, o, done, even, odd, w, i, 3, 7, lanes)


@njit(nogil=True)
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


@njit(nogil=True)
def _pass_odd(m, x, step, filled, y, spare, radix, left, done, w, at, lanes):  # type: ignore[no-untyped-def]
    """Do it by the definition: outputs u and radix - u at once, and another four."""
    roots = at + left * (radix - 1)
    half = (radix - 1) // 2
    for q in range(left):
        for k in range(done * q, done * (q + 1)):
            o = k + (radix - 1) * done * q
            first = _take(m, x, step, filled, k, lanes)
            whole = first
            for t in range(1, half + 1):
                sums, apart = _take_two(m, x, step, filled, k, t, radix, done * left, lanes)
                whole = _plus(whole, sums)
                put(m, spare, 2 * t, sums, lanes)
                put(m, spare, 2 * t + 1, apart, lanes)
            put(m, y, o, whole, lanes)
            zero = _minus(first, first)
            for u in range(1, half + 1, 3):
                v, z = min(u + 1, half), min(u + 2, half)
                even_u, even_v, even_z = first, first, first
                odd_u, odd_v, odd_z = zero, zero, zero
                of_u, of_v, of_z = 0, 0, 0
                for t in range(1, half + 1):
                    of_u += u if of_u + u < radix else u - radix
                    of_v += v if of_v + v < radix else v - radix
                    of_z += z if of_z + z < radix else z - radix
                    sums, apart = take(m, spare, 2 * t, lanes), take(m, spare, 2 * t + 1, lanes)
                    cos, sin = _root(w, roots + of_u, lanes)
                    even_u = _plus(even_u, _times(sums, cos))
                    odd_u = _minus(odd_u, _times(apart, sin))
                    cos, sin = _root(w, roots + of_v, lanes)
                    even_v = _plus(even_v, _times(sums, cos))
                    odd_v = _minus(odd_v, _times(apart, sin))
                    cos, sin = _root(w, roots + of_z, lanes)
                    even_z = _plus(even_z, _times(sums, cos))
                    odd_z = _minus(odd_z, _times(apart, sin))
                i = at + (radix - 1) * q - 1
                _put_two(m, y, o, done, even_u, odd_u, w, i, u, radix, lanes)
                _put_two(m, y, o, done, even_v, odd_v, w, i, v, radix, lanes)
                _put_two(m, y, o, done, even_z, odd_z, w, i, z, radix, lanes)


@njit(nogil=True)
def _take_two(m, x, step, filled, k, t, radix, apart, lanes):  # type: ignore[no-untyped-def]
    """Give the sum of inputs t and radix - t, and their difference."""
    a = _take(m, x, step, filled, k + t * apart, lanes)
    b = _take(m, x, step, filled, k + (radix - t) * apart, lanes)
    return _plus(a, b), _minus(a, b)


@njit(nogil=True)
def _put_two(m, y, o, done, even, odd, w, i, u, radix, lanes):  # type: ignore[no-untyped-def]
    """Write outputs u and radix - u, of what cosines gave and sines did."""
    put(m, y, o + u * done, _turned(_minus_i(even, odd), w, i + u, lanes), lanes)
    u = radix - u
    put(m, y, o + u * done, _turned(_plus_i(even, odd), w, i + u, lanes), lanes)


@njit(nogil=True)
def _of_4(a, b, c, d):  # type: ignore[no-untyped-def]
    sum0, sum1, apart0, apart1 = _plus(a, c), _plus(b, d), _minus(a, c), _minus(b, d)
    return _plus(sum0, sum1), _minus_i(apart0, apart1), _minus(sum0, sum1), _plus_i(apart0, apart1)


@njit(nogil=True)
def _of_3(a, f, b, g, c, h):  # type: ignore[no-untyped-def]
    return a[0] * f + b[0] * g + c[0] * h, a[1] * f + b[1] * g + c[1] * h


@njit(nogil=True)
def _take(m, x, step, filled, index, lanes):  # type: ignore[no-untyped-def]
    """Read a number; beyond what is filled, the zero after it."""
    return take(m, x, min(index, filled) * step, lanes)


@njit(nogil=True)
def take(m, x, index, lanes):  # type: ignore[no-untyped-def]
    """Read a complex number of each lane."""
    at, width = x + 2 * len(lanes) * index, len(lanes)
    return load(m, at, lanes), load(m, at + width, lanes)


@njit(nogil=True)
def put(m, y, index, number, lanes):  # type: ignore[no-untyped-def]
    """Write a complex number of each lane."""
    at, width = y + 2 * len(lanes) * index, len(lanes)
    store(m, at, number[0])
    store(m, at + width, number[1])


@njit(nogil=True)
def _root(w, index, lanes):  # type: ignore[no-untyped-def]
    return constant(w, read(w, 2 * index), lanes), constant(w, read(w, 2 * index + 1), lanes)


@njit(nogil=True)
def _turned(a, w, index, lanes):  # type: ignore[no-untyped-def]
    real, imag = _root(w, index, lanes)
    return a[0] * real - a[1] * imag, a[0] * imag + a[1] * real


@njit(nogil=True)
def _plus(a, b):  # type: ignore[no-untyped-def]
    return a[0] + b[0], a[1] + b[1]


@njit(nogil=True)
def _minus(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[0], a[1] - b[1]


@njit(nogil=True)
def _plus_i(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[1], a[1] + b[0]


@njit(nogil=True)
def _minus_i(a, b):  # type: ignore[no-untyped-def]
    return a[0] + b[1], a[1] - b[0]


@njit(nogil=True)
def _times(a, factor):  # type: ignore[no-untyped-def]
    return a[0] * factor, a[1] * factor


@njit(nogil=True)
def _negative(a):  # type: ignore[no-untyped-def]
    return a[0] - a[0] - a[0], a[1] - a[1] - a[1]
