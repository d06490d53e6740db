"""Large dense signals part by part: some samples, or some channels of one, at a time.

A dense signal is as large as the operation's input, r_h · r_w times the output that the network
itself would make, and with a batch of them in memory the machine spends its time on page faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aliascope.sites import Split

PART_BYTES = {"cpu": 16 << 20}
"""A part is not larger than this where that is possible, so that it stays in the cache."""

WORKSPACE = {"cpu": 256 << 20, "cuda": 1 << 30}
"""Bytes that handlers may take beside the network's own, by kind of device."""

LEAST_WORKSPACE = 1 << 20
"""Bytes without which nothing works."""


def workspace_of(device_type: str, given: int | None = None) -> int:
    """Bytes that handlers may take on a device: as given, or by default.

    Examples
    --------
    >>> workspace_of("cpu") >> 20, workspace_of("cuda", 5)
    (256, 5)
    """
    return WORKSPACE.get(device_type, WORKSPACE["cuda"]) if given is None else given


@dataclass(frozen=True)
class Part:
    """Which part of a dense signal this is.

    Attributes
    ----------
    shape : tuple of int
        (N, C, *size) of the whole.
    samples, channels : slice
        Of the whole, with known ends.

    Examples
    --------
    >>> part = Part((4, 8, 5, 5), slice(0, 4), slice(4, 8))
    >>> part.first, part.last, part.index
    (False, True, (slice(0, 4, None), slice(4, 8, None)))
    """

    shape: tuple[int, ...]
    samples: slice
    channels: slice

    @classmethod
    def whole(cls, dense: Tensor) -> Part:
        """Make the one part that a signal is as a whole."""
        shape = tuple(dense.shape)
        return cls(shape, slice(0, shape[0]), slice(0, shape[1]))

    @property
    def index(self) -> tuple[slice, slice]:
        """Where it lies in anything of (N, C, ...)."""
        return self.samples, self.channels

    @property
    def first(self) -> bool:
        """Whether it is the first of its signal."""
        return self.samples.start == 0 and self.channels.start == 0

    @property
    def last(self) -> bool:
        """Whether it is the last of its signal."""
        return (self.samples.stop, self.channels.stop) == self.shape[:2]


@dataclass(frozen=True)
class Cut:
    """How a dense signal is cut into parts.

    Attributes
    ----------
    shape : tuple of int
        (N, C, *size) of the whole.
    samples, channels : int
        Of a part, at most.

    Examples
    --------
    >>> [(part.samples.start, part.channels.stop) for part in Cut((2, 5, 8, 8), 1, 4)]
    [(0, 4), (0, 5), (1, 4), (1, 5)]
    """

    shape: tuple[int, ...]
    samples: int
    channels: int

    def __iter__(self) -> Iterator[Part]:
        n, c = self.shape[:2]
        for i in range(0, n, self.samples):
            for k in range(0, c, self.channels):
                samples = slice(i, min(i + self.samples, n))
                yield Part(self.shape, samples, slice(k, min(k + self.channels, c)))


def plan_parts(split: Split, one: Tensor, workspace: int) -> Cut | None:
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
    return Cut((split.samples, split.channels, *one.shape[2:]), samples, channels)
