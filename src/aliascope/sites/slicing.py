"""Stepped slices over space: the plain slice, then decimation."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from aliascope.sites.registry import register
from aliascope.sites.split import Split, Unsupported


@register(Tensor.__getitem__)
def _slice(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | Unsupported | None:
    x, index = args
    if not isinstance(index, tuple) or x.ndim not in (4, 5):
        return None
    if sum(isinstance(i, slice) and _step(i) > 1 for i in index) < 2:
        return None
    plain = _plain_slices(index, x.ndim)
    if plain is None:
        return Unsupported("slice", "steps over space while it also drops, adds or picks axes")
    steps = tuple(_step(s) for s in plain)
    axes = x.ndim - 2
    stepped = {axis for axis, step in enumerate(steps) if step > 1}
    channels_first, channels_last = set(range(2, x.ndim)), set(range(1, x.ndim - 1))
    if not (stepped <= channels_first or stepped <= channels_last):
        return Unsupported("slice", f"steps {steps} run over channels or samples as well as space")
    dense_index = tuple(
        s if step == 1 else _unit_step(s, n)
        for s, step, n in zip(plain, steps, x.shape, strict=True)
    )
    if stepped <= channels_first:
        return Split("slice", steps[2:], lambda: x[dense_index], contiguous=False)
    rate = steps[1 : 1 + axes]
    return Split(
        "slice",
        rate,
        lambda: x[dense_index].movedim(-1, 1),
        lambda decimated: decimated.movedim(1, -1),
        contiguous=False,
    )


def _step(s: slice) -> int:
    return 1 if s.step is None else operator.index(s.step)


def _plain_slices(index: tuple[Any, ...], ndim: int) -> tuple[slice, ...] | None:
    """One slice per axis, or None where the index does anything else."""
    if sum(i is Ellipsis for i in index) > 1:
        return None
    given = sum(i is not Ellipsis for i in index)
    full: list[Any] = []
    for i in index:
        full.extend([slice(None)] * (ndim - given) if i is Ellipsis else [i])
    full.extend([slice(None)] * (ndim - len(full)))
    return tuple(full) if all(isinstance(i, slice) for i in full) else None


def _unit_step(s: slice, size: int) -> slice:
    start, stop, _ = slice(s.start, s.stop).indices(size)
    return slice(start, stop)
