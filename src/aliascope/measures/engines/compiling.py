"""Compiled functions, of one thread and of several."""

from __future__ import annotations

import functools
import os
import threading
import types
from typing import Any

import numpy as np
import torch
from numba import config, njit, set_num_threads
from numpy.typing import NDArray

ALIGNED = 16
"""Numbers of a cache line; what begins at the start of one is read and written fastest."""

_process: int | None = None
"""That started numba's threads. A child that it forks has none, and waits for them for ever."""


@functools.cache
def _compiled(function: Any, *, parallel: bool) -> Any:
    """Compile a function; the one for several threads has a name, and so a file, of its own."""
    name = f"{function.__name__}_parallel" if parallel else function.__name__
    copy = types.FunctionType(function.__code__, function.__globals__, name)
    copy.__qualname__ = name
    copy.__module__ = function.__module__
    return njit(nogil=True, cache=True, parallel=parallel)(copy)


def run(function: Any, threads: int, *arguments: Any) -> None:
    """Compile a function and run it on as many threads as torch has, and as numba can have.

    Numba and torch share what counts OpenMP's threads, and numba sets it when it starts its own, so
    torch is given its number back.

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
    before = torch.get_num_threads()
    _process = os.getpid()
    set_num_threads(threads)
    _compiled(function, parallel=True)(*arguments)
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


class Memory(threading.local):
    """What compiled threads work in: of each thread of Python's, kept, as calls come in a row."""

    array: NDArray[Any] | None = None

    def of(self, threads: int, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Give each thread so many numbers, from the start of a cache line on."""
        size += -size % ALIGNED
        values = threads * size
        if self.array is None or self.array.dtype != dtype or self.array.size < values + ALIGNED:
            self.array = None  # let it go before another is made
            self.array = np.empty(values + ALIGNED, dtype)
        start = -(self.array.ctypes.data // self.array.itemsize) % ALIGNED
        return self.array[start : start + values].reshape(threads, size)


MEMORY = Memory()
