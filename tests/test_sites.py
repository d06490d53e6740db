"""Every site is the dense operation, then decimation: nothing a model returns may change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import aliascope as al
from sites_shared import (
    TOLERANCE,
    WIDE,
    Running,
    assert_one_site,
    examples,
    inputs,
    per_axis,
    seen,
    unbatched,
)

torch.set_num_threads(1)

aten = torch.ops.aten


# -- dense, then decimated, is the operation ------------------------------------------------------


@pytest.mark.parametrize("pads_count", [True, False])
def test_windows_that_reach_beyond_the_padding_average_what_is_inside(pads_count: bool) -> None:
    for kernel, stride, padding, size in itertools.product((2, 3, 4), (2, 3), (0, 1), (7, 8, 9)):
        pool = nn.AvgPool2d(kernel, stride, padding, True, pads_count)
        (site,) = seen(pool, torch.randn(1, 1, size, size, dtype=torch.float64))
        assert site.supported and site.recomposition_error < 1e-12


@examples
@given(st.data())
def test_adaptive_pooling_at_a_whole_rate_is_a_dense_one_decimated(data: st.DataObject) -> None:
    draw = data.draw
    axes = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["avg", "max"]))
    kept, steps = draw(per_axis(axes, 1, 4)), draw(per_axis(axes, 1, 3))
    size = [n * r for n, r in zip(kept, steps, strict=True)]
    x = inputs(draw, (2, 3, *size), *(WIDE if axes == 3 else ()))
    if axes == 3 and kind == "max":  # torch's gives up channels-last memory, its max pooling not
        x = x.contiguous()
    x = unbatched(draw, x)
    wanted = [None if r == 1 and axes > 1 else n for n, r in zip(kept, steps, strict=True)]
    settings = {"return_indices": draw(st.booleans())} if kind == "max" else {}
    if draw(st.booleans()):
        operation = getattr(nn, f"Adaptive{kind.title()}Pool{axes}d")(tuple(wanted), **settings)
    else:
        functional = getattr(F, f"adaptive_{kind}_pool{axes}d")

        def operation(x: Tensor) -> Any:
            return functional(x, tuple(wanted), **settings)

    # an axis that keeps one sample is pooled whole: its dense signal has one sample, too
    rate = tuple(1 if n == 1 else r for n, r in zip(kept, steps, strict=True))
    sites = seen(operation, x)
    assert_one_site(sites, "adaptive_pool", rate, kept, TOLERANCE[x.dtype])


@settings(examples, max_examples=100)
@given(st.data())
def test_a_stepped_slice_is_a_plain_one_decimated(data: st.DataObject) -> None:
    draw = data.draw
    axes = draw(st.sampled_from([2, 2, 3]))
    size = draw(per_axis(axes, 6, 9))
    bound = st.one_of(st.none(), st.integers(-10, 10))
    cuts = [slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3]))) for _ in size]
    channels_last = draw(st.booleans())
    lead = draw(st.sampled_from([(slice(None), slice(None)), (..., slice(None)), (...,)]))
    if channels_last:
        x = inputs(draw, (2, *size, 3), torch.float32)
        index: tuple[Any, ...] = (slice(None), *cuts, *draw(st.sampled_from([(), (...,)])))
    else:
        x = inputs(draw, (2, 3, *size), torch.float32)
        index = (*(lead if axes == 2 else (...,)), *cuts)
    if index.count(...) and len(index) > x.ndim + 1:
        index = (..., *cuts)

    dense = [len(range(n)[slice(c.start, c.stop)]) for c, n in zip(cuts, size, strict=True)]
    rate = tuple(1 if n == 1 else c.step or 1 for c, n in zip(cuts, dense, strict=True))
    kept = [-(-n // (c.step or 1)) for c, n in zip(cuts, dense, strict=True)]
    sites = seen(lambda x: x[index], x)
    if sum((c.step or 1) > 1 for c in cuts) < 2 or 0 in kept:
        assert sites == []
        return
    assert_one_site(sites, "slice", rate, kept, 0.0)
    if sites:
        assert sites[0].dense_shape == (3, *dense)


MODES = {
    1: ["nearest", "nearest-exact", "linear", "area"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area", "bilinear+", "bicubic+"],
    3: ["nearest", "nearest-exact", "trilinear", "area"],
}
"""Modes of F.interpolate by number of axes; + antialiases."""


@settings(examples, max_examples=150)
@given(st.data())
def test_interpolation_at_a_whole_rate_is_a_dense_one_decimated(data: st.DataObject) -> None:
    draw = data.draw
    axes = draw(st.sampled_from([1, 2, 2, 2, 3]))
    mode = draw(st.sampled_from(MODES[axes]))
    antialias, mode = mode.endswith("+"), mode.removesuffix("+")
    rate = draw(per_axis(axes, 1, 5))
    kept = draw(per_axis(axes, 2, 4))
    corners = "linear" in mode or mode == "bicubic"
    corners = corners and not antialias and draw(st.booleans())
    arguments: dict[str, Any] = {"mode": mode, **({"antialias": True} if antialias else {})}
    if corners:
        size = [r * (n - 1) + 1 for n, r in zip(kept, rate, strict=True)]
        arguments |= {"align_corners": True, "size": list(kept)}
    elif draw(st.booleans()):
        size = [r * n for n, r in zip(kept, rate, strict=True)]
        arguments |= {"size": kept}
    else:
        arguments |= {"scale_factor": tuple(1 / r for r in rate)}
        whole = draw(st.booleans()) or mode == "area"
        size = [
            r * n + (0 if whole else draw(st.integers(0, r - 1)))
            for n, r in zip(kept, rate, strict=True)
        ]
        if whole:
            arguments["recompute_scale_factor"] = draw(st.sampled_from([None, True, False]))
            if mode == "area":
                arguments["recompute_scale_factor"] = None
    x = inputs(draw, (2, 3, *size), *(WIDE if antialias or axes == 3 else ()))
    sites = seen(lambda x: F.interpolate(x, **arguments), x)
    assert_one_site(sites, "interpolate", rate, kept, TOLERANCE[x.dtype])


def test_antialiased_interpolation_is_the_same_under_autocast() -> None:
    x = torch.randn(2, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        (site,) = seen(
            lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), x
        )
    assert site.supported and site.recomposition_error < 1e-6


@pytest.mark.parametrize(
    ("operation", "op"),
    [
        (lambda x, w: aten.conv2d(x, w, None, [2, 2]), "conv"),
        (lambda x, w: aten.conv2d.default(x, w, None, [2, 2], [1, 1]), "conv"),
        (lambda x, w: aten.conv2d.padding(x, w, None, [2, 2], "valid"), "conv"),
        (lambda x, w: torch.conv2d(x, w, stride=2), "conv"),
        (
            lambda x, w: torch.convolution(x, w, None, [2, 2], [0, 0], [1, 1], False, [0, 0], 1),
            "conv",
        ),
        (
            lambda x, w: aten.convolution.default(
                x, w, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1
            ),
            "conv",
        ),
        (lambda x, w: aten.max_pool2d.default(x, [3, 3], [2, 2], [1, 1]), "max_pool"),
        (lambda x, w: aten.max_pool2d_with_indices(x, [3, 3], [2, 2]), "max_pool"),
        (lambda x, w: aten.max_pool2d_with_indices.default(x, [2, 2]), "max_pool"),
        (lambda x, w: aten.avg_pool2d.default(x, [2, 2]), "avg_pool"),
        (lambda x, w: aten.adaptive_avg_pool2d.default(x, [6, 6]), "adaptive_pool"),
        (lambda x, w: aten._adaptive_avg_pool2d(x, [6, 6]), "adaptive_pool"),
        (lambda x, w: aten.adaptive_max_pool2d(x, [6, 6]), "adaptive_pool"),
        (lambda x, w: torch._C._nn.adaptive_max_pool2d(x, [6, 6]), "adaptive_pool"),
        (lambda x, w: aten.upsample_nearest2d.default(x, [6, 6]), "interpolate"),
        (lambda x, w: aten.upsample_nearest2d.vec(x, None, [0.5, 0.5]), "interpolate"),
        (lambda x, w: aten._upsample_nearest_exact2d.vec(x, [6, 6], None), "interpolate"),
        (lambda x, w: aten.upsample_bilinear2d.vec(x, [6, 6], False, None), "interpolate"),
        (
            lambda x, w: torch._C._nn.upsample_bicubic2d(x, None, False, [0.5, 0.5]),
            "interpolate",
        ),
        (lambda x, w: aten._upsample_bilinear2d_aa.default(x, [6, 6], False), "interpolate"),
    ],
)
def test_operators_below_the_functional_interface_are_sites(operation: Any, op: str) -> None:
    (site,) = seen(operation, torch.randn(2, 3, 12, 12), torch.randn(4, 3, 3, 3))
    assert (site.op, site.rate, site.supported) == (op, (2, 2), True)
    assert site.recomposition_error < 1e-5


def test_a_one_dimensional_operator_that_returns_indices_still_does() -> None:
    (site,) = seen(lambda x: torch.adaptive_max_pool1d(x, 4), torch.randn(2, 3, 12))
    assert (site.op, site.rate) == ("adaptive_pool", (3,))
    assert seen(lambda x: torch.max_pool1d_with_indices(x, 2), torch.randn(2, 3, 12))


def test_a_slice_stays_a_view_of_what_it_is_taken_from() -> None:
    def brighten(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, ::2, ::2].add_(1)
        x[:, :, 1::2, 1::2] += 2
        return x

    sites = seen(brighten, torch.zeros(1, 2, 8, 8))
    assert [site.op for site in sites] == ["slice", "slice"]


def test_an_interpolated_signal_shares_no_memory_with_its_input() -> None:
    def operation(x: Tensor) -> Tensor:
        x = x.clone()
        F.interpolate(x, size=(1, 4)).zero_()
        return x

    assert seen(operation, torch.ones(1, 1, 2, 8))[0].op == "interpolate"


def test_steps_may_be_any_whole_number_type() -> None:
    two = np.int64(2)
    (site,) = seen(lambda x: x[:, :, ::two, :: torch.tensor(2)], torch.randn(1, 2, 8, 8))
    assert (site.op, site.rate) == ("slice", (2, 2))


# -- what is not a site ---------------------------------------------------------------------------

SQUARE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

NOT_SITES = {
    "convolution at stride 1": nn.Conv2d(4, 4, 3, padding=1),
    "dilated convolution": nn.Conv2d(4, 4, 3, dilation=2),
    "transposed convolution": nn.ConvTranspose2d(4, 4, 2, stride=2),
    "transposed convolution, operator": lambda x: torch.convolution(
        x, torch.ones(4, 4, 2, 2), None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1
    ),
    "max pooling at stride 1": nn.MaxPool2d(3, stride=1, padding=1),
    "average pooling at stride 1": nn.AvgPool2d(3, stride=1),
    "global average pooling": nn.AdaptiveAvgPool2d(1),
    "global max pooling": nn.AdaptiveMaxPool2d((1, 1)),
    "average pooling of the whole": nn.AvgPool2d(8),
    "average pooling that keeps one sample of many": nn.AvgPool2d(5),
    "convolution over the whole": nn.Conv2d(4, 4, 8, stride=8),
    "pooling of one axis whole": nn.AdaptiveAvgPool2d((1, None)),
    "interpolation to one sample": lambda x: F.interpolate(x, size=1),
    "adaptive pooling to the same size": nn.AdaptiveAvgPool2d(8),
    "adaptive pooling to a larger size": nn.AdaptiveAvgPool2d(16),
    "nearest upsampling": nn.Upsample(scale_factor=2),
    "bilinear upsampling": nn.Upsample(scale_factor=1.5, mode="bilinear"),
    "interpolation to the same size": lambda x: F.interpolate(x, size=(8, 8), mode="bicubic"),
    "step over channels": lambda x: x[:, ::2],
    "step over samples": lambda x: x[::2],
    "step over one spatial axis": lambda x: x[:, :, ::2],
    "step over the other spatial axis": lambda x: x[..., 1::2],
    "step over tokens": lambda x: x.flatten(2).transpose(1, 2)[:, ::2],
    "steps over heads and tokens in three axes": lambda x: x.flatten(2)[:, ::2, ::2],
    "slice without steps": lambda x: x[:, :, 1:7, 1:7],
    "index of one channel": lambda x: x[:, 0],
    "mask": lambda x: x[x > 0],
    "list of indices": lambda x: x[[0, 1]],
    "patches at stride 1": lambda x: F.unfold(x, 3),
    "deformable convolution at stride 1": lambda x: torchvision.ops.deform_conv2d(
        x, torch.zeros(2, 18, 6, 6), torch.ones(4, 4, 3, 3)
    ),
    "pixel shuffle": nn.PixelShuffle(2),
}


@pytest.mark.parametrize("what", NOT_SITES)
def test_this_is_not_a_site(what: str) -> None:
    assert seen(NOT_SITES[what], SQUARE) == []


def test_an_empty_signal_is_not_a_site() -> None:
    assert seen(nn.Conv2d(4, 4, 3, stride=2), SQUARE[:0]) == []


def test_one_stepped_axis_of_a_convolution_is_a_site() -> None:
    (site,) = seen(nn.Conv2d(4, 4, 3, stride=(1, 2)), SQUARE)
    assert (site.rate, site.dense_shape) == ((1, 2), (4, 6, 6))


def test_an_axis_with_a_single_sample_has_rate_one() -> None:
    (site,) = seen(nn.MaxPool2d((8, 2), stride=2), SQUARE)
    assert (site.rate, site.dense_shape) == ((1, 2), (4, 1, 7))


def test_the_axes_of_a_channels_last_slice_are_those_in_the_middle() -> None:
    (site,) = seen(lambda x: x[:, 1::2, 1::2, :], torch.randn(2, 8, 6, 5))
    assert (site.rate, site.dense_shape) == ((2, 2), (5, 7, 5))


# -- what is one, and cannot be measured ----------------------------------------------------------

BOXES = [torch.tensor([[0.0, 0.0, 6.0, 6.0]])] * 2

UNSUPPORTED = {
    "adaptive_pool": (nn.AdaptiveAvgPool2d(3), "rate from (8, 8) to (3, 3) samples is not whole"),
    "adaptive_pool of indices": (nn.AdaptiveMaxPool2d(5, return_indices=True), "is not whole"),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=0.7), "is not whole (nearest"),
    "interpolate corners": (
        lambda x: F.interpolate(x, size=4, mode="bilinear", align_corners=True),
        "rate (2.3333, 2.3333) is not whole",
    ),
    "interpolate antialiased corners": (
        lambda x: F.interpolate(
            x[..., :7, :7], size=4, mode="bilinear", align_corners=True, antialias=True
        ),
        "antialias with align_corners has no rule",
    ),
    "interpolate one axis up": (
        lambda x: F.interpolate(x, size=(4, 16), mode="bilinear"),
        "is not whole",
    ),
    "grid_sample": (
        lambda x: F.grid_sample(x, torch.zeros(2, 4, 4, 2), align_corners=False),
        "samples at positions that depend on data",
    ),
    "grid_sample operator": (
        lambda x: aten.grid_sampler(x, torch.zeros(2, 4, 4, 2), 0, 0, False),
        "samples at positions that depend on data",
    ),
    "roi_pool": (
        lambda x: torchvision.ops.roi_align(x, BOXES, 2),
        "samples boxes at positions that depend on data",
    ),
    "roi_pool by position": (
        lambda x: torchvision.ops.ps_roi_pool(x, BOXES, 2),
        "samples boxes at positions that depend on data",
    ),
    "deform_conv": (
        lambda x: torchvision.ops.deform_conv2d(
            x, torch.zeros(2, 18, 3, 3), torch.ones(4, 4, 3, 3), stride=2
        ),
        "its offsets are given at the kept samples only",
    ),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), "moves samples to channels and drops none"),
    "unfold": (nn.Unfold(2, stride=2), "moves patches to channels; their filter comes later"),
    "slice": (
        lambda x: x[:, 0, ::2, ::2],
        "steps over space while it also drops, adds or picks axes",
    ),
    "slice over channels": (
        lambda x: x[:, ::2, ::2, ::2],
        "steps (1, 2, 2, 2) run over channels or samples as well as space",
    ),
    "slice of a mask": (lambda x: (x > 0)[..., ::2, ::2], "its values are bool, not real numbers"),
    "conv of complex numbers": (
        lambda x: torch.view_as_real(
            F.conv2d(x.cfloat(), torch.ones(4, 4, 3, 3).cfloat(), None, 2)
        ),
        "its values are complex64, not real numbers",
    ),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_cannot_be_split_is_listed_with_the_reason(what: str) -> None:
    operation, reason = UNSUPPORTED[what]
    (site,) = seen(operation, SQUARE)
    assert site.op == what.split()[0]
    assert not site.supported
    assert reason in site.reason
    assert site.dense_shape == () and math.isnan(site.recomposition_error)


def test_fractional_pooling_is_listed_with_the_reason() -> None:
    for pool in (
        lambda x: F.fractional_max_pool2d(x, 2, output_size=4),
        nn.FractionalMaxPool2d(2, output_ratio=0.5, return_indices=True),
    ):
        (site,) = al.find_sites(Running(pool), SQUARE)
        assert (site.op, site.supported) == ("fractional_pool", False)
        assert site.reason == "windows are placed at random, not at a fixed rate"


def test_integers_that_torch_rounds_are_not_measured_as_if_they_were_not() -> None:
    picture = (SQUARE * 50).to(torch.uint8)
    (site,) = seen(lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"), picture)
    assert not site.supported
    assert site.reason == "its split gives torch.float32 in place of torch.uint8"


def test_integers_that_are_only_picked_are_measured() -> None:
    (site,) = seen(lambda x: F.interpolate(x, scale_factor=0.5), (SQUARE * 50).to(torch.uint8))
    assert site.supported and site.recomposition_error == 0


def test_a_call_that_its_rule_does_not_understand_is_listed() -> None:
    (site,) = seen(lambda x: aten.max_pool2d(self=x, kernel_size=[2, 2]), SQUARE)
    assert not site.supported
    assert site.reason == "its rule failed on this call (KeyError: 'input')"


def test_a_dense_operation_that_torch_cannot_do_is_listed() -> None:
    whole = (SQUARE * 10).long()  # which cannot be padded with minus infinity
    (site,) = seen(lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), whole)
    assert not site.supported
    assert site.reason.startswith("its rule failed on this call (RuntimeError")


def test_a_wrong_call_raises_as_it_does_without_scope() -> None:
    operation = Running(lambda x: F.conv2d(x, torch.ones(4, 3, 3, 3), stride=2))
    with pytest.raises(RuntimeError) as plain:
        operation(SQUARE)
    with al.Scope(operation, detail=None) as scope, pytest.raises(RuntimeError) as opened:
        operation(SQUARE)
    assert str(opened.value) == str(plain.value)
    assert scope.sites == []


# -- rules of one's own ---------------------------------------------------------------------------


@torch.library.custom_op("aliascope_tests::every_third", mutates_args=())
def every_third(x: Tensor) -> Tensor:
    return x[..., ::3].clone()


class Thirds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aliascope_tests.every_third(x)


@pytest.fixture
def rule() -> Any:
    """Register a rule that answers as told, and take it out again."""
    registered: list[str] = []

    def register(answer: Callable[[Tensor], Any]) -> None:
        name = "aliascope_tests::every_third"
        al.sites.register(name)(lambda function, args, kwargs: answer(args[0]))
        registered.append(name)

    yield register
    al.sites.unregister(*registered)


ROW = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0))


def test_an_operation_without_a_rule_is_not_a_site() -> None:
    assert seen(Thirds(), ROW) == []


def test_a_registered_operation_is_a_site_until_it_is_taken_out() -> None:
    name = "aliascope_tests::every_third"
    al.sites.register(name)(
        lambda function, args, kwargs: al.sites.Split("thirds", (3,), lambda: args[0])
    )
    (site,) = seen(Thirds(), ROW)
    assert (site.op, site.rate, site.dense_shape) == ("thirds", (3,), (1, 12))
    al.sites.unregister(name)
    assert seen(Thirds(), ROW) == []


def test_an_operation_has_one_rule(rule: Any) -> None:
    rule(lambda x: None)
    with pytest.raises(al.AliascopeError, match="has a rule already; remove it with"):
        al.sites.register("aliascope_tests::every_third")(lambda function, args, kwargs: None)


def test_a_rule_of_the_catalogue_can_be_replaced() -> None:
    original = al.sites.rule_for(F.conv2d)
    assert original is not None
    al.sites.unregister(F.conv2d)
    try:
        assert seen(nn.Conv2d(4, 4, 3, stride=2), SQUARE) == []
    finally:
        al.sites.register(F.conv2d)(original)
    assert len(seen(nn.Conv2d(4, 4, 3, stride=2), SQUARE)) == 1


def test_a_rule_that_raises_leaves_the_output_alone(rule: Any) -> None:
    def answer(x: Tensor) -> Any:
        raise KeyError("nothing")

    rule(answer)
    (site,) = seen(Thirds(), ROW)
    assert not site.supported
    assert site.reason == "its rule failed on this call (KeyError: 'nothing')"


def test_a_split_that_gives_other_values_is_not_used(rule: Any) -> None:
    rule(lambda x: al.sites.Split("thirds", (3,), lambda: x.roll(1, -1)))
    (site,) = seen(Thirds(), ROW)
    assert not site.supported
    assert "its split differs from it by" in site.reason


def test_a_split_that_gives_another_shape_is_not_used(rule: Any) -> None:
    rule(lambda x: al.sites.Split("thirds", (2,), lambda: x))
    (site,) = seen(Thirds(), ROW)
    assert not site.supported
    assert site.reason == "its split gives (2, 1, 6) in place of (2, 1, 4)"
