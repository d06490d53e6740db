"""The mean dense spectrum of a site, over samples and channels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from aliascope.errors import AliascopeError
from aliascope.runs.arrays import Array
from aliascope.runs.measurement import Measurement


@dataclass(frozen=True)
class MeanSpectrum:
    """Mean power of a site's dense signals.

    Attributes
    ----------
    power : ndarray, shape (L,) or (L_h, L_w)
        Squared magnitude of the dense signal's DFT, mean over samples and channels; zero frequency
        at index L // 2.
    rate : tuple of int
        By which the site decimates, per axis.
    samples, channels : int
        How many of each.
    """

    power: Array
    rate: tuple[int, ...]
    samples: int
    channels: int

    def frequencies(self, axis: int) -> Array:
        """Frequencies along an axis, in cycles per dense sample: [-1/2, 1/2).

        Examples
        --------
        >>> MeanSpectrum(np.ones(4), (2,), 1, 1).frequencies(0).tolist()
        [-0.5, -0.25, 0.0, 0.25]
        """
        return np.fft.fftshift(np.fft.fftfreq(self.power.shape[axis]))

    def outside(self) -> float:
        """Fraction of the power beyond the new Nyquist frequency, which decimation folds.

        Examples
        --------
        >>> MeanSpectrum(np.ones(4), (2,), 1, 1).outside()
        0.5
        """
        inside = self.power
        for axis, rate in enumerate(self.rate):
            length = self.power.shape[axis]
            index = np.arange(length) - length // 2
            bins = length // rate
            # As the home fold has it: bin M/2 of an even M is the negative frequency.
            own = (2 * index >= -bins) & (2 * index < bins)
            inside = inside.take(np.flatnonzero(own), axis=axis)
        return float(1 - inside.sum() / self.power.sum())


def mean_spectrum(measurement: Measurement, site: str) -> MeanSpectrum:
    """Average the dense power spectrum over samples and channels.

    The dense spectrum is the folds side by side, as they were cut from it.

    Parameters
    ----------
    measurement, site
        As for :func:`spectrum`.

    Returns
    -------
    MeanSpectrum

    Raises
    ------
    AliascopeError
        If the site is unknown or has three axes, the folds were not kept, or the samples' signals
        differ in size.
    """
    samples = measurement.samples_at(site)
    total: Array | None = None
    n_channels = 0
    for sample in samples:
        folds = measurement.folds(site, sample)
        axes = (folds.ndim - 1) // 2
        if axes > 2:
            raise AliascopeError(
                f"Site {site} has {axes} spatial axes, which a plane cannot show; "
                "choose a site with one or two."
            )
        if total is not None and (*total.shape, n_channels) != (*folds.shape[1:], len(folds)):
            raise AliascopeError(
                f"The images of this run give site {site} signals of different sizes, whose "
                "spectra have no mean; evaluate with one --crop for all."
            )
        n_channels = len(folds)
        if total is None:
            total = np.zeros(folds.shape[1:])
        for channel in folds:
            total += np.square(np.abs(channel.astype(np.complex128)))
    if total is None:
        raise AliascopeError(f"No image of this run reached site {site}; choose another site.")
    axes = total.ndim // 2
    rate, bins = total.shape[:axes], total.shape[axes:]
    # (r_h, r_w, M_h, M_w) -> (r_h, M_h, r_w, M_w) -> (L_h, L_w)
    order = list(itertools.chain.from_iterable((i, axes + i) for i in range(axes)))
    lengths = [r * m for r, m in zip(rate, bins, strict=True)]
    dense = total.transpose(order).reshape(lengths) / (len(samples) * n_channels)
    return MeanSpectrum(np.fft.fftshift(dense), rate, len(samples), n_channels)
