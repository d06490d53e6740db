"""Fast ways to count what :mod:`aliascope.spectrum` defines, behind one function."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.measures.engines import half_spectrum
from aliascope.seam.parts import LEAST_WORKSPACE, workspace_of
from aliascope.spectrum import Criterion

NOT_FINITE = half_spectrum.NOT_FINITE

ENGINES = ("auto", "torch", "numba")
"""``torch``: any device, any number of axes. ``numba``: compiled for the CPU, up to two axes, at
least eight signals at once. ``auto``: numba where it is installed and fits, also in the workspace;
else torch."""


def check_engine(engine: str, workspace: int | None = None) -> None:
    """Refuse an engine that is not known or not installed, and a workspace too small for any."""
    if engine not in ENGINES:
        raise AliascopeError(f"engine is {engine!r}, but it must be one of {', '.join(ENGINES)}.")
    if engine == "numba" and _lanes() is None:
        raise AliascopeError(
            "The engine numba needs the package numba, which cannot be imported: pip install "
            "numba, or pass --engine torch."
        )
    if workspace is not None and workspace < LEAST_WORKSPACE:
        raise AliascopeError(
            f"The workspace is {workspace} bytes, but it must be 1 MB or more; leave it out for "
            "256 MB on a CPU and 1 GB on a GPU."
        )


def count_categories(
    dense: Tensor,
    rate: Sequence[int],
    criterion: Criterion,
    *,
    levels: Sequence[float] | None = None,
    engine: str = "auto",
    workspace: int | None = None,
) -> Tensor:
    """Count the bins of each category, per sample and channel.

    Parameters
    ----------
    dense : Tensor, shape (N, C, *size)
        Real dense signal of a site. Half precision is converted to float32.
    rate : sequence of int
        Decimation rate per spatial axis.
    criterion : Criterion
        Threshold, reference level, grid and fold scale.
    levels : sequence of float, optional
        Thresholds in decibels, in place of the criterion's: all are counted on one spectrum.
    engine : {"auto", "torch", "numba"}
        See `ENGINES`.
    workspace : int, optional
        Bytes that counting may take beside the dense signal; a single signal's spectrum is worked
        on whatever its size. By default `aliascope.seam.parts.WORKSPACE`.

    Returns
    -------
    Tensor of int64, shape (N, C, 4) or (N, C, levels, 4), on the device of ``dense``
        Number of bins per :class:`~aliascope.categories.Category`. The four of a signal with a NaN
        or infinite value are ``NOT_FINITE``; checking for it is left to the caller, who can do so
        without waiting for the device at every site.

    Raises
    ------
    AliascopeError
        If the engine is not known, not installed, or does not fit the signal.

    Examples
    --------
    >>> import torch
    >>> count_categories(torch.ones(1, 1, 4, 4), (2, 2), Criterion(grid="native"))
    tensor([[[3, 1, 0, 0]]])
    """
    check_engine(engine, workspace)
    fits = dense.device.type == "cpu" and len(rate) <= 2
    if engine == "numba" and not fits:
        raise AliascopeError(
            f"The engine numba counts signals of one or two axes on a CPU, not of {len(rate)} on "
            f"{dense.device.type}: pass --engine auto."
        )
    compiled = _lanes() if fits and engine != "torch" else None
    if fits and engine == "auto" and compiled is None:
        _notice_once()
    limit = workspace_of(dense.device.type, workspace)
    rate = tuple(int(each) for each in rate)
    if (
        engine == "auto"
        and compiled is not None
        and not compiled.fits(dense, rate, criterion, limit)
    ):
        compiled = None
    each = [criterion] if levels is None else [replace(criterion, threshold_db=x) for x in levels]
    ratios = [one.ratio_for(rate) for one in each]
    if not dense.numel():
        counts = dense.new_empty(0, dtype=torch.int64)
    else:
        counts = (compiled or half_spectrum).count(dense, rate, criterion, ratios, limit)
    counts = counts.view(*dense.shape[:2], len(ratios), 4)
    return counts[:, :, 0] if levels is None else counts


def compiled_weighing() -> Any:
    """Import what weighs signals on a CPU; None where numba is missing."""
    return _compiled("weighing")


def _lanes() -> Any:
    """Import the compiled engine; None where numba is missing or broken."""
    return _compiled("lanes")


@functools.cache
def _compiled(name: str) -> Any:
    try:
        if importlib.import_module("numba").config.DISABLE_JIT:
            return None
        return importlib.import_module(f"aliascope.measures.engines.{name}")
    except Exception:  # numba raises errors of many kinds where it does not fit numpy or the CPU
        return None


@functools.cache
def _notice_once() -> None:
    warnings.warn(
        "numba cannot be imported, so counting on the CPU takes several times as long; "
        "pip install numba.",
        stacklevel=3,
    )
