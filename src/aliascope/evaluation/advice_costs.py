"""What a filtered network costs beside the plain one: time, and multiply-adds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

REPETITIONS = 5
"""Timed passes of each candidate, one after the other in turn."""

TIMED_IMAGES = 4
"""Images of a timed pass, at most."""


def count_multiply_adds(run: Callable[[], Any]) -> int:
    """Count the multiply-adds of convolutions, matrix products and attention in a pass.

    Parameters
    ----------
    run : callable
        Runs the model; called twice, so that what a first pass prepares is not counted.

    Returns
    -------
    int
        Half of what :mod:`torch.utils.flop_counter` counts; additions, pooling and the like are
        not in it.

    Examples
    --------
    >>> convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
    >>> count_multiply_adds(lambda: convolution(torch.rand(1, 3, 10, 10))) == 3 * 8 * 9 * 100
    True
    """
    run()
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2


def time_in_turn(
    candidates: Sequence[Callable[[], AbstractContextManager[Any]]],
    run: Callable[[], Any],
    device: torch.device,
) -> list[float]:
    """Time passes of candidates in turn, so that what the machine does besides meets them all.

    Parameters
    ----------
    candidates : sequence of callable
        Each gives a context in which the model is filtered.
    run : callable
        Runs the model.
    device : torch.device
        Where it is.

    Returns
    -------
    list of float
        Medians, in seconds. Each timed pass follows one that is not.
    """
    seconds: list[list[float]] = [[] for _ in candidates]
    for _ in range(REPETITIONS):
        for each, candidate in zip(seconds, candidates, strict=True):
            with candidate():
                run()
                _wait(device)
                began = time.perf_counter()
                run()
                _wait(device)
                each.append(time.perf_counter() - began)
    return [statistics.median(each) for each in seconds]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
