"""Strided convolutions: the same convolution at stride 1, then decimation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from aliascope.sites.calls import all_axes, bind, per_axis
from aliascope.sites.registry import register
from aliascope.sites.split import Split


@register(*all_axes("conv{}d"))
def _conv(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    call = bind("input weight bias stride padding dilation groups", args, kwargs, stride=1)
    return _split(function, call)


@register(
    torch.convolution,
    torch._convolution,
    "aten::convolution",
    "aten::_convolution",
    "aten::convolution_overrideable",
)
def _convolution(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    names = "input weight bias stride padding dilation transposed output_padding groups"
    flags = "benchmark deterministic cudnn_enabled allow_tf32"
    call = bind(f"{names} {flags}", args, kwargs)
    # Of all these operators only the names of the first eight agree: the rest go by position.
    order = [name for name in f"{names} {flags}".split() if name in call]
    if call["transposed"]:
        return None
    return _split(lambda **call: function(*(call[name] for name in order)), call)


@register(torch.mkldnn_convolution, "aten::mkldnn_convolution")
def _mkldnn_convolution(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Split | None:
    names = "input weight bias padding stride dilation groups"
    call = bind(names, args, kwargs)
    return _split(lambda **call: function(*(call[name] for name in names.split())), call)


def _split(function: Callable[..., Any], call: dict[str, Any]) -> Split | None:
    axes = call["weight"].ndim - 2
    stride = per_axis(call["stride"], axes)
    if max(stride) == 1:
        return None
    call["stride"] = (1,) * axes
    channels, groups = call["weight"].shape[0], call.get("groups", 1)
    step = channels // groups if groups > 1 else 1
    batched = call["input"].ndim == axes + 2

    def part(samples: slice, kept: slice) -> Tensor:
        piece = {**call, "input": call["input"][samples]}
        if kept.stop - kept.start < channels:
            piece["weight"] = call["weight"][kept]
            if call.get("bias") is not None:
                piece["bias"] = call["bias"][kept]
            if groups > 1:  # whole groups, each with its own channels of the input
                each = call["input"].shape[1] // groups
                first, last = kept.start // step, kept.stop // step
                piece["input"] = piece["input"][:, first * each : last * each]
                piece["groups"] = last - first
        return function(**piece)

    return Split(
        "conv",
        stride,
        lambda: function(**call),
        batched=batched,
        part=part if batched else None,
        samples=call["input"].shape[0],
        channels=channels,
        channel_step=step,
    )
