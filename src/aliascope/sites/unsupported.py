"""Operations that resample and cannot be split: listed with the reason, never dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from aliascope.sites.calls import all_axes, bind, per_axis
from aliascope.sites.registry import register
from aliascope.sites.split import Unsupported


@register(
    F.grid_sample,
    *(
        form
        for name in ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
        for form in (getattr(torch, name), f"aten::{name}")
    ),
)
def _grid_sample(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("grid_sample", "samples at positions that depend on data")


@register(
    *(f"torchvision::{kind}_{name}" for kind in ("roi", "ps_roi") for name in ("align", "pool"))
)
def _roi(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("roi_pool", "samples boxes at positions that depend on data")


@register("torchvision::deform_conv2d")
def _deformable_conv(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported | None:
    call = bind("input weight offset mask bias stride_h stride_w", args, kwargs)
    stride = (int(call["stride_h"]), int(call["stride_w"]))
    if max(stride) == 1:
        return None
    return Unsupported("deform_conv", "its offsets are given at the kept samples only", stride)


@register(F.pixel_unshuffle, "aten::pixel_unshuffle")
def _pixel_unshuffle(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("pixel_unshuffle", "moves samples to channels and drops none")


@register(F.unfold, torch._C._nn.im2col, "aten::im2col")
def _unfold(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported | None:
    names = "input kernel_size dilation padding stride"
    stride = per_axis(bind(names, args, kwargs, stride=1)["stride"], 2)
    if max(stride) == 1:
        return None
    return Unsupported("unfold", "moves patches to channels; their filter comes later", stride)


@register(*all_axes("fractional_max_pool{}d", "fractional_max_pool{}d_with_indices"))
def _fractional_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("fractional_pool", "windows are placed at random, not at a fixed rate")


@register(
    *(
        f"quantized::conv{axes}d{variant}"
        for axes in (1, 2, 3)
        for variant in ("", "_relu", "_add", "_add_relu", "_dynamic")
    )
)
def _quantized_conv(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported | None:
    packed: Any = next(
        arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.ScriptObject)
    )
    stride = tuple(int(s) for s in packed.stride())
    if max(stride) == 1:
        return None
    return Unsupported("conv", "its signal is quantised, and its weights are packed", stride)
