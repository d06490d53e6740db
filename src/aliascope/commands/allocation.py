"""Memory that is freed stays with the process: a pass needs as much again right away."""

from __future__ import annotations

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3), by their numbers in malloc.h."""

LARGEST_ON_THE_HEAP = 32 << 20
"""Bytes: the largest threshold that glibc takes on 64 bits."""

KEPT_AT_THE_END = 1 << 30
"""Free bytes at the heap's end that are not given back."""

OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Variables by which users set this themselves, or another allocator."""


def keep_freed_memory() -> bool:
    """Have glibc keep blocks of up to 32 MiB when they are freed, up to 1 GiB of them.

    As it is made, it maps each large block anew and gives it back when it is freed, and every page
    is cleared and faulted in again. For a process of one's own only: it concerns all that runs in
    it, so no function of the library does it.

    Returns
    -------
    bool
        Whether it was done: not with other C libraries, nor where the user has set it.

    Examples
    --------
    >>> keep_freed_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OWN_SETTINGS):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = [
        set_option(option, value)
        for option, value in (
            (MMAP_THRESHOLD, LARGEST_ON_THE_HEAP),
            (TRIM_THRESHOLD, KEPT_AT_THE_END),
        )
    ]
    return all(done)
