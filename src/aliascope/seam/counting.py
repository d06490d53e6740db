"""How many samples a pass has: told by its inputs, and checked by its first dense signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from aliascope.seam.obstacles import tensors_in


def count_samples(inputs: Sequence[Any], axes: int, rows: int | None, batched: bool) -> int | None:
    """Count the samples of a pass.

    The inputs are looked at for what has the shape of a batch at a site of so many spatial axes:
    ``(samples, C, *size)``, with or without frames in between, or lists of ``(C, *size)``. Where
    nothing has, an input with fewer axes counts if the dense signal has as many rows, as grey
    images without a channel axis do.

    Parameters
    ----------
    inputs : sequence
        Arguments of the model; each may be a nest of tuples, lists and dictionaries.
    axes : int
        Spatial axes of the dense signal, 1 to 3; 2 where there is no site.
    rows : int or None
        Its N, samples × windows; None where there is no site.
    batched : bool
        Whether it has a batch axis.

    Returns
    -------
    int or None
        None where the inputs do not tell.

    Examples
    --------
    Words and pictures; a single picture; a list of detections' pictures:

    >>> import torch
    >>> count_samples([torch.zeros(2, 7), torch.zeros(4, 3, 16, 16)], 2, 4, True)
    4
    >>> count_samples([torch.zeros(3, 9, 9)], 2, 1, False)
    1
    >>> count_samples([[torch.zeros(3, 9, 9), torch.zeros(3, 7, 8)]], 2, 2, True)
    2
    """
    batches = {n for value in inputs for n in _batches(value, axes)}
    if not batched and not batches - {1}:
        return 1
    fitting = {n for n in batches if rows is None or not batched or (n and rows % n == 0)}
    if rows in fitting:
        return rows
    if batches:  # where a site's rows do not divide into the only batch there is, it is the site's
        told = fitting or batches
        return told.pop() if len(told) == 1 else None
    if rows is None:
        return None
    lengths = {len(x) for x in tensors_in(inputs) if x.ndim > 0}
    return rows if rows == 1 or rows in lengths else None


def _batches(value: Any, axes: int) -> Iterator[int]:
    """Lengths of all that has the shape of a batch."""
    if isinstance(value, Tensor):
        if value.ndim >= axes + 2:
            yield len(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _batches(each, axes)
    elif isinstance(value, list | tuple):
        if value and all(isinstance(x, Tensor) and x.ndim == axes + 1 for x in value):
            yield len(value)
        for each in value:
            yield from _batches(each, axes)
