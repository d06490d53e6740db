"""Images of 1/f noise, whose spectrum falls as that of photographs: for where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from aliascope.data.items import Item
from aliascope.errors import AliascopeError

COUNT = 32
"""Images, unless a number is given."""

SPREAD = 0.2
"""Standard deviation of the pixels around 0.5, before they are cut to [0, 1]."""


class NoiseSet(Dataset[Item]):
    """Images of noise whose amplitude falls as 1/f; each follows from the seed and its number.

    Parameters
    ----------
    count : int
        How many.
    size : int
        Pixels a side.
    channels : int
        Independent of each other.
    seed : int
        Of all of them.

    Examples
    --------
    >>> images = NoiseSet(2, 32, 3, seed=0)
    >>> images[1].image.shape, images[1].label, bool((images[1].image <= 1).all())
    (torch.Size([3, 32, 32]), -1, True)
    """

    def __init__(self, count: int, size: int, channels: int, *, seed: int = 0) -> None:
        self.name = f"noise:{count}"
        self.names = [f"{index:05d}" for index in range(count)]
        self.labels: list[int] | None = None
        self._size, self._channels, self._seed = size, channels, seed

    @property
    def details(self) -> dict[str, Any]:
        """What makes them again."""
        return {"seed": self._seed, "size": self._size, "spectrum": "1/f"}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Item:
        random = np.random.default_rng([self._seed, index])
        n = self._size
        frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
        frequency[0, 0] = np.inf  # no mean
        spectrum = np.fft.rfft2(random.standard_normal((self._channels, n, n))) / frequency
        pixels = np.fft.irfft2(spectrum, s=(n, n))
        pixels *= SPREAD / np.maximum(pixels.std(axis=(1, 2), keepdims=True), 1e-12)
        image = torch.from_numpy(np.clip(0.5 + pixels, 0, 1).astype(np.float32))
        return Item(index, self.names[index], -1, image, "")


def open_noise(spec: str, preprocessing: Any, *, seed: int = 0) -> NoiseSet:
    """Open images of noise of the size that a network takes.

    Parameters
    ----------
    spec : str
        ``"noise"`` or ``"noise:N"``.
    preprocessing : Preprocessing
        Whose crop and channels they have; 224 pixels where it does not crop.
    seed : int
        Of the images.

    Returns
    -------
    NoiseSet

    Raises
    ------
    AliascopeError
        If N is no number above 0.

    Examples
    --------
    >>> open_noise("noise:many", None)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: 'noise:many' names no number of images; write noise:32.
    """
    count = spec.partition(":")[2] or str(COUNT)
    if not count.isdecimal() or int(count) == 0:
        raise AliascopeError(f"{spec!r} names no number of images; write noise:{COUNT}.")
    channels = len(getattr(preprocessing, "mean", (0, 0, 0)))
    return NoiseSet(int(count), getattr(preprocessing, "crop", None) or 224, channels, seed=seed)
