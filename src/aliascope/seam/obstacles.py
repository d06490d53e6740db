"""Why a call cannot be opened: what its tensors are, or who is watching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from aliascope.errors import first_line

LONGEST_REASON = 200
"""Characters of a reason; torch's dispatcher can fill pages."""


def obstacle(args: tuple[Any, ...], kwargs: Mapping[str, Any], *, values: bool) -> str:
    """Say why a call has to run as it is, in one clause; "" where it can be opened.

    Parameters
    ----------
    args, kwargs
        Of the call.
    values : bool
        Whether handlers need the values of dense signals, or only where sites are is asked.

    Examples
    --------
    >>> obstacle((torch.zeros(1),), {"out": torch.zeros(1)}, values=True)
    'it writes into a tensor given as out='
    """
    if kwargs.get("out") is not None:
        return "it writes into a tensor given as out="
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace records it call by call"
    if getattr(torch.compiler, "is_exporting", bool)():
        return "torch.export records it call by call"
    for tensor in tensors_in((args, kwargs)):
        reason = _of_tensor(tensor, values)
        if reason:
            return reason
    return ""


def _of_tensor(tensor: Tensor, values: bool) -> str:
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "it runs under torch.func or vmap, whose signals have no values of their own"
    if isinstance(tensor, FakeTensor) or torch._is_functional_tensor(tensor):
        return "its signal is fake: it has a shape and no values"
    if tensor.is_nested:
        return "its signal is a nested tensor, whose samples differ in size"
    if tensor.is_quantized:
        return "its signal is quantised"
    if tensor.layout not in (torch.strided, torch._mkldnn):  # type: ignore[attr-defined]
        return f"its signal has the layout {str(tensor.layout).removeprefix('torch.')}"
    if values and tensor.is_meta:
        return "its signal is on the meta device, where it has no values"
    return ""


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Find the tensors among arguments, in lists, tuples and dictionaries too."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)


def short(error: BaseException) -> str:
    r"""Shorten what an exception says to one clause.

    Examples
    --------
    >>> short(ValueError("No.\nReally, no."))
    'ValueError: No'
    """
    kind, line = type(error).__name__, first_line(error)
    text = kind if line == kind else f"{kind}: {line}"
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
