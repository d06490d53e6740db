"""What a site is, and how an operation splits into dense operation and decimation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Site:
    """One place in one forward pass where a signal is decimated.

    Two are equal where path and number are, whatever else is known of them.

    Attributes
    ----------
    path : str
        Path of the module it runs in; ``(root)`` is the model's own forward.
    number : int
        Counts the sites of that module in one pass, from 1.
    op : str
        Kind of operation: "conv", "max_pool", "avg_pool", "lp_pool", "adaptive_pool", "slice",
        "interpolate", or what a registered rule calls it.
    rate : tuple of int
        Decimation rate, per spatial axis; empty where it is not known.
    dense_shape : tuple of int
        (C, *size) of the dense signal when it was first seen; empty where not measured.

    Examples
    --------
    >>> Site("layer1.0.conv1", 1, "conv", (2, 2)) == Site("layer1.0.conv1", 1)
    True
    >>> str(Site("pool", 1)), str(Site("pool", 2))
    ('pool', 'pool#2')
    """

    path: str
    number: int = 1
    op: str = field(default="", compare=False)
    rate: tuple[int, ...] = field(default=(), compare=False)
    dense_shape: tuple[int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """Name it for a message, where it is not known how many sites its module has."""
        return self.path if self.number == 1 else f"{self.path}#{self.number}"


@dataclass(frozen=True)
class Split:
    """An operation as *dense operation, then decimation*.

    Attributes
    ----------
    op : str
        Kind of operation, for :attr:`Site.op`.
    rate : tuple of int
        Decimation rate per spatial axis; the spatial axes of the dense signal are its last ones.
    dense : callable
        Computes the dense signal, (N, C, *size) or, when ``batched`` is False, (C, *size).
    finish : callable, optional
        From the decimated signal to what the original operation returns, where that is more than
        the decimated signal itself.
    batched : bool
        Whether the dense signal has a batch axis.
    contiguous : bool
        Whether the original returns fresh memory (True) or a view of its input (False).
    part : callable, optional
        Computes the dense signal of some samples and channels, given as two slices of known ends,
        so that a large one need not be there at once.
    samples, channels : int
        Of the dense signal, where ``part`` is given.
    channel_step : int
        Slices of channels must begin and end at multiples of this.
    source : Tensor, optional
        What a slice is of, to see whether others keep what it drops.
    phase : tuple of int
        Where a slice begins, per spatial axis of the source, less than the rate there; empty where
        slices at all phases would still not keep every sample.
    """

    op: str
    rate: tuple[int, ...]
    dense: Callable[[], Tensor]
    finish: Callable[[Tensor], Any] = field(default=lambda decimated: decimated)
    batched: bool = True
    contiguous: bool = True
    part: Callable[[slice, slice], Tensor] | None = None
    samples: int = 0
    channels: int = 0
    channel_step: int = 1
    source: Tensor | None = None
    phase: tuple[int, ...] = ()

    @classmethod
    def by_channel(
        cls,
        op: str,
        rate: tuple[int, ...],
        signal: Tensor,
        dense_of: Callable[[Tensor], Tensor],
        finish: Callable[[Tensor], Any] = lambda decimated: decimated,
    ) -> Split:
        """Split an operation that treats all samples and channels of its input alike, each alone.

        Parameters
        ----------
        op, rate, finish
            As for the class.
        signal : Tensor
            Input, (N, C, *size) or (C, *size).
        dense_of : callable
            From the input, or some samples and channels of it, to the dense signal.
        """
        batched = signal.ndim == len(rate) + 2
        return cls(
            op,
            rate,
            lambda: dense_of(signal),
            finish,
            batched=batched,
            part=(lambda samples, channels: dense_of(signal[samples, channels]))
            if batched
            else None,
            samples=signal.shape[0],
            channels=signal.shape[1],
        )

    def kept(self, dense: Tensor) -> Tensor:
        """View every rate-th sample of the last axes."""
        index: Any = (..., *(slice(None, None, r) for r in self.rate))
        return dense[index]

    def decimate(self, dense: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """Keep every rate-th sample of the last axes.

        Parameters
        ----------
        dense : Tensor, shape (..., *size)
            As ``dense`` gives it, or a handler.
        order : sequence of int, optional
            Axes from the largest stride of the result to the smallest; as in ``dense`` by default.
        """
        kept = self.kept(dense)
        if not self.contiguous:
            return kept
        if order is None:
            return kept.clone()
        back = [order.index(axis) for axis in range(kept.ndim)]
        return kept.permute(*order).clone(memory_format=torch.contiguous_format).permute(back)


@dataclass(frozen=True)
class Stepped:
    """A call that is no site by itself, but may be half of one: what it gave is to be remembered.

    Attributes
    ----------
    remember : callable
        Told the call's output.
    """

    remember: Callable[[Tensor], None]


@dataclass(frozen=True)
class Unsupported:
    """A resampling operation that cannot be split, and why.

    Attributes
    ----------
    op : str
        Kind of operation.
    reason : str
        One clause, for :attr:`Site.reason`.
    rate : tuple of int
        Decimation rate where it is known.
    """

    op: str
    reason: str
    rate: tuple[int, ...] = ()
