"""Large dense signals part by part: some samples, or some channels of one, at a time.

A dense signal is as large as the operation's input, r_h · r_w times the output that the network
itself would make, and with a batch of them in memory the machine spends its time on page faults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aliascope.sites import Site, Split
from aliascope.sites.calls import memory_format

PART_BYTES = {"cpu": 16 << 20}
"""A part is not larger than this where that is possible, so that it stays in the cache."""


class PartsHandler(Protocol):
    """What is told of a site whose dense signal comes part by part, in place of handlers."""

    @property
    def takes_parts(self) -> bool:
        """Whether it can do with parts now."""

    def workspace(self, device_type: str) -> int:
        """Bytes that may be taken beside the network's own."""

    def begin(self, site: Site, shape: tuple[int, ...]) -> None:
        """Expect the parts of a dense signal of this shape, (N, C, *size)."""

    def add(self, site: Site, dense: Tensor, samples: slice, channels: slice) -> None:
        """Take a part."""

    def end(self, site: Site) -> None:
        """All parts were there."""


@dataclass(frozen=True)
class Parts:
    """How a dense signal is cut.

    Attributes
    ----------
    shape : tuple of int
        (N, C, *size) of the whole.
    samples, channels : int
        Of a part, at most.

    Examples
    --------
    >>> [(part[0].start, part[1].stop) for part in Parts((2, 5, 8, 8), samples=1, channels=4)]
    [(0, 4), (0, 5), (1, 4), (1, 5)]
    """

    shape: tuple[int, ...]
    samples: int
    channels: int

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        n, c = self.shape[:2]
        for i in range(0, n, self.samples):
            for k in range(0, c, self.channels):
                yield slice(i, min(i + self.samples, n)), slice(k, min(k + self.channels, c))

    def empty_like(self, dense: Tensor, rate: Sequence[int]) -> Tensor:
        """Make room for the whole decimated signal, laid out as a part of the dense one is."""
        kept = (-(-n // r) for n, r in zip(dense.shape[2:], rate, strict=True))
        return torch.empty(
            (*self.shape[:2], *kept),
            dtype=dense.dtype,
            device=dense.device,
            memory_format=memory_format(dense),
        )


def plan_parts(split: Split, one: Tensor, workspace: int) -> Parts | None:
    """Cut a dense signal so that a part takes at most half the workspace; None: it need not be.

    Parameters
    ----------
    split : Split
        With ``part``.
    one : Tensor, shape (1, channel_step, *size)
        Its smallest part.
    workspace : int
        Bytes.
    """
    limit = workspace // 2
    target = min(limit, PART_BYTES.get(one.device.type, limit))
    channel_bytes = one[0, 0].numel() * one.element_size()
    sample_bytes = channel_bytes * split.channels
    if sample_bytes * split.samples <= target:
        return None
    samples, channels = max(1, target // sample_bytes), split.channels
    if sample_bytes > limit:
        channels = max(1, limit // (channel_bytes * split.channel_step)) * split.channel_step
    if samples >= split.samples and channels >= split.channels:
        return None
    return Parts((split.samples, split.channels, *one.shape[2:]), samples, channels)
