"""Stepped slices over space: the plain slice, then decimation."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from aliascope.sites.calls import bind
from aliascope.sites.registry import register
from aliascope.sites.split import Split, Stepped, Unsupported

Index = tuple[slice, ...]
"""A slice of known start, stop and step for each axis."""


@dataclass(frozen=True)
class _Slice:
    """A slice of a tensor, by one call or by several that each step along other axes."""

    source: Tensor
    index: Index

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(s.step for s in self.index)


_stepped: Any = WeakIdKeyDictionary()
"""What calls that stepped along one axis gave: the next may step along another, as the slices of
exported programs do, one axis at a time."""


@register(Tensor.__getitem__)
def _getitem(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | Stepped | Unsupported | None:
    x, index = args
    index = index if isinstance(index, tuple) else (index,)
    if x.ndim not in (4, 5) or not any(isinstance(i, slice) and _step(i) > 1 for i in index):
        return None
    plain = _plain_slices(index, x.ndim)
    if plain is not None:
        return _sliced(x, plain)
    if sum(isinstance(i, slice) and _step(i) > 1 for i in index) < 2:
        return None
    return Unsupported("slice", "steps over space while it also drops, adds or picks axes")


@register("aten::slice")
def _slice(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | Stepped | Unsupported | None:
    defaults = {"dim": 0, "start": None, "end": None, "step": 1}
    call = bind("self dim start end step", args, kwargs, **defaults)
    x: Tensor = call["self"]
    dim = int(call["dim"])
    if x.ndim not in (4, 5) or call["step"] == 1:
        return None
    plain = [slice(None)] * x.ndim
    plain[dim] = slice(call["start"], call["end"], call["step"])
    return _sliced(x, tuple(plain))


def _sliced(x: Tensor, plain: Index) -> Split | Stepped | Unsupported | None:
    """Split a slice, together with the one that x came from where they step along other axes."""
    whole = _Slice(x, tuple(_known(s, n) for s, n in zip(plain, x.shape, strict=True)))
    # torch.compile, which traces a filtered model, can look nothing up by a tensor's identity.
    before = None if torch.compiler.is_dynamo_compiling() else _stepped.get(x)
    if before is not None:
        whole = _joined(before, whole) or whole
    stepped = {axis for axis, step in enumerate(whole.steps) if step > 1}
    if len(stepped) < 2:
        return Stepped(lambda output: _stepped.__setitem__(output, whole))
    channels_first, channels_last = set(range(2, x.ndim)), set(range(1, x.ndim - 1))
    if not (stepped <= channels_first or stepped <= channels_last):
        reason = f"steps {whole.steps} run over channels or samples as well as space"
        return Unsupported("slice", reason)
    source = whole.source
    dense_index = tuple(slice(s.start, s.stop) for s in whole.index)
    last = not stepped <= channels_first
    space = slice(1, x.ndim - 1) if last else slice(2, x.ndim)
    return Split(
        "slice",
        whole.steps[space],
        lambda: source[dense_index].movedim(-1, 1) if last else source[dense_index],
        (lambda decimated: decimated.movedim(1, -1)) if last else (lambda decimated: decimated),
        contiguous=False,
        source=source,
        phase=_phase(whole, space),
    )


def _known(s: slice, n: int) -> slice:
    """Give a slice of n samples known ends; all of them may be a number that is yet to be known."""
    return slice(0, n, 1) if s == slice(None) else slice(*s.indices(n))


def _joined(before: _Slice, after: _Slice) -> _Slice | None:
    """Write two slices, one of what the other gave, as one; None where both step along an axis."""
    joined = []
    for first, second, n in zip(before.index, after.index, after.source.shape, strict=True):
        if (second.start, second.stop, second.step) == (0, n, 1):
            joined.append(first)
        elif first.step == 1:
            start = first.start + second.start
            joined.append(slice(start, first.start + second.stop, second.step))
        else:
            return None
    return _Slice(before.source, tuple(joined))


def _phase(whole: _Slice, space: slice) -> tuple[int, ...]:
    """Where the slice begins over space, if it otherwise reaches from end to end."""
    start = []
    for axis, (s, n) in enumerate(zip(whole.index, whole.source.shape, strict=True)):
        if s.start >= s.step or s.stop != n:
            return ()
        if axis in range(whole.source.ndim)[space]:
            start.append(s.start)
    return tuple(start)


def _step(s: slice) -> int:
    return 1 if s.step is None else operator.index(s.step)


def _plain_slices(index: tuple[Any, ...], ndim: int) -> Index | None:
    """One slice per axis, or None where the index does anything else."""
    if sum(i is Ellipsis for i in index) > 1:
        return None
    given = sum(i is not Ellipsis for i in index)
    full: list[Any] = []
    for i in index:
        full.extend([slice(None)] * (ndim - given) if i is Ellipsis else [i])
    full.extend([slice(None)] * (ndim - len(full)))
    return tuple(full) if all(isinstance(i, slice) for i in full) else None
