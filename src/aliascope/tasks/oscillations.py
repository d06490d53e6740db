"""Oscillations as a task to evaluate: the trained network, and its images in the form of any set.

Pixels are in [0, 1], as everywhere in Aliascope: ``p = mean + std * x`` of an image x, with mean
1/2 and std 1/(2 + A), so that the model's normalisation gives x back and the epsilon of an attack
means what it means for photographs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from aliascope.data.items import Item
from aliascope.errors import AliascopeError
from aliascope.models.preprocessing import Preprocessing
from aliascope.oscillations.images import Oscillations, split_seed
from aliascope.oscillations.training_folder import COMPLETE, TrainingFolder

SHIPPED = Path(__file__).parents[1] / "oscillations" / "resnet-w-16-A1"
"""Training of the network that comes with Aliascope: ResNet-20 of width 16, A = 1."""

EVALUATION_IMAGES = 10_000
"""As many as were published."""

SIZE = 32


@dataclass(frozen=True)
class OscillationPixels(Preprocessing):
    """From an image of oscillations to pixels in [0, 1].

    Parameters
    ----------
    resize, crop, interpolation, mean, std
        See `Preprocessing`; there is nothing to resize, and `crop` is the side of the images.
    noise : float
        Amplitude A that the network was trained with.
    frequencies : int
        Frequencies a side that it was trained with.
    """

    noise: float = 1.0
    frequencies: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize is not None or self.crop is None:
            raise AliascopeError(
                "Images of oscillations are made in the size they are wanted, not resized: leave "
                "--resize out, and give their side with --crop."
            )

    @classmethod
    def of(cls, noise: float, frequencies: int) -> OscillationPixels:
        """Make the recipe of a network trained on these images."""
        return cls(None, SIZE, "bilinear", (0.5,), (1 / (2 + noise),), noise, frequencies)

    def transform(self, image: Image.Image) -> Tensor:
        """Refuse a photograph.

        Raises
        ------
        AliascopeError
            Always.
        """
        raise AliascopeError(
            "The network tells oscillations apart, not photographs: pass --data oscillations."
        )

    def describe(self) -> str:
        """Say the recipe in words, for reports."""
        mean, std = (", ".join(f"{value:.6g}" for value in row) for row in (self.mean, self.std))
        return f"oscillations of {self.crop} × {self.crop}, mean ({mean}), std ({std})"


class OscillationSet(Dataset[Item]):
    """Oscillations in the form that `aliascope.evaluation.loop.evaluate` takes images in.

    Parameters
    ----------
    images : Oscillations
        The images.
    pixels : Preprocessing
        Of one channel; its mean and std turn an image into pixels.

    Examples
    --------
    >>> data = OscillationSet(Oscillations(400, noise=1.0), OscillationPixels.of(1.0, 20))
    >>> item = data[41]
    >>> item.name, item.label, item.image.shape, bool((0 <= item.image).all())
    ('00041 f_x=0.1 f_y=0.05', 41, torch.Size([1, 32, 32]), True)
    """

    def __init__(self, images: Oscillations, pixels: Preprocessing) -> None:
        self.name = "oscillations"
        self._images = images
        self._mean, self._std = pixels.mean[0], pixels.std[0]
        labels = [index % images.classes for index in range(len(images))]
        self.labels: list[int] | None = labels
        frequencies = [images.frequency(label) for label in range(images.classes)]
        self.names = [
            f"{index:05d} f_x={frequencies[label][0]:g} f_y={frequencies[label][1]:g}"
            for index, label in enumerate(labels)
        ]

    @property
    def details(self) -> dict[str, Any]:
        """What a run records of them, so that any of them can be made again."""
        made = self._images
        return {
            "noise": made.noise,
            "seed": made.seed,
            "frequencies": made.frequencies,
            "size": made.size,
        }

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Make a batch at once; a DataLoader calls this."""
        images, _ = self._images.batch(torch.tensor(indices, dtype=torch.int64))
        pixels = images.mul_(self._std).add_(self._mean)
        return [
            Item(index, self.names[index], index % self._images.classes, image, "")
            for index, image in zip(indices, pixels, strict=True)
        ]


def open_oscillations(spec: str, pixels: Any, *, seed: int = 0) -> OscillationSet:
    """Open the images to evaluate on: those of the test set, which no training has seen.

    Parameters
    ----------
    spec : str
        ``"oscillations"``, with the noise that the network was trained with, or
        ``"oscillations:A"`` with another amplitude A.
    pixels : Preprocessing
        Of the network; one channel.
    seed : int
        As of a training.

    Returns
    -------
    OscillationSet
        Of 10,000 images.

    Raises
    ------
    AliascopeError
        If A is no amplitude, or the network takes colours.

    Examples
    --------
    >>> open_oscillations("oscillations:2", OscillationPixels.of(1.0, 20)).details["noise"]
    2.0
    """
    channels = len(getattr(pixels, "mean", ()))
    if channels != 1:
        raise AliascopeError(
            f"Images of oscillations have one channel, but the network takes {channels}: pass a "
            "model of theirs, such as oscillations, or --mean 0.5 --std 0.3333 for one channel."
        )
    own = pixels if isinstance(pixels, OscillationPixels) else OscillationPixels.of(1.0, 20)
    amplitude = spec.partition(":")[2]
    if amplitude and not re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", amplitude):
        raise AliascopeError(
            f"{spec!r} names no amplitude of noise: write oscillations:A with A of 0 or more, as "
            "in oscillations:2."
        )
    images = Oscillations(
        EVALUATION_IMAGES,
        noise=float(amplitude) if amplitude else own.noise,
        seed=split_seed(seed, "test"),
        frequencies=own.frequencies,
        size=pixels.crop or SIZE,
    )
    return OscillationSet(images, pixels)


def trained_folder(name: str, *, ended: bool = True) -> TrainingFolder:
    """Find the training that a model's name stands for.

    Parameters
    ----------
    name : str
        ``"oscillations"``, the network that comes with Aliascope, or ``"oscillations:RUN"``.
    ended : bool
        Refuse a training that is under way.

    Returns
    -------
    TrainingFolder

    Raises
    ------
    AliascopeError
        If there is none, or it has not ended.
    """
    folder = TrainingFolder(name.partition(":")[2] or SHIPPED)
    if folder.read().get("status") != COMPLETE and ended:
        raise AliascopeError(
            f"The training in {folder.folder} has not ended; go on with `aliascope oscillations "
            "train --resume`, or name its weights so far with --weights "
            f"{folder.best}."
        )
    return folder
