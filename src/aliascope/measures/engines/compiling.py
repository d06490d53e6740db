"""Compiled functions, of one thread and of several, and the memory that they work in."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import config, get_num_threads, njit, set_num_threads
from numpy.typing import NDArray

KEPT = 16 << 20
"""Numbers for which memory is kept, though less is needed."""

ALIGNED = 16
"""Numbers of a cache line; what begins at the start of one is read and written fastest."""

_process: int | None = None
"""That started numba's threads. A child that it forks has none, and waits for them for ever."""

_parallel = threading.Lock()
"""Held by what runs on several threads, as not every layer that numba has takes two at once."""


@functools.cache
def _sources() -> str:
    """Digest of all that is compiled here.

    Numba compiles a function again where its own file changed, not where what it calls did. So this
    is in the name of what is kept on disk.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _named(function: Any, how: str) -> Any:
    """Copy a function, with all that its compiled code depends on in its name."""
    name = f"{function.__name__}_{how}_{_sources()}"
    copy = types.FunctionType(function.__code__, function.__globals__, name)
    copy.__qualname__, copy.__module__ = name, function.__module__
    return copy


def kept(function: Any) -> Any:
    """Compile a large function that others call, and keep it on disk for all of them."""
    return njit(nogil=True, cache=True)(_named(function, "inner"))


@functools.cache
def _compiled(function: Any, *, parallel: bool) -> Any:
    """Compile a function; the one for several threads has a name, and so a file, of its own."""
    how = "parallel" if parallel else "serial"
    return njit(nogil=True, cache=True, parallel=parallel)(_named(function, how))


def run(function: Any, threads: int, *arguments: Any) -> None:
    """Compile a function and run it on as many threads as torch has, and as numba can have.

    Numba and torch share what counts OpenMP's threads, and numba sets it when it starts its own, so
    both are given their numbers back.

    Parameters
    ----------
    function : function
        With loops over ``numba.prange``. It is kept, compiled, for the process, and on disk.
    threads : int
        Threads to use.
    *arguments
        Of the function, which gives nothing.
    """
    global _process
    threads = min(threads, int(getattr(config, "NUMBA_NUM_THREADS", 1)))
    if threads == 1 or _process not in (None, os.getpid()):
        _compiled(function, parallel=False)(*arguments)
        return
    with _parallel:
        of_torch, of_numba = torch.get_num_threads(), get_num_threads()
        _process = os.getpid()
        set_num_threads(threads)
        try:
            _compiled(function, parallel=True)(*arguments)
        finally:
            set_num_threads(of_numba)
            if torch.get_num_threads() != of_torch:
                torch.set_num_threads(of_torch)


class Memory(threading.local):
    """What compiled threads work in: of each thread of Python's, kept, as calls come in a row."""

    array: NDArray[Any] | None = None

    def of(self, threads: int, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Give each thread so many numbers, from the start of a cache line on."""
        size += -size % ALIGNED
        values = threads * size + ALIGNED
        array = self.array
        if array is None or array.dtype != dtype or not values <= array.size <= self._most(values):
            self.array = array = None  # let it go before another is made
            self.array = array = np.empty(values, dtype)
        start = -(array.ctypes.data // array.itemsize) % ALIGNED
        return array[start : start + threads * size].reshape(threads, size)

    def _most(self, values: int) -> int:
        return max(2 * values, KEPT)


MEMORY = Memory()
