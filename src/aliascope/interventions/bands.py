"""A dense signal taken apart: its mean, its low part, and its high part, which aliases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from aliascope.energy import least_varying, low_pass
from aliascope.spectrum import real_signal


@dataclass(frozen=True)
class Bands:
    """A dense signal as mean + low + high, in float32 or wider.

    Attributes
    ----------
    mean : Tensor, shape (n, c, 1, ...)
        Of each map.
    low : Tensor, shape (n, c, *size)
        What of the low part varies: L - m.
    high : Tensor, shape (n, c, *size)
        The rest, H.
    energy : Tensor of float64, shape (n, c, 1, ...)
        Sum of squares of what varies, low + high.
    defined : Tensor of bool, shape (n, c, 1, ...)
        Whether a map varies by more than the rounding of its dtype.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    >>> bands = Bands.of(x, (2, 2))
    >>> torch.allclose(bands.mean + bands.low + bands.high, x)
    True
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    energy: Tensor
    defined: Tensor

    @classmethod
    def of(cls, dense: Tensor, rate: Sequence[int]) -> Bands:
        """Take a dense signal apart.

        Parameters
        ----------
        dense : Tensor, shape (n, c, *size)
            Of any dtype of real numbers.
        rate : sequence of int
            Decimation rate, per spatial axis.
        """
        signal = real_signal(dense)
        axes = tuple(range(-len(rate), 0))
        mean = signal.mean(dim=axes, keepdim=True)
        varying = signal - mean  # first: the rounding of a large mean would drown the rest
        low = low_pass(varying, rate)
        energy = energy_of(varying, len(rate))
        whole = energy + mean.double().square() * varying[0, 0].numel()
        return cls(mean, low, varying - low, energy, energy > least_varying(dense.dtype) * whole)

    @property
    def share(self) -> Tensor:
        """Share of what varies that is high, (n, c, 1, ...), in [0, 1]; 0 where nothing varies."""
        high = energy_of(self.high, self.high.ndim - 2)
        return (high / self.energy).clamp(0, 1).masked_fill(~self.defined, 0)


def energy_of(signal: Tensor, axes: int) -> Tensor:
    """Sum the squares of each map.

    Parameters
    ----------
    signal : Tensor, shape (n, c, *size)
        float32 or wider.
    axes : int
        Number of spatial axes.

    Returns
    -------
    Tensor of float64, shape (n, c, 1, ...)

    Examples
    --------
    >>> import torch
    >>> energy_of(torch.full((1, 2, 3), 2.0), 1).flatten()
    tensor([12., 12.], dtype=torch.float64)
    """
    dim = tuple(range(-axes, 0))
    return signal.square().sum(dim=dim, keepdim=True).double()
