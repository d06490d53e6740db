"""Operations that resample and cannot be split: listed with the reason, never dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from aliascope.sites.calls import all_axes, bind, per_axis
from aliascope.sites.registry import Unsupported, register


@register(F.grid_sample, torch.grid_sampler)
def _grid_sample(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("grid_sample", "samples at positions that depend on data")


@register("torchvision::roi_align", "torchvision::roi_pool", "torchvision::ps_roi_align")
def _roi(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("roi_pool", "samples boxes at positions that depend on data")


@register(F.pixel_unshuffle, F.unfold)
def _space_to_depth(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported | None:
    if function is F.unfold:
        names = "input kernel_size dilation padding stride"
        stride = per_axis(bind(names, args, kwargs, stride=1)["stride"], 2)
        if max(stride) == 1:
            return None
        return Unsupported("unfold", "moves patches to channels; their filter comes later", stride)
    return Unsupported("pixel_unshuffle", "moves samples to channels and drops none")


@register(*all_axes("fractional_max_pool{}d", "fractional_max_pool{}d_with_indices"))
def _fractional_pool(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Unsupported:
    return Unsupported("fractional_pool", "windows are placed at random, not at a fixed rate")
