"""Memory formats: which one an operation gives for which inputs, learnt from the operation itself.

Code that follows an operation may ask for the strides of what it gave, as ``view`` does. Which
format that is depends on the operation, the kernel and the formats of all inputs, and is nowhere
written down; so each is tried once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

Layout = tuple[Any, ...]


def order_of(tensor: Tensor) -> tuple[int, ...]:
    """Axes from the largest stride to the smallest.

    Of equal strides the axis of one sample comes last, so that it gets its stride back too: torch
    reads the format for what follows off it.

    Examples
    --------
    >>> order_of(torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))
    (0, 2, 3, 1)
    """
    strides, size = tensor.stride(), tensor.shape
    return tuple(sorted(range(tensor.ndim), key=lambda i: (-strides[i], size[i] == 1, i)))


def strides_of(tensor: Tensor) -> list[int]:
    """Strides of the axes that have more than one sample; the others' mean nothing."""
    return [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]


def layout_of(tensors: Iterable[Tensor]) -> Layout:
    """Say what the format of an operation's output may depend on, for the tensors of a call.

    Sizes are left out, but for whether there is more than one sample along an axis.
    """
    how = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled())
    each = (
        (order_of(x), tuple(n == 1 for n in x.shape), x.is_contiguous(), x.dtype, x.requires_grad)
        for x in tensors
    )
    return (how, *each)
