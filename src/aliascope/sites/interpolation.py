"""Downsampling by interpolation: interpolate at every sample, then decimate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aliascope.precision import unrounded
from aliascope.sites.calls import all_axes, bind, memory_format, per_axis
from aliascope.sites.pooling import AVG_POOL
from aliascope.sites.registry import register
from aliascope.sites.split import Split, Unsupported

Kernel = Callable[[Tensor], Tensor]


def _cubic(a: float) -> Kernel:
    """Keys' cubic convolution kernel; torch uses a = -0.75, and -0.5 where it antialiases."""

    def weight(x: Tensor) -> Tensor:
        x = x.abs()
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))

    return weight


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


_KERNELS: dict[str, tuple[Kernel, int]] = {
    "linear": (_triangle, 1),
    "bilinear": (_triangle, 1),
    "trilinear": (_triangle, 1),
    "bicubic": (_cubic(-0.75), 2),
}
_ANTIALIAS_KERNELS: dict[str, Kernel] = {"bilinear": _triangle, "bicubic": _cubic(-0.5)}

_OPERATORS = {
    "upsample_nearest{}d": ("nearest", False),
    "_upsample_nearest_exact{}d": ("nearest-exact", False),
    "upsample_linear{}d": ("linear", False),
    "upsample_bilinear{}d": ("bilinear", False),
    "upsample_trilinear{}d": ("trilinear", False),
    "upsample_bicubic{}d": ("bicubic", False),
    "_upsample_bilinear{}d_aa": ("bilinear", True),
    "_upsample_bicubic{}d_aa": ("bicubic", True),
}
"""Mode of the operators below ``F.interpolate``, and whether they antialias."""


@register(F.interpolate)
def _interpolate(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | Unsupported | None:
    names = "input size scale_factor mode align_corners recompute_scale_factor antialias"
    return _interpolation(bind(names, args, kwargs, mode="nearest"))


def _operator(
    mode: str,
    antialias: bool,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Split | Unsupported | None:
    """Read a call of an operator below ``F.interpolate``, as exported graphs have them."""
    corners = "" if mode.startswith("nearest") else "align_corners"
    call = bind(f"input size {corners} scale_factor", args, kwargs, mode=mode, antialias=antialias)
    size = call.get("size", call.get("output_size"))
    factor = call.get("scale_factor", call.get("scale_factors"))
    return _interpolation({**call, "size": size, "scale_factor": factor})


for _name, (_mode, _antialias) in _OPERATORS.items():
    register(*all_axes(_name))(partial(_operator, _mode, _antialias))


def _interpolation(call: Mapping[str, Any]) -> Split | Unsupported | None:
    x, mode = call["input"], call["mode"]
    size = tuple(x.shape[2:])
    wanted, scale = _interpolation_scale(call, size)
    if all(w >= n for n, w in zip(size, wanted, strict=True)) or all(w == 1 for w in wanted):
        return None
    rate = tuple(round(s) for s in scale)
    if any(abs(s - r) > 1e-6 * r or r < 1 for s, r in zip(scale, rate, strict=True)):
        steps = tuple(round(s, 4) for s in scale)
        return Unsupported("interpolate", f"rate {steps} is not whole ({mode}, {size} to {wanted})")
    if mode == "area":
        return Split.by_channel("interpolate", rate, x, lambda x: AVG_POOL[len(rate)](x, rate, 1))
    antialias = bool(call.get("antialias"))
    if mode not in (_ANTIALIAS_KERNELS if antialias else {*_KERNELS, "nearest", "nearest-exact"}):
        return Unsupported("interpolate", f"mode {mode!r} has no rule", rate)
    if antialias and call.get("align_corners"):
        return Unsupported("interpolate", "antialias with align_corners has no rule", rate)

    def dense_of(signal: Tensor) -> Tensor:
        layout = memory_format(signal)
        for axis, (r, w) in enumerate(zip(rate, wanted, strict=True), start=2):
            if antialias:
                signal = _antialiased_axis(signal, axis, r, mode)
            elif call.get("align_corners") or r == 1 or mode == "nearest":
                pass
            elif mode == "nearest-exact":
                signal = signal.narrow(axis, r // 2, signal.shape[axis] - r // 2)
            else:
                signal = _interpolated_axis(signal, axis, r, mode)
            signal = signal.narrow(axis, 0, min(signal.shape[axis], r * w))
        return signal.contiguous(memory_format=layout)

    return Split.by_channel("interpolate", rate, x, dense_of)


def _interpolation_scale(
    call: Mapping[str, Any], size: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Output size, and how far apart output samples lie in the input, per axis."""
    axes = len(size)
    if call.get("size") is not None:
        wanted = per_axis(call["size"], axes)
        factors = None
    else:
        factor = call["scale_factor"]
        factors = tuple(factor) if isinstance(factor, Sequence) else (factor,) * axes
        wanted = tuple(math.floor(n * f) for n, f in zip(size, factors, strict=True))
        if call.get("recompute_scale_factor") or call["mode"] == "area":
            factors = None
    if call.get("align_corners"):
        return wanted, tuple(
            (n - 1) / (w - 1) if w > 1 else 1.0 for n, w in zip(size, wanted, strict=True)
        )
    if factors is not None:
        return wanted, tuple(1.0 / f for f in factors)
    return wanted, tuple(n / max(w, 1) for n, w in zip(size, wanted, strict=True))


def _interpolated_axis(signal: Tensor, axis: int, rate: int, mode: str) -> Tensor:
    """Interpolate along one axis at (s + (rate - 1) / 2), for every s with that inside the input.

    This is where torch samples without ``align_corners``; beyond the ends it repeats the end.
    """
    if rate % 2:  # falls on samples
        return signal.narrow(axis, rate // 2, signal.shape[axis] - rate // 2)
    kernel, support = _KERNELS[mode]
    offsets = torch.arange(rate // 2 - support, rate // 2 + support)
    weights = kernel(offsets - (rate - 1) / 2).tolist()
    length, last = signal.shape[axis] - rate // 2, signal.shape[axis] - 1
    index = torch.arange(length, device=signal.device)
    total = torch.zeros_like(signal.narrow(axis, 0, length))
    for offset, weight in zip(offsets.tolist(), weights, strict=True):
        total = total + weight * signal.index_select(axis, (index + offset).clamp(0, last))
    return total


def _antialiased_axis(signal: Tensor, axis: int, rate: int, mode: str) -> Tensor:
    """Filter along one axis with the kernel stretched by the rate, renormalised at the ends."""
    size = signal.shape[axis]
    exact = torch.promote_types(signal.dtype, torch.float32)
    position = torch.arange(size, device=signal.device, dtype=exact)
    center = position[: size - rate // 2, None] + (rate - 1) / 2
    weights = _ANTIALIAS_KERNELS[mode]((position - center) / rate)
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(signal.dtype)
    with unrounded(signal.device.type):
        return (signal.movedim(axis, -1) @ weights.T).movedim(-1, axis)
