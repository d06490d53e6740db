"""Compiled functions, of one thread and of several."""

from __future__ import annotations

import functools
import os
import types
from typing import Any

import torch
from numba import config, njit, set_num_threads

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
