"""Strided and adaptive pooling: the same windows at stride 1, then decimation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aliascope.sites.calls import all_axes, bind, name_of, per_axis, spatial_axes
from aliascope.sites.registry import register
from aliascope.sites.split import Split, Unsupported

MAX_POOL: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class _Window:
    """Where a pooling window can stand along one axis, from 0 at the start of the padding."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def free(self) -> int:
        """How far the window can move without leaving the padded input."""
        return self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1

    @property
    def last(self) -> int:
        """Where the last window starts; 0 where there is but one."""
        if not self.ceil_mode:
            return self.free // self.stride * self.stride
        last = -(-self.free // self.stride) * self.stride
        # torch drops a window that starts in the end padding
        return last - self.stride if last >= self.size + self.padding else last

    @property
    def outside(self) -> int:
        """How far, in ceil mode, the last window reaches beyond the padded input."""
        return max(0, self.last - self.free)


def _windows(call: Mapping[str, Any], axes: int, rate: tuple[int, ...]) -> list[_Window]:
    kernel = per_axis(call["kernel_size"], axes)
    padding = per_axis(call["padding"], axes)
    dilation = per_axis(call.get("dilation", 1), axes)
    size = call["input"].shape[-axes:]
    ceil = bool(call["ceil_mode"])
    return [
        _Window(*window, ceil) for window in zip(size, kernel, rate, padding, dilation, strict=True)
    ]


def _pool_rate(call: Mapping[str, Any], axes: int) -> tuple[int, ...]:
    stride = call["stride"]
    if stride is None or (isinstance(stride, Sequence) and len(stride) == 0):
        stride = call["kernel_size"]
    return per_axis(stride, axes)


def _pad_amounts(before_after: Sequence[tuple[int, int]]) -> list[int]:
    """Order padding as F.pad wants it: the last axis first."""
    return [n for pair in reversed(before_after) for n in pair]


def _dense_max_pool(x: Tensor, windows: list[_Window]) -> Tensor:
    differentiable = torch.is_grad_enabled() and x.requires_grad
    sides = [(w.padding, w.padding + w.outside) for w in windows]
    if differentiable or not x.is_floating_point():
        # Torch's own, so that of equal values the same one gets the gradient.
        padding = tuple(w.padding for w in windows)
        if any(w.outside for w in windows):
            x, padding = F.pad(x, _pad_amounts(sides), value=-math.inf), (0,) * len(windows)
        kernel, dilation = (
            tuple(getattr(w, name) for w in windows) for name in ("kernel", "dilation")
        )
        pooled: Tensor = MAX_POOL[len(windows)](x, kernel, 1, padding, dilation)
        return pooled
    # Along one axis after the other: the same, and several times as fast on a CPU.
    if any(map(any, sides)):
        x = F.pad(x, _pad_amounts(sides), value=-math.inf)
    for axis, w in enumerate(windows, start=-len(windows)):
        length = x.shape[axis] - w.dilation * (w.kernel - 1)
        largest = x.narrow(axis, 0, length)
        for k in range(1, w.kernel):
            largest = torch.maximum(largest, x.narrow(axis, k * w.dilation, length))
        x = largest
    return x


@register(
    *all_axes("max_pool{}d", "max_pool{}d_with_indices"),
)
def _max_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    call = bind(
        "input kernel_size stride padding dilation ceil_mode return_indices",
        args,
        kwargs,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        return_indices=False,
    )
    axes = spatial_axes(function)
    rate = _pool_rate(call, axes)
    if max(rate) == 1:
        return None
    windows = _windows(call, axes, rate)
    if all(w.last == 0 for w in windows):  # one output; in ceil mode the window may be far larger
        return None
    return Split.by_channel(
        "max_pool",
        rate,
        call["input"],
        lambda x: _dense_max_pool(x, windows),
        _with_indices(function, args, kwargs),
    )


def _with_indices(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Tensor], Any]:
    """Give the decimated signal back as the original does: with its indices, if it returns them."""
    name = name_of(function)
    # All but the functional forms of adaptive max pooling return indices without being asked.
    functional = getattr(F, name, None)
    always = "with_indices" in name or ("adaptive_max" in name and function is not functional)
    if not (always or kwargs.get("return_indices")):
        return lambda decimated: decimated
    return lambda decimated: (decimated, function(*args, **kwargs)[1])


def _dense_avg_pool(
    x: Tensor,
    kernel: tuple[int, ...],
    windows: list[_Window],
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    axes = len(kernel)
    padding = tuple(w.padding for w in windows)
    if not any(w.outside for w in windows):
        divisor = () if axes == 1 else (divisor_override,)  # avg_pool1d takes none
        pooled: Tensor = AVG_POOL[axes](x, kernel, 1, padding, False, count_include_pad, *divisor)
        return pooled
    # In ceil mode the last windows reach beyond the padded input, and torch divides by the part
    # inside: so average whole windows, then rescale each by how much of it is inside.
    sides = [(w.padding, w.padding + w.outside) for w in windows]
    mean: Tensor = AVG_POOL[axes](F.pad(x, _pad_amounts(sides)), kernel, 1)
    if divisor_override:
        return mean * (math.prod(kernel) / divisor_override)
    for axis, w in enumerate(windows, start=-axes):
        first, last = 0, w.size + 2 * w.padding
        if not count_include_pad:
            first, last = w.padding, w.padding + w.size
        start = torch.arange(mean.shape[axis], device=x.device)
        inside = (start + w.kernel).clamp(max=last) - start.clamp(min=first)
        mean = mean * (w.kernel / inside.to(x.dtype)).reshape(-1, *[1] * (-axis - 1))
    return mean


@register(*all_axes("avg_pool{}d"))
def _avg_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    call = bind(
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        args,
        kwargs,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    )
    axes = spatial_axes(function)
    rate = _pool_rate(call, axes)
    if max(rate) == 1:
        return None
    kernel = per_axis(call["kernel_size"], axes)
    windows = _windows(call, axes, rate)
    if all(w.last == 0 for w in windows):  # one output; in ceil mode the window may be far larger
        return None
    return Split.by_channel(
        "avg_pool",
        rate,
        call["input"],
        lambda x: _dense_avg_pool(
            x, kernel, windows, call["count_include_pad"], call["divisor_override"]
        ),
    )


@register(*all_axes("lp_pool{}d"))
def _lp_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    call = bind(
        "input norm_type kernel_size stride ceil_mode",
        args,
        kwargs,
        stride=None,
        ceil_mode=False,
        padding=0,
    )
    axes = spatial_axes(function)
    rate = _pool_rate(call, axes)
    if max(rate) == 1:
        return None
    norm = float(call["norm_type"])
    kernel = per_axis(call["kernel_size"], axes)
    windows = _windows(call, axes, rate)
    if all(w.last == 0 for w in windows):  # one output; in ceil mode the window may be far larger
        return None

    def dense_of(x: Tensor) -> Tensor:
        if math.isinf(norm):
            sign = math.copysign(1.0, norm)
            return sign * _dense_max_pool(sign * x.abs(), windows)
        mean = _dense_avg_pool(x.pow(norm), kernel, windows, True, None)
        total = (mean.sign() * mean.abs().relu()).mul(math.prod(kernel))
        if not (torch.is_grad_enabled() and total.requires_grad):
            return total.pow(1.0 / norm)
        # A root has no gradient at 0: what is dropped must not bring NaN where there was none.
        smooth = total > 0
        index: Any = (..., *(slice(None, None, r) for r in rate))
        smooth[index] = True
        root = total.where(smooth, 1.0).pow(1.0 / norm)
        return root.where(smooth, total.detach().pow(1.0 / norm))

    return Split.by_channel("lp_pool", rate, call["input"], dense_of)


@register(
    *all_axes(
        "adaptive_avg_pool{}d",
        "_adaptive_avg_pool{}d",
        "adaptive_max_pool{}d",
        "adaptive_max_pool{}d_with_indices",
    )
)
def _adaptive_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | Unsupported | None:
    call = bind("input output_size return_indices", args, kwargs)
    axes = spatial_axes(function)
    x = call["input"]
    size = x.shape[-axes:]
    wanted = call["output_size"]
    wanted = tuple(wanted) if isinstance(wanted, Sequence) else (wanted,) * axes
    wanted = tuple(n if w is None else int(w) for n, w in zip(size, wanted, strict=True))
    rate = _whole_rate("adaptive_pool", size, wanted)
    if not isinstance(rate, tuple):
        return rate
    finish = _with_indices(function, args, kwargs)
    if "max" in name_of(function):
        windows = [_Window(n, r, r, 0) for n, r in zip(size, rate, strict=True)]
        return Split.by_channel(
            "adaptive_pool", rate, x, lambda x: _dense_max_pool(x, windows), finish
        )
    return Split.by_channel("adaptive_pool", rate, x, lambda x: AVG_POOL[axes](x, rate, 1), finish)


def _whole_rate(
    op: str, size: Sequence[int], wanted: Sequence[int]
) -> tuple[int, ...] | Unsupported | None:
    """Rate from one size to another, where it is a whole number on every axis."""
    if all(w >= n for n, w in zip(size, wanted, strict=True)) or all(w == 1 for w in wanted):
        return None  # nothing is dropped, or only frequency zero is kept
    if any(w == 0 or n % w for n, w in zip(size, wanted, strict=True)):
        return Unsupported(op, f"rate from {tuple(size)} to {tuple(wanted)} samples is not whole")
    return tuple(n // w for n, w in zip(size, wanted, strict=True))
