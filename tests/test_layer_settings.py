"""Whatever a strided layer's settings, it is its dense layer decimated: a thousand drawn ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import aliascope as al
from sites_shared import (
    TOLERANCE,
    WIDE,
    On,
    assert_close,
    assert_one_site,
    examples,
    inputs,
    per_axis,
    seen,
    spelled,
    unbatched,
)

torch.set_num_threads(1)

Layer = Callable[[Tensor], Any]
Case = tuple[Layer, Tensor, tuple[int, ...]]
"""A layer, its input, and its rate."""


def assert_dense_then_decimated(case: Case, op: str, close: float | None = None) -> None:
    """The output is the same under Scope, and is the decimated signal that a handler sees."""
    layer, x, rate = case
    output = layer(x)
    output = output[0] if isinstance(output, tuple) else output
    signals: list[Tensor] = []

    def keep(site: al.Site, dense: Tensor) -> None:
        signals.append(dense)

    sites = seen(layer, x, handlers=[On(keep)])
    close = TOLERANCE[x.dtype] if close is None else close
    assert_one_site(sites, op, rate, output.shape[-len(rate) :], close)
    assert len(signals) == len(sites)
    for dense in signals:
        decimated = dense[(..., *(slice(None, None, step) for step in rate))]
        assert_close(decimated if output.ndim == dense.ndim else decimated.squeeze(0), output)


def long_enough(draw: Any, *windows: Sequence[int]) -> list[int]:
    """Sizes in which a window of (kernel, dilation, padding) fits twice or more along each axis."""
    return [
        max(1, dilation * (kernel - 1) + 2 - 2 * padding) + draw(st.integers(0, 7))
        for kernel, dilation, padding in zip(*windows, strict=True)
    ]


def padded(draw: Any, layer: Layer, axes: int) -> Layer:
    """Perhaps after another padding, with its own number of zeros on each side."""
    if draw(st.integers(0, 3)):
        return layer
    sides = draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
    return lambda x: layer(F.pad(x, sides))


@st.composite
def convolutions(draw: Any) -> Case:
    axes = draw(st.sampled_from([1, 2, 2, 2, 3]))
    stride, kernel = draw(per_axis(axes, 1, 4)), draw(per_axis(axes, 1, 5 if axes < 3 else 3))
    dilation = draw(per_axis(axes, 1, 3 if axes < 3 else 2))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    paddings = per_axis(axes, 0, 2)
    padding = draw(paddings | st.just("valid") if mode == "zeros" else paddings)
    groups = draw(st.sampled_from([1, 2, 4]))
    sides = (0,) * axes if padding == "valid" else padding
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](
        4,
        8,
        kernel,
        spelled(draw, stride),
        padding if padding == "valid" else spelled(draw, padding),
        dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    size = [
        max(n, p + 1)  # no more can be reflected
        for n, p in zip(long_enough(draw, kernel, dilation, sides), sides, strict=True)
    ]
    x = inputs(draw, (2, 4, *size))
    if axes == 3 and kernel[1:] == (1, 1):
        # at stride 1, and on one thread only, torch gives up channels-last memory here
        x = x.contiguous()
    if groups == 4 and x.dtype == torch.bfloat16:
        # torch 2.15's strided convolution, not the dense one, gives garbage for some of these
        x = x.float()
    layer = layer.to(x.dtype).requires_grad_(False)
    if axes == 2 and draw(st.booleans()):
        layer = layer.to(memory_format=torch.channels_last)
    if mode == "zeros" and draw(st.booleans()):
        functional = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        arguments: dict[str, Any] = {
            "stride": list(stride),
            "padding": layer.padding,
            "dilation": layer.dilation,
            "groups": layer.groups,
        }
        weight, bias = layer.weight, layer.bias
        return lambda x: functional(x, weight, bias, **arguments), unbatched(draw, x), stride
    return padded(draw, layer, axes), unbatched(draw, x), stride


@settings(examples, max_examples=400)
@given(convolutions())
def test_a_strided_convolution_is_a_dense_one_decimated(case: Case) -> None:
    assert_dense_then_decimated(case, "conv")


@st.composite
def max_pools(draw: Any) -> Case:
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    kernel, dilation = draw(per_axis(axes, 1, 4)), draw(per_axis(axes, 1, 3 if axes < 3 else 2))
    stride = draw(st.one_of(st.none(), per_axis(axes, 1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil = draw(st.booleans())
    x = unbatched(draw, inputs(draw, (2, 3, *long_enough(draw, kernel, dilation, padding))))
    x.requires_grad_(draw(st.booleans()))  # which has a dense form of its own
    rate = kernel if stride is None else stride
    settings: dict[str, Any] = {"padding": padding, "dilation": dilation, "ceil_mode": ceil}
    form = draw(st.sampled_from(["module", "functional", "torch", "with_indices"]))
    if form == "module":
        settings["return_indices"] = draw(st.booleans())
        layer = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
        return padded(draw, layer(spelled(draw, kernel), stride, **settings), axes), x, rate
    if form == "functional":
        settings["return_indices"] = draw(st.booleans())
    pool = {
        "functional": getattr(F, f"max_pool{axes}d"),
        "torch": getattr(torch, f"max_pool{axes}d"),
        "with_indices": getattr(F, f"max_pool{axes}d_with_indices"),
    }[form]
    stride_given = rate if form == "torch" else stride
    return lambda x: pool(x, list(kernel), stride_given, **settings), x, rate


@settings(examples, max_examples=250)
@given(max_pools())
def test_max_pooling_is_a_dense_one_decimated(case: Case) -> None:
    assert_dense_then_decimated(case, "max_pool", close=0.0)


@st.composite
def avg_pools(draw: Any) -> Case:
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    kernel = draw(per_axis(axes, 1, 4))
    stride = draw(st.one_of(st.none(), per_axis(axes, 1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    settings: dict[str, Any] = {
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    if axes > 1:
        settings["divisor_override"] = draw(st.one_of(st.none(), st.integers(1, 9)))
    # avg_pool3d wants to see its kernel fit without the padding
    inner = padding if axes < 3 else (0,) * axes
    size = long_enough(draw, kernel, (1,) * axes, inner)
    x = unbatched(draw, inputs(draw, (2, 3, *size), *(WIDE if axes == 3 else ())))
    rate = kernel if stride is None else stride
    if draw(st.booleans()):
        layer = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1]
        return padded(draw, layer(spelled(draw, kernel), stride, **settings), axes), x, rate
    functional = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    return lambda x: functional(x, kernel, stride, **settings), x, rate


@settings(examples, max_examples=250)
@given(avg_pools())
def test_average_pooling_is_a_dense_one_decimated(case: Case) -> None:
    assert_dense_then_decimated(case, "avg_pool")


@st.composite
def lp_pools(draw: Any) -> Case:
    axes = draw(st.integers(1, 3))
    kernel = draw(per_axis(axes, 1, 3))
    stride = draw(st.one_of(st.none(), per_axis(axes, 1, 3)))
    norm = draw(st.sampled_from([1, 2, 3.0, math.inf, -math.inf]))
    ceil = draw(st.booleans())
    size = long_enough(draw, kernel, (1,) * axes, (0,) * axes)
    x = unbatched(draw, inputs(draw, (2, 3, *size), *WIDE).abs())
    rate = kernel if stride is None else stride
    # lp_pool1d takes a number only
    window: Any = kernel[0] if axes == 1 else kernel
    steps: Any = stride[0] if axes == 1 and stride else stride
    if draw(st.booleans()):
        layer = (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)[axes - 1]
        return padded(draw, layer(norm, window, steps, ceil), axes), x, rate
    pool = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[axes - 1]
    return lambda x: pool(x, norm, window, steps, ceil), x, rate


@settings(examples, max_examples=150)
@given(lp_pools())
def test_lp_pooling_is_a_dense_one_decimated(case: Case) -> None:
    assert_dense_then_decimated(case, "lp_pool")
