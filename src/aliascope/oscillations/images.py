"""Images of oscillations: any image from ``(seed, index)`` alone, whole batches at once.

The task is that of Ribeiro and Schön, "How Convolutional Neural Networks Deal with Aliasing"
(ICASSP 2021): tell which of 20 horizontal and which of 20 vertical frequencies an image has.
Random numbers are counter-based (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014), so they depend on nothing but the image they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aliascope.errors import AliascopeError

SPLITS = ("train", "validation", "test")
INDEX_BITS = 32

# SplitMix64's increment and multipliers, as the signed integers that torch has.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_LAST_SHIFT = 31
_LOW_24 = (1 << 24) - 1


def oscillation(
    frequency: tuple[float, float], phase: tuple[float, float], size: int = 32
) -> Tensor:
    """Make one image without noise.

    Parameters
    ----------
    frequency : (float, float)
        ``f_x, f_y`` in half-cycles a pixel: 1 is the Nyquist frequency.
    phase : (float, float)
        ``phi_x, phi_y`` in radians.
    size : int
        Side in pixels.

    Returns
    -------
    Tensor
        float32, ``(size, size)``, ``cos(pi f_x u + phi_x) cos(pi f_y v + phi_y)`` at column u and
        row v.

    Examples
    --------
    >>> oscillation((0.5, 0.0), (0.0, 0.0), size=4).round().abs()[0]
    tensor([1., 0., 1., 0.])
    """
    steps = torch.arange(size, dtype=torch.float64)
    across, down = (
        torch.cos(math.pi * each * steps + start)
        for each, start in zip(frequency, phase, strict=True)
    )
    return torch.outer(down, across).float()


def split_seed(seed: int, split: str) -> int:
    """Seed of one of the three sets that a run with `seed` uses; no two (run, set) share one.

    Parameters
    ----------
    seed : int
        The run's seed, 0 to 2**29.
    split : {"train", "validation", "test"}
        Which set.

    Returns
    -------
    int
        The seed for `Oscillations`.

    Examples
    --------
    >>> [split_seed(7, split) for split in ("train", "validation", "test")]
    [21, 22, 23]
    """
    if split not in SPLITS:
        raise AliascopeError(f"Unknown set {split!r}; choose one of {', '.join(SPLITS)}.")
    return len(SPLITS) * seed + SPLITS.index(split)


@dataclass(frozen=True)
class Oscillations:
    """A set of images ``cos(pi f_x u + phi_x) cos(pi f_y v + phi_y) + A noise``, made on demand.

    ``f_x`` (along a row) and ``f_y`` (down a column) come from ``{0, 1/F, ..., (F-1)/F}``, phases
    are uniform on [0, 2 pi), noise is uniform on [-0.5, 0.5) and independent per pixel. Image `i`
    has class ``i mod F**2``, which is ``F f_x F + F f_y`` (row-major): equal numbers a class.

    Parameters
    ----------
    count : int
        Number of images; rounded up to a multiple of ``frequencies**2``.
    noise : float
        Amplitude A of the noise, 0 or more.
    seed : int
        Which set; images of two seeds have nothing in common.
    frequencies : int
        Frequencies a side, F.
    size : int
        Side of the images in pixels.

    Raises
    ------
    AliascopeError
        If a value is out of its range.

    Examples
    --------
    >>> images = Oscillations(count=20_000, noise=1.0, seed=0)
    >>> len(images), images.classes
    (20000, 400)
    >>> pixels, labels = images.batch(torch.tensor([41, 5]))
    >>> tuple(pixels.shape), labels.tolist(), images.frequency(41)
    ((2, 1, 32, 32), [41, 5], (0.1, 0.05))
    >>> bool((images.batch(torch.tensor([5]))[0][0] == pixels[1]).all())
    True
    """

    count: int = 20_000
    noise: float = 1.0
    seed: int = 0
    frequencies: int = 20
    size: int = 32

    def __post_init__(self) -> None:
        if self.count < 1:
            raise AliascopeError(f"The number of images is {self.count}; it must be 1 or more.")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise AliascopeError(
                f"The noise amplitude A is {self.noise:g}; it must be 0 or more, and finite."
            )
        if not 0 <= self.seed < 2**31:
            raise AliascopeError(f"The seed is {self.seed}; it must be from 0 to {2**31 - 1}.")
        if self.frequencies < 1:
            raise AliascopeError(f"Frequencies a side are {self.frequencies}; give 1 or more.")
        if self.size < 1:
            raise AliascopeError(f"The side of an image is {self.size} pixels; give 1 or more.")
        if len(self) > 2**INDEX_BITS:
            raise AliascopeError(f"{self.count} images are too many; at most {2**INDEX_BITS}.")

    @property
    def classes(self) -> int:
        """Number of classes, ``frequencies**2``."""
        return self.frequencies**2

    def __len__(self) -> int:
        return -(-self.count // self.classes) * self.classes

    def frequency(self, label: int) -> tuple[float, float]:
        """``(f_x, f_y)`` of a class, in half-cycles a pixel (1 is the Nyquist frequency)."""
        across, down = divmod(label % self.classes, self.frequencies)
        return across / self.frequencies, down / self.frequencies

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of any indices, made on the device of `indices`.

        Parameters
        ----------
        indices : Tensor
            int64, ``(N,)``, each in ``[0, len(self))``.

        Returns
        -------
        images : Tensor
            float32, ``(N, 1, size, size)``.
        labels : Tensor
            int64, ``(N,)``.
        """
        pixels = self.size * self.size
        # Two numbers of 24 bits in each random word: the phases first, then the noise.
        words = _random_words(self.seed, indices, words=1 + -(-pixels // 2))
        uniform = _two_halves(words)
        labels = indices % self.classes
        # Across by rows of pixels (last axis), down by columns.
        steps = torch.arange(self.size, device=indices.device, dtype=torch.float32)
        across = self._wave(labels // self.frequencies, uniform[0, :, 0], steps)
        down = self._wave(labels % self.frequencies, uniform[1, :, 0], steps)
        noise = uniform[:, :, 1:].transpose(0, 1).reshape(len(indices), -1)[:, :pixels]
        images = noise.reshape(-1, self.size, self.size)
        images = torch.addcmul(
            images.sub_(0.5).mul_(self.noise), down[:, :, None], across[:, None, :]
        )
        return images[:, None], labels

    def _wave(self, multiple: Tensor, phase: Tensor, steps: Tensor) -> Tensor:
        omega = multiple.to(torch.float32) * (math.pi / self.frequencies)
        return torch.cos(omega[:, None] * steps + phase[:, None] * (2 * math.pi))

    def batches(
        self, batch_size: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, as ``(images, labels)`` of at most `batch_size`."""
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            yield self.batch(torch.arange(start, stop, device=device))


def _random_words(seed: int, indices: Tensor, words: int) -> Tensor:
    """``(N, words)`` random 64-bit words: the SplitMix64 stream that starts at each image's key.

    The mixing is a bijection of 64-bit words, so two images have the same key only if they have
    the same seed and the same index.
    """
    keys = _mix(indices + ((seed << INDEX_BITS) + _GAMMA))
    counter = torch.arange(1, words + 1, device=indices.device, dtype=torch.int64) * _GAMMA
    return _mix(keys[:, None] + counter)


def _mix(word: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place; shifts are made logical by clearing the sign's copies."""
    for shift, multiplier in _MULTIPLIERS:
        word.bitwise_xor_((word >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(multiplier)
    return word.bitwise_xor_((word >> _LAST_SHIFT).bitwise_and_((1 << (64 - _LAST_SHIFT)) - 1))


def _two_halves(words: Tensor) -> Tensor:
    """``(2, N, words)`` numbers in [0, 1), multiples of 2**-24: exact in float32."""
    halves = torch.empty((2, *words.shape), device=words.device, dtype=torch.float32)
    halves[0] = (words >> 40).bitwise_and_(_LOW_24)
    halves[1] = (words >> 8).bitwise_and_(_LOW_24)
    return halves.mul_(2.0**-24)
