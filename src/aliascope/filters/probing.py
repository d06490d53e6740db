"""The first pass of a filtered model: its sites, and which slices together drop nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn, overrides

from aliascope.seam.found import Found
from aliascope.seam.interception import Seam
from aliascope.seam.opening import evaluating
from aliascope.seam.tracking import ROOT, ModuleTracker
from aliascope.sites import SiteList

_current: Any = overrides._get_current_function_mode
_pop: Any = overrides._pop_mode
_push: Any = overrides._push_mode


def probe(
    model: nn.Module,
    forward: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> tuple[SiteList, frozenset[tuple[str, int]]]:
    """Run a model once as it is, in eval mode and without gradients, to see what it does.

    Slices of one tensor that keep every sample between them (space-to-depth) look one by one like
    decimation. Which do so shows when all have run, so a model is looked at before it is filtered.

    Parameters
    ----------
    model : nn.Module
        Its modes, weights and torch's random numbers are as before afterwards.
    forward : callable
        Of the model, unfiltered.
    args, kwargs
        Of the forward.

    Returns
    -------
    SiteList
        The sites.
    frozenset of (str, int)
        Path and number of slices that together drop nothing.
    """
    found = Found()
    tracker = ModuleTracker(model, lambda call: None, lambda *_: None, contextlib.nullcontext)
    seam = Seam(
        lambda: tracker.path or ROOT,
        [],
        found,
        lambda *_: False,
        lambda: None,
        lambda handler: None,
        lambda: None,
    )
    found.begin()
    with _modes_aside(), torch.random.fork_rng(_devices(model)), evaluating(model), tracker, seam:
        forward(*args, **kwargs)
    found.end()
    return found.listing(), frozenset((site.path, site.number) for site in found.lossless())


@contextlib.contextmanager
def _modes_aside() -> Iterator[None]:
    """Take off function modes, such as an opening's seam, but for those that are torch's own."""
    modes: list[Any] = []
    while (mode := _current()) is not None:
        modes.append(mode)
        _pop()
    theirs = [mode for mode in reversed(modes) if type(mode).__module__.startswith("torch.")]
    try:
        for mode in theirs:
            _push(mode)
        yield
    finally:
        for _ in theirs:
            _pop()
        for mode in reversed(modes):
            _push(mode)


def _devices(model: nn.Module) -> list[torch.device]:
    """Accelerators whose random numbers a pass may draw."""
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})
