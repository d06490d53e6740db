"""Whose aliasing is put into whose place: donors, drawn for each sample and stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Array = np.ndarray[Any, Any]

TRIES = 8
"""Donors that are tried, one after the other, where images cannot be read."""


def random_word(seed: int, sample: int, stage: str) -> int:
    """Draw 64 random bits that follow from a run's seed, a sample's number and a stage alone.

    Examples
    --------
    >>> random_word(0, 3, "stem") == random_word(0, 3, "stem") != random_word(0, 4, "stem")
    True
    """
    digest = hashlib.blake2b(f"{seed} {sample} {stage}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Donors:
    """The samples of a run by class, of which donors are drawn.

    Parameters
    ----------
    numbers : array of int, shape (n,)
        Of all samples that may be donors.
    classes : array of int, shape (n,)
        Label of each, or prediction; negative where there is none.
    image_of : callable
        Gives the image of a number, (C, H, W), as the model takes it; None where it cannot be read.
    seed : int
        Of the run.

    Examples
    --------
    >>> donors = Donors(range(4), [0, 0, 1, 2], lambda number: None, seed=0)
    >>> donors.candidate(0, "stem", within=True), donors.candidate(2, "stem", within=True)
    (1, None)
    >>> donors.candidate(2, "stem", within=False) in (0, 1, 3)
    True
    """

    def __init__(
        self,
        numbers: Sequence[int] | Array,
        classes: Sequence[int] | Array,
        image_of: Callable[[int], Tensor | None],
        *,
        seed: int,
    ) -> None:
        classes = np.asarray(classes, dtype=np.int64)
        order = np.argsort(classes, kind="stable")
        self._numbers = np.asarray(numbers, dtype=np.int64)[order]
        self._classes = classes[order]
        self._class_of = dict(zip(self._numbers.tolist(), self._classes.tolist(), strict=True))
        self._place = {int(number): place for place, number in enumerate(self._numbers)}
        self._image_of = image_of
        self._seed = seed

    def class_of(self, number: int) -> int:
        """Give the class of a sample; negative where it has none."""
        return self._class_of.get(number, -1)

    def candidate(self, sample: int, stage: str, *, within: bool, attempt: int = 0) -> int | None:
        """Draw a donor.

        Parameters
        ----------
        sample : int
            Number of the sample whose aliasing is to be replaced.
        stage : str
            Where.
        within : bool
            Of the same class, or of another.
        attempt : int
            Which to take where those before could not be read.

        Returns
        -------
        int or None
            Number of another sample; None where there is none of that kind.
        """
        own = self.class_of(sample)
        if own < 0:
            return None
        word = random_word(self._seed, sample, stage) + attempt
        first, last = np.searchsorted(self._classes, [own, own + 1])
        if within:
            if last - first < 2:
                return None
            place = first + word % int(last - first - 1)
            place += place >= self._place[sample]  # oneself is passed over
            return int(self._numbers[place])
        unknown = int(np.searchsorted(self._classes, 0))  # those without a class come first
        others = len(self._numbers) - unknown - int(last - first)
        if others == 0:
            return None
        place = unknown + word % others
        return int(self._numbers[place if place < first else place + (last - first)])

    def draw(
        self, samples: Sequence[int], stage: str, *, within: bool
    ) -> list[tuple[int, Tensor] | None]:
        """Draw donors and read their images.

        Parameters
        ----------
        samples, stage, within
            As for :meth:`candidate`.

        Returns
        -------
        list of (int, Tensor) or None
            Number and image of each one's donor; None where there is none that can be read.
        """
        found: list[tuple[int, Tensor] | None] = []
        for sample in samples:
            found.append(None)
            for attempt in range(TRIES):
                number = self.candidate(sample, stage, within=within, attempt=attempt)
                image = None if number is None else self._image_of(number)
                if number is not None and image is not None:
                    found[-1] = (number, image)
                    break
                if number is None:
                    break
        return found
