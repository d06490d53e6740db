"""Strided convolutions: the same convolution at stride 1, then decimation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from aliascope.sites.calls import all_axes, bind, per_axis
from aliascope.sites.registry import Split, register


@register(*all_axes("conv{}d"))
def _conv(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    call = bind("input weight bias stride padding dilation groups", args, kwargs, stride=1)
    axes = call["weight"].ndim - 2
    stride = per_axis(call["stride"], axes)
    if max(stride) == 1:
        return None
    call["stride"] = (1,) * axes
    return Split("conv", stride, lambda: function(**call), batched=call["input"].ndim == axes + 2)


@register(torch.convolution, "aten::convolution")
def _convolution(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    names = "input weight bias stride padding dilation transposed output_padding groups"
    call = bind(names, args, kwargs)
    axes = call["weight"].ndim - 2
    stride = per_axis(call["stride"], axes)
    if call["transposed"] or max(stride) == 1:
        return None
    call["stride"] = (1,) * axes
    return Split("conv", stride, lambda: function(**call), batched=call["input"].ndim == axes + 2)
