"""Batches of one's own that are gone through more than once, or by the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.inputs import checked_labels, inputs_and_labels
from aliascope.sites.calls import memory_format


class ByKeyword(nn.Module):
    """A model whose images go in by keyword.

    Parameters
    ----------
    model : nn.Module
        The model.
    keyword : str
        Of its argument.
    """

    def __init__(self, model: nn.Module, keyword: str) -> None:
        super().__init__()
        self.model, self.keyword = model, keyword

    def forward(self, images: Tensor) -> Any:
        """Run the model."""
        return self.model(**{self.keyword: images})


class KeptBatches:
    """Batches, any image of which can be had again, in the memory format that it had.

    Parameters
    ----------
    batches : iterable
        As for :func:`aliascope.ablate`; those of a list or tuple stay where they are, others are
        written into the folder.
    folder : Path
        A temporary one.
    what : str
        What is done with them, such as "ablate", for what is said of bad ones.

    Raises
    ------
    AliascopeError
        If there is none, or they are something else.
    """

    def __init__(self, batches: Iterable[Any], folder: Path, what: str) -> None:
        if isinstance(batches, Tensor):
            raise AliascopeError(
                f"batches is one tensor of shape {tuple(batches.shape)}; pass a list of batches, "
                "as in [images]."
            )
        self.keyword: str | None = None
        self.counts: list[int] = []
        self.labels: list[Tensor | None] = []
        self._what = what
        self._held: list[Tensor | Path] = []
        self._layouts: list[torch.memory_format] = []
        stays = isinstance(batches, list | tuple)
        for batch in batches:
            inputs, labels = inputs_and_labels(batch)
            images = self._images_in(inputs)
            if len(images) == 0:
                continue
            self.counts.append(len(images))
            known = None if labels is None else checked_labels(labels, len(images)).cpu()
            self.labels.append(known)
            self._layouts.append(memory_format(images))
            self._held.append(images if stays else _written(images, folder / f"{len(self.counts)}"))
        if not self.counts:
            raise AliascopeError(f"There was no batch of images to {what} on; pass at least one.")
        self._starts = np.cumsum([0, *self.counts])

    @property
    def total(self) -> int:
        """Images there are."""
        return int(self._starts[-1])

    def _images_in(self, inputs: Tensor | Mapping[str, Any]) -> Tensor:
        if isinstance(inputs, Tensor):
            return inputs
        tensors = [key for key, value in inputs.items() if isinstance(value, Tensor)]
        if len(tensors) != 1 or len(inputs) != 1:
            raise AliascopeError(
                f"A batch has {', '.join(inputs) or 'nothing'}; to {self._what}, give one tensor "
                "of images, and labels."
            )
        self.keyword = tensors[0]
        images: Tensor = inputs[self.keyword]
        return images

    def split(self, recalibrate: bool | int) -> tuple[list[int], list[int]]:
        """Set batches at the end aside for so many images; give those to measure, and these."""
        wanted = min(256, self.total // 5) if recalibrate is True else int(recalibrate)
        if recalibrate is not False and not 0 < wanted < self.total:
            raise AliascopeError(
                f"recalibrate is {recalibrate}, but of {self.total} images some must be left to "
                "measure; give fewer."
            )
        first = len(self.counts)
        while sum(self.counts[first:]) < wanted:
            first -= 1
        if first == 0:
            raise AliascopeError(
                f"recalibrate is {recalibrate}, which takes the only batch; give several batches."
            )
        return list(range(first)), list(range(first, len(self.counts)))

    def numbers(self, k: int) -> list[int]:
        """Give the numbers of a batch's images."""
        return list(range(int(self._starts[k]), int(self._starts[k + 1])))

    def images(self, k: int) -> Tensor:
        """Give the images of a batch."""
        held = self._held[k]
        if isinstance(held, Tensor):
            return held
        return _read(held).contiguous(memory_format=self._layouts[k])

    def first(self, count: int) -> Tensor:
        """Give so many images from the first on, of the first batch at most."""
        return self.images(0)[:count]

    def image(self, number: int) -> Tensor:
        """Give one image by its number."""
        k = int(np.searchsorted(self._starts, number, side="right")) - 1
        held, place = self._held[k], number - int(self._starts[k])
        return held[place] if isinstance(held, Tensor) else _read(held, place)


def _written(images: Tensor, path: Path) -> Path:
    from safetensors.torch import save_file

    save_file({"images": images.detach().cpu().contiguous()}, path)
    return path


def _read(path: Path, place: int | None = None) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        if place is None:
            images: Tensor = file.get_tensor("images")
            return images
        row: Tensor = file.get_slice("images")[place : place + 1]
        return row[0]
