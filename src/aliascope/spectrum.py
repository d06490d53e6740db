"""What aliasing is, as Aliascope counts it: folds, thresholds and categories.

This module is the definition. It is written to be read beside ``docs/definitions.md``, works on a
plain tensor, and keeps no state; the engines in :mod:`aliascope.measures.engines` are faster
ways to count what is defined here and are tested against it.

The categories are those of A. H. Ribeiro and T. B. Schön, "How Convolutional Neural Networks Deal
with Aliasing", ICASSP 2021 (arXiv 2102.07757).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aliascope.categories import Category
from aliascope.errors import AliascopeError

GRIDS = ("auto", "seed", "native")
REFERENCES = ("max", "mean")
FOLD_SCALES = ("auto", "unit", "contribution")

LARGEST_SEED_RATE = 2
"""``grid="auto"`` oversamples the spectrum (grid ``seed``) up to this rate on every axis."""

AUTO_FOLDS = 4
"""``fold_scale="auto"`` is ``unit`` at so many folds, those of rate 2×2."""


@dataclass(frozen=True)
class Criterion:
    """When a fold counts as passing: the four choices behind every number.

    Parameters
    ----------
    threshold_db : float
        How far below the reference level the threshold lies, in decibels of power; above 0.
    reference : {"max", "mean"}
        The reference level: the largest or the mean power of the decimated signal's spectrum,
        over the bins of one sample and channel.
    grid : {"auto", "seed", "native"}
        How many bins the decimated spectrum has; see :func:`bin_counts`.
    fold_scale : {"unit", "contribution", "auto"}
        Compare folds as they are (the published convention); divided by the number of folds, which
        is what each adds to the decimated spectrum; or ``auto``, times 4 over their number: that is
        ``unit`` at rate 2×2, and at every other rate as far below what a fold adds.

    Raises
    ------
    AliascopeError
        If a value is not one of those above.

    Examples
    --------
    >>> Criterion(threshold_db=30).grid
    'auto'
    """

    threshold_db: float = 20.0
    reference: str = "max"
    grid: str = "auto"
    fold_scale: str = "unit"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold_db) and self.threshold_db > 0):
            raise AliascopeError(
                f"threshold_db is {self.threshold_db}, but it must be a number of decibels above 0 "
                "(20 is the published value)."
            )
        for option, known in (
            ("reference", REFERENCES),
            ("grid", GRIDS),
            ("fold_scale", FOLD_SCALES),
        ):
            value = getattr(self, option)
            if value not in known:
                raise AliascopeError(f"{option} is {value!r}, but it must be one of {known}.")

    @property
    def power_ratio(self) -> float:
        """Threshold over reference level, as a ratio of powers."""
        return 10.0 ** (-self.threshold_db / 10.0)

    def grid_for(self, rate: Sequence[int]) -> str:
        """Resolve ``auto``: ``"seed"`` where every rate is at most 2, else ``"native"``."""
        if self.grid != "auto":
            return self.grid
        return "seed" if max(rate) <= LARGEST_SEED_RATE else "native"

    def ratio_for(self, rate: Sequence[int]) -> float:
        """Power of a fold as it is, over the reference level, above which it passes.

        Examples
        --------
        >>> [round(Criterion(fold_scale=s).ratio_for((4, 4)), 2) for s in FOLD_SCALES]
        [0.16, 0.01, 2.56]
        """
        folds = math.prod(rate)
        scale = {"unit": 1.0, "contribution": 1 / folds, "auto": AUTO_FOLDS / folds}
        return self.power_ratio / scale[self.fold_scale] ** 2


def bin_counts(size: Sequence[int], rate: Sequence[int], grid: str = "seed") -> tuple[int, ...]:
    """Count the bins M that are kept after decimation, per axis.

    Parameters
    ----------
    size : sequence of int
        Size of the dense signal, per spatial axis.
    rate : sequence of int
        Decimation rate, per spatial axis.
    grid : {"seed", "native", "auto"}
        ``seed``: as many bins as the dense signal has samples (the zero-padded grid of the paper).
        ``native``: as many as the decimated signal has samples, ``ceil(size / rate)``.

    Returns
    -------
    tuple of int
        M, per axis.

    Examples
    --------
    >>> bin_counts((7, 8), (2, 3), "seed"), bin_counts((7, 8), (2, 3), "native")
    ((7, 8), (4, 3))
    """
    if Criterion(grid=grid).grid_for(rate) == "seed":
        return tuple(size)
    return tuple(-(-n // r) for n, r in zip(size, rate, strict=True))


def folds(signal: Tensor, rate: Sequence[int], *, grid: str = "seed") -> Tensor:
    """Split the spectrum of a dense signal into the folds that decimation lays onto each other.

    The signal is zero-padded at its end to L = rate * M per axis and transformed; fold (i, j) is
    ``X[i * M_h : (i + 1) * M_h, j * M_w : (j + 1) * M_w]``. The mean of the folds is the DFT, of
    length M, of the decimated signal zero-padded to M.

    Parameters
    ----------
    signal : Tensor, shape (..., *size)
        Real signal; the last ``len(rate)`` axes are spatial (1, 2 or 3 of them).
    rate : sequence of int
        Decimation rate, per spatial axis; 1 or more.
    grid : {"seed", "native", "auto"}
        See :func:`bin_counts`.

    Returns
    -------
    Tensor, shape (..., *rate, *M)
        Complex folds, in the unit of the signal (unnormalised DFT).

    Examples
    --------
    >>> x = torch.randn(5, dtype=torch.float64)
    >>> mean_fold = folds(x, (2,)).mean(dim=0)
    >>> torch.allclose(mean_fold, torch.fft.fft(x[::2], n=5))
    True
    """
    rate = checked_rate(signal, rate)
    axes = len(rate)
    size = signal.shape[signal.ndim - axes :]
    bins = bin_counts(size, rate, grid)
    lengths = [r * m for r, m in zip(rate, bins, strict=True)]
    spectrum = torch.fft.fftn(real_signal(signal), s=lengths, dim=tuple(range(-axes, 0)))
    # (..., r_h * M_h, r_w * M_w) -> (..., r_h, M_h, r_w, M_w) -> (..., r_h, r_w, M_h, M_w)
    lead = signal.ndim - axes
    rate_by_bins = [n for pair in zip(rate, bins, strict=True) for n in pair]
    split = spectrum.reshape(*signal.shape[:lead], *rate_by_bins)
    order = [*range(lead), *range(lead, lead + 2 * axes, 2), *range(lead + 1, lead + 2 * axes, 2)]
    return split.permute(order)


def home_folds(bins: Sequence[int], rate: Sequence[int]) -> list[Tensor]:
    """Index of the fold whose true frequency lies within the new Nyquist band, per axis and bin.

    Bin m is at home in fold 0 when m < M / 2, else in fold rate - 1: the bins of the upper half are
    the negative frequencies. Bin M / 2 of an even M is negative too, as in ``numpy.fft.fftfreq``.

    Parameters
    ----------
    bins, rate : sequence of int
        Number of bins M and decimation rate, per axis.

    Returns
    -------
    list of Tensor, shape (M,)
        One int64 tensor for each axis.

    Examples
    --------
    >>> home_folds((4,), (3,))
    [tensor([0, 0, 2, 2])]
    """
    return [torch.where(2 * torch.arange(m) < m, 0, r - 1) for m, r in zip(bins, rate, strict=True)]


def classify_folds(spectrum_folds: Tensor, criterion: Criterion, axes: int) -> Tensor:
    """Put every bin into its category, given the folds.

    Parameters
    ----------
    spectrum_folds : Tensor, shape (..., *rate, *M)
        Folds as :func:`folds` returns them.
    criterion : Criterion
        Threshold, reference level and fold scale.
    axes : int
        Number of spatial axes: 1, 2 or 3.

    Returns
    -------
    Tensor of uint8, shape (..., *M)
        Values of :class:`Category`.

    Examples
    --------
    >>> tone = torch.cos(2 * torch.pi * 3 / 8 * torch.arange(8))  # above the new Nyquist, 1/4
    >>> classify_folds(folds(tone, (2,), grid="native"), Criterion(), axes=1)
    tensor([0, 2, 0, 2], dtype=torch.uint8)
    """
    fold_axes = tuple(range(-2 * axes, -axes))
    bin_axes = tuple(range(-axes, 0))
    rate = spectrum_folds.shape[-2 * axes : -axes]
    bins = spectrum_folds.shape[-axes:]

    power = _power(spectrum_folds)
    decimated_power = _power(spectrum_folds.mean(dim=fold_axes))
    if criterion.reference == "max":
        reference = decimated_power.amax(dim=bin_axes, keepdim=True)
    else:
        reference = decimated_power.mean(dim=bin_axes, keepdim=True)
    threshold = reference * criterion.ratio_for(rate)
    passes = power > threshold.reshape(*threshold.shape[:-axes], *[1] * (2 * axes))

    n_passing = passes.sum(dim=fold_axes)
    home = torch.meshgrid(*home_folds(bins, rate), indexing="ij")
    own = torch.meshgrid(*[torch.arange(m) for m in bins], indexing="ij")
    index: Any = (..., *home, *own)
    home_passes = passes[index]

    category = torch.full(n_passing.shape, Category.TANGLED, dtype=torch.uint8, device=power.device)
    category[n_passing == 0] = Category.NO_PASS
    category[(n_passing == 1) & home_passes] = Category.NON_ALIASED
    category[(n_passing == 1) & ~home_passes] = Category.ALIASED
    return category


def classify(
    signal: Tensor,
    rate: Sequence[int],
    *,
    threshold_db: float = 20.0,
    reference: str = "max",
    grid: str = "seed",
    fold_scale: str = "unit",
) -> Tensor:
    """Categorise each bin of a signal's decimated spectrum by what decimation did to it.

    Parameters
    ----------
    signal : Tensor, shape (..., *size)
        Real dense signal, before samples are dropped. The last ``len(rate)`` axes are spatial;
        each signal along the others (samples, channels) has a threshold of its own.
        Half precision and integers are converted to float32.
    rate : sequence of int
        Decimation rate per spatial axis, 1 or more; its length (1 to 3) says how many axes.
    threshold_db : float
        A fold passes when its power exceeds the reference level by more than minus this many
        decibels; above 0.
    reference : {"max", "mean"}
        Reference level: largest or mean power over the bins of the decimated spectrum.
    grid : {"seed", "native", "auto"}
        Number of bins: that of the dense signal, or that of the decimated one; ``auto`` takes
        ``seed`` where every rate is at most 2.
    fold_scale : {"unit", "contribution", "auto"}
        Compare folds as they are, as what they add to the decimated spectrum, or so that every rate
        is treated as 2×2 is; see :class:`Criterion`.

    Returns
    -------
    Tensor of uint8, shape (..., *M)
        :class:`Category` of each bin, zero frequency first (as from an FFT, not centred).

    Raises
    ------
    AliascopeError
        If the signal is complex or has a NaN or infinite value, or an option is out of its range.

    Notes
    -----
    Definition of Ribeiro and Schön (2021), section 3, generalised to any rate and to 1-3 axes.
    Each signal is first multiplied by a power of two that brings its peak near 1. This is exact and
    changes no category, but keeps the powers of tiny and huge signals representable.

    Examples
    --------
    A tone above the new Nyquist frequency folds onto a lower one:

    >>> n = torch.arange(64)
    >>> low, high = torch.cos(2 * torch.pi * n * 4 / 64), torch.cos(2 * torch.pi * n * 26 / 64)
    >>> [Category(c).name for c in classify(low, (2,), grid="native").unique().tolist()]
    ['NO_PASS', 'NON_ALIASED']
    >>> [Category(c).name for c in classify(high, (2,), grid="native").unique().tolist()]
    ['NO_PASS', 'ALIASED']
    """
    criterion = Criterion(threshold_db, reference, grid, fold_scale)
    rate = checked_rate(signal, rate)
    axes = len(rate)
    signal = real_signal(signal)
    exponents = peak_exponents(signal, axes)
    if exponents is None:
        raise AliascopeError(
            f"The signal of shape {tuple(signal.shape)} has NaN or infinite values; "
            "its spectrum is not defined, so find where they come from first."
        )
    scaled = torch.ldexp(signal, -exponents)
    return classify_folds(folds(scaled, rate, grid=grid), criterion, axes)


def peak_exponents(signal: Tensor, axes: int) -> Tensor | None:
    """Exponent of two of each signal's peak, or None where a value is not finite.

    Parameters
    ----------
    signal : Tensor, shape (..., *size)
        Real floating-point signal.
    axes : int
        Number of spatial axes.

    Returns
    -------
    Tensor of int, shape (..., 1, ...), or None
        Kept within [-126, 126], so that two to its power is a normal float32.

    Examples
    --------
    >>> peak_exponents(torch.tensor([0.0, 12.0]), 1)
    tensor([4], dtype=torch.int32)
    """
    peak = torch.linalg.vector_norm(signal, math.inf, dim=tuple(range(-axes, 0)), keepdim=True)
    if not bool(torch.isfinite(peak).all()):
        return None
    return torch.frexp(peak).exponent.clamp(-126, 126)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def real_signal(signal: Tensor) -> Tensor:
    """Convert a signal to float32, unless it is that or wider; refuse a complex one."""
    if signal.is_complex():
        raise AliascopeError(
            "The signal is complex, but aliasing is defined here for real ones; "
            "pass its real or imaginary part."
        )
    if signal.dtype in (torch.float32, torch.float64):
        return signal
    return signal.to(torch.float32)


def checked_rate(signal: Tensor, rate: Sequence[int]) -> tuple[int, ...]:
    """Refuse a rate that does not fit a signal."""
    rate = tuple(rate)
    if not 1 <= len(rate) <= 3:
        raise AliascopeError(
            f"rate {rate} names {len(rate)} spatial axes, but a signal has 1, 2 or 3."
        )
    if any(int(r) != r or r < 1 for r in rate):
        raise AliascopeError(f"rate is {rate}, but each rate must be a whole number, 1 or more.")
    if signal.ndim < len(rate) or 0 in signal.shape[signal.ndim - len(rate) :]:
        raise AliascopeError(
            f"A signal of shape {tuple(signal.shape)} has too few axes or no samples for the rate "
            f"{rate}, which names one number per spatial axis."
        )
    return tuple(int(r) for r in rate)
