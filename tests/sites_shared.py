"""An operation plain and opened, compared; and settings of operations to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

import aliascope as al
from aliascope.seam.handlers import Handler

examples = settings(max_examples=60, deadline=None, derandomize=True, report_multiple_bugs=False)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.04}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class On:
    """A handler of one function of site and whole dense signal."""

    whole = True

    def __init__(self, function: Callable[[al.Site, Tensor], Tensor | None]) -> None:
        self.function = function

    def begin(self, batch: Any) -> None: ...

    def take(self, site: al.Site, dense: Tensor, part: Any) -> Tensor | None:
        return self.function(site, dense)

    def end(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"name": "on"}


class Running(nn.Module):
    """A model whose forward is one operation."""

    def __init__(self, operation: Callable[..., Any]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, *inputs: Any) -> Any:
        return self.operation(*inputs)


def seen(
    operation: Callable[..., Any], *inputs: Any, handlers: Sequence[Handler] = ()
) -> al.SiteList:
    """Sites of an operation, whose output is compared with and without Scope."""
    model = operation if isinstance(operation, nn.Module) else Running(operation)
    plain = model(*inputs)
    with al.Scope(model, detail=None, handlers=handlers) as scope:
        opened = model(*inputs)
    assert_same(opened, plain)
    return scope.sites


def assert_same(opened: Any, plain: Any) -> None:
    assert type(opened) is type(plain)
    if isinstance(plain, tuple):
        assert len(opened) == len(plain)
        for one, other in zip(opened, plain, strict=True):
            assert_same(one, other)
        return
    assert opened.shape == plain.shape
    assert opened.dtype == plain.dtype
    assert layout(opened) == layout(plain)
    assert_close(opened, plain)


def assert_close(one: Tensor, other: Tensor) -> None:
    """Of floating-point numbers, up to the rounding of their type."""
    if not other.is_floating_point():
        assert torch.equal(one, other)
        return
    close = TOLERANCE[other.dtype]
    peak = float(other.detach().abs().max()) if other.numel() else 0.0
    torch.testing.assert_close(one, other, rtol=close, atol=close * peak, equal_nan=True)


def layout(tensor: Tensor) -> list[int]:
    """Strides of the axes that have any."""
    return [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]


def assert_one_site(
    sites: Sequence[Any], op: str, rate: Sequence[int], kept: Sequence[int], close: float
) -> None:
    """One supported site of this rate, or none where it would keep only frequency zero."""
    if max(rate) == 1 or max(kept) == 1:
        assert sites == []
        return
    (site,) = sites
    assert (site.name, site.op, site.rate, site.reason) == ("(root)", op, tuple(rate), "")
    assert site.supported
    assert site.recomposition_error <= close


def per_axis(axes: int, low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(low, high)] * axes)


def inputs(draw: Any, shape: Sequence[int], *dtypes: torch.dtype) -> Tensor:
    """Draw a signal, (N, C, *size) or channels-last in memory."""
    dtype = draw(st.sampled_from(dtypes or (torch.float32, torch.float64, torch.bfloat16)))
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    if len(shape) in CHANNELS_LAST and draw(st.booleans()):
        x = x.contiguous(memory_format=CHANNELS_LAST[len(shape)])
    return x


WIDE = (torch.float32, torch.float64)
"""Precisions that torch averages volumes in on a CPU."""


def unbatched(draw: Any, x: Tensor) -> Tensor:
    """Perhaps without the batch axis; without one, torch says nothing of channels-last memory."""
    return x[0] if draw(st.booleans()) and x.is_contiguous() else x


def spelled(draw: Any, values: tuple[int, ...]) -> int | list[int] | tuple[int, ...]:
    """One of the ways to write one number per axis."""
    ways: list[Any] = [values, list(values)]
    if len(set(values)) == 1:
        ways.append(values[0])
    return draw(st.sampled_from(ways))
