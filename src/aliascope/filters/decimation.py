"""A filter at work on a signal: along each axis a matrix product, or a short convolution."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from aliascope.filters.kernels import kernel
from aliascope.filters.matrices import dense_matrix
from aliascope.filters.names import FilterName
from aliascope.precision import unrounded
from aliascope.sites.calls import memory_format

Function = TypeVar("Function", bound=Callable[..., Any])

FEW_TAPS = 9
"""Taps, over all axes, up to which a depthwise convolution is cheaper than the matrix product."""

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _constant(function: Function) -> Function:
    """Have torch.compile take what a function gives as a constant.

    As ``torch.compiler.assume_constant_result`` does, which loads the compiler to set a mark: two
    seconds for whoever compiles nothing, and an end that takes longer, too.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def filtered(
    signal: Tensor,
    rate: Sequence[int],
    name: str,
    boundary: str = "mirror",
    *,
    decimated: bool = True,
    way: str = "auto",
) -> Tensor:
    """Filter a signal along its last axes, and decimate it.

    Parameters
    ----------
    signal : Tensor, shape (N, C, *size)
        Real signal of 1 to 3 spatial axes.
    rate : sequence of int
        Decimation rate, per spatial axis.
    name, boundary
        See :func:`aliascope.filter_matrix`.
    decimated : bool
        Whether every rate-th sample is kept, or all of them.
    way : {"auto", "product", "convolution"}
        Matrix products, or one depthwise convolution; both give the same, rounding apart.

    Returns
    -------
    Tensor, shape (N, C, *kept)
        In the signal's dtype and memory format, computed in float32 or wider; differentiable.

    Examples
    --------
    >>> x = torch.randn(2, 3, 9, 12)
    >>> y = filtered(x, (2, 3), "blur:3")
    >>> d_h, d_w = dense_matrix("blur:3", 9, 2)[::2], dense_matrix("blur:3", 12, 3)[::3]
    >>> torch.allclose(y, d_h.float() @ x @ d_w.T.float(), atol=1e-6)
    True
    """
    axes = len(rate)
    exact = torch.promote_types(signal.dtype, torch.float32)
    plan = tuple(
        (int(n), r, name, boundary) for n, r in zip(signal.shape[-axes:], rate, strict=True)
    )
    kind = signal.device.type
    if not torch.compiler.is_compiling():
        with unrounded(kind):
            x = _in_full(signal.to(exact), plan, decimated, way)
    elif torch.is_autocast_enabled(kind):  # what a compiled model multiplies in is its own choice
        with torch.autocast(kind, enabled=False):
            x = _in_full(signal.to(exact), plan, decimated, way)
    else:
        x = _in_full(signal.to(exact), plan, decimated, way)
    return x.to(signal.dtype).contiguous(memory_format=memory_format(signal))


def _in_full(x: Tensor, plan: Plan, decimated: bool, way: str) -> Tensor:
    if way == "convolution" or (way == "auto" and _is_short(plan)):
        return _convolved(x, plan, decimated)
    return _multiplied(x, plan, decimated)


Plan = tuple[tuple[int, int, str, str], ...]
"""Size, rate, filter and boundary of each axis."""


class _Constants:
    """Matrices and taps that were made, as attributes.

    Whoever traces a model is to see a constant. torch.compile finds one under an attribute, made
    while it traces; a tensor that a function of constants returns it takes for that of the
    function's first call.
    """


def _matrix(plan: Plan, axis: int, decimated: bool, like: Tensor) -> Tensor:
    size, rate, name, boundary = plan[axis]
    made: Tensor = getattr(
        _Constants, _made_matrix(size, rate, name, boundary, decimated, like.dtype, like.device)
    )
    return made


@_constant
def _made_matrix(
    size: int,
    rate: int,
    name: str,
    boundary: str,
    decimated: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> str:
    """Make a matrix, and say under which attribute it is."""
    key = _attribute(f"matrix {size} {rate} {name} {boundary} {decimated} {dtype} {device}")
    if not hasattr(_Constants, key):
        with _untraced():
            matrix = dense_matrix(name, size, rate, boundary)[:: rate if decimated else 1]
            setattr(_Constants, key, matrix.to(device=device, dtype=dtype).contiguous())
    return key


@_constant
def _made_taps(plan: Plan, dtype: torch.dtype, device: torch.device) -> str:
    """Make the taps of all axes together, and say under which attribute they are."""
    key = _attribute(f"taps {plan} {dtype} {device}")
    if not hasattr(_Constants, key):
        with _untraced():
            taps = torch.ones((), dtype=torch.float64)
            for size, rate, name, _ in plan:
                one = kernel(FilterName.read(name), 1 if size == 1 else rate)
                taps = taps[..., None] * one
            setattr(_Constants, key, taps.to(device=device, dtype=dtype))
    return key


@_constant
def _made_index(size: int, before: int, after: int, boundary: str, device: torch.device) -> str:
    """Make the samples that a map goes on by, and say under which attribute they are."""
    key = _attribute(f"index {size} {before} {after} {boundary} {device}")
    if not hasattr(_Constants, key):
        with _untraced():
            n = torch.arange(-before, size + after)
            if boundary == "circular":
                n = n % size
            else:
                n = n % (2 * size)
                n = torch.minimum(n, 2 * size - 1 - n)
            setattr(_Constants, key, n.to(device))
    return key


def _attribute(text: str) -> str:
    """Make a name of a text."""
    return re.sub(r"\W+", "_", text)


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Compute with values, whatever mode is on around it."""
    with torch.inference_mode(False), _disable_current_modes(), torch._C.DisableTorchFunction():
        yield


def _multiplied(x: Tensor, plan: Plan, decimated: bool) -> Tensor:
    """Multiply along each axis, in the order in which the samples lie in memory."""
    axes = len(plan)
    last = memory_format(x) is not torch.contiguous_format
    if last:
        x = x.movedim(1, -1)
    first = x.ndim - axes - last
    for i in reversed(range(axes)):
        size, rate, _, _ = plan[i]
        if rate == 1 or size == 1:
            continue
        matrix = _matrix(plan, i, decimated, x)
        axis = first + i
        if axis == x.ndim - 1:
            x = F.linear(x, matrix)
        else:
            shape = x.shape
            x = torch.matmul(matrix, x.flatten(axis + 1))
            x = x.reshape(*x.shape[:-1], *shape[axis + 1 :])
    return x.movedim(-1, 1) if last else x


def _convolved(x: Tensor, plan: Plan, decimated: bool) -> Tensor:
    """Convolve with all axes' taps at once, each channel alone."""
    axes = len(plan)
    channels = x.shape[1]
    boundary = plan[0][3]
    taps: Tensor = getattr(_Constants, _made_taps(plan, x.dtype, x.device))
    sides = [((n - 1) // 2, n // 2) for n in taps.shape]
    stride = tuple(r if decimated else 1 for _, r, _, _ in plan)
    symmetric = all(before == after for before, after in sides)
    padding = tuple(before for before, _ in sides)
    if boundary == "zero" and symmetric:
        x = x
    else:
        x, padding = _extended(x, sides, boundary), (0,) * axes
    weight = taps.expand(channels, 1, *taps.shape)
    result: Tensor = CONVOLUTIONS[axes](x, weight, None, stride, padding, 1, channels)
    return result


def _extended(x: Tensor, sides: Sequence[tuple[int, int]], boundary: str) -> Tensor:
    """Let a map go on beyond its ends."""
    amounts = [n for pair in reversed(sides) for n in pair]
    if boundary == "zero":
        return F.pad(x, amounts)
    if boundary == "mirror" and max(amounts) <= 1:  # the end sample once more
        return F.pad(x, amounts, mode="replicate")
    for axis, (before, after) in enumerate(sides, start=-len(sides)):
        if before or after:
            size = int(x.shape[axis])
            key = _made_index(size, before, after, boundary, x.device)
            x = x.index_select(axis, getattr(_Constants, key))
    return x


def _is_short(plan: Plan) -> bool:
    """Whether the taps of all axes together are few."""
    total = 1
    for size, rate, name, boundary in plan:
        total *= 1 if size == 1 or rate == 1 else _length(name, boundary, rate)
    return total <= FEW_TAPS


@_constant
@functools.cache
def _length(name: str, boundary: str, rate: int) -> int:
    """Taps of a filter; more than any map has samples where it has no kernel."""
    filter = FilterName.read(name, boundary)
    return 1 << 30 if filter.is_spectral else len(kernel(filter, rate))
