"""Advice for a model by name over a set of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aliascope.data import Images as ImageSource
from aliascope.data import collate
from aliascope.errors import AliascopeError
from aliascope.evaluation.advice_sites import WORDS
from aliascope.evaluation.advise import FILTERS, SHIFTS, advise
from aliascope.evaluation.probe import on_device, probe, refusing_images
from aliascope.evaluation.shift_options import with_margin
from aliascope.evaluation.work import begin_worker
from aliascope.models.execution import settle_layout
from aliascope.protocols.shift_protocols import make_protocol
from aliascope.runs.advice import Advice
from aliascope.seam.opening import evaluating
from aliascope.tasks.images import first_size, open_data
from aliascope.tasks.models import LoadedModel


@dataclass(frozen=True)
class AdviceOptions:
    """What decides the numbers of advice.

    Attributes
    ----------
    filters, sites, recalibrate, seed
        See :func:`aliascope.advise`.
    max_samples : int
        Images at most, those that re-estimate batch norm included.
    batch_size : int
        Images in a pass.
    """

    filters: tuple[str, ...] = FILTERS
    sites: tuple[str, ...] = WORDS
    recalibrate: int = 0
    max_samples: int = 1000
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"max_samples": 1, "batch_size": 1, "recalibrate": 0}.items():
            if getattr(self, name) < least:
                raise AliascopeError(
                    f"{name} is {getattr(self, name)}, but it must be {least} or more."
                )


def advise_images(
    loaded: LoadedModel,
    data: str,
    options: AdviceOptions,
    *,
    device: str = "cpu",
    workers: int = 0,
    progress: bool = False,
) -> Advice:
    """Try filters on a model over images by name.

    Parameters
    ----------
    loaded : LoadedModel
        From :func:`aliascope.tasks.models.load_model`.
    data : str
        As :func:`aliascope.tasks.images.open_data` takes it. Where the model's recipe crops, images
        are shifted inside a margin of real pixels, else around their edge.
    options : AdviceOptions
        What decides the numbers.
    device, workers, progress
        See :func:`aliascope.evaluation.loop.evaluate`.

    Returns
    -------
    Advice
        Its sites are named as in the network itself.

    Raises
    ------
    AliascopeError
        As :func:`aliascope.advise` and :func:`aliascope.tasks.images.open_data`.
    """
    recipe = loaded.preprocessing
    mode = "crop" if recipe.crop else "circular"
    framed = with_margin(recipe, make_protocol("shift", mode=mode))
    classes = probe(loaded, device, None if recipe.crop else first_size(data, recipe)).classes
    images = open_data(data, framed, num_classes=classes, seed=options.seed)
    found = advise(
        loaded.network,
        _batches(loaded, images, options, torch.device(device), workers),
        filters=options.filters,
        sites=options.sites,
        recalibrate=options.recalibrate or False,
        shifts=SHIFTS,
        mode=mode,
        seed=options.seed,
        progress=progress,
    )
    found.description["model"] = {"name": loaded.name, "weights": loaded.weights}
    found.description["data"] = {"name": images.name, "preprocessing": framed.describe()}
    return found


def spread(total: int, most: int, spare: int) -> tuple[list[int], list[int]]:
    """Choose images evenly over a set, which may be sorted by class, and some of these to spare.

    Parameters
    ----------
    total : int
        Images of the set.
    most : int
        To choose.
    spare : int
        Of those chosen, to re-estimate batch norm from.

    Returns
    -------
    list of int, list of int
        Those to measure, and those to spare, ascending.

    Raises
    ------
    AliascopeError
        If none is left to measure.

    Examples
    --------
    >>> spread(12, 6, 2)
    ([0, 4, 6, 10], [2, 8])
    """
    chosen = [k * total // min(total, most) for k in range(min(total, most))]
    if spare >= len(chosen):
        raise AliascopeError(
            f"recalibrate is {spare}, but of {len(chosen)} images some must be left to measure; "
            "give fewer."
        )
    places = {(2 * k + 1) * len(chosen) // (2 * spare) for k in range(spare)}
    kept = [index for place, index in enumerate(chosen) if place not in places]
    return kept, [chosen[place] for place in sorted(places)]


def _batches(
    loaded: LoadedModel,
    images: ImageSource,
    options: AdviceOptions,
    device: torch.device,
    workers: int,
) -> Iterator[Any]:
    """Read images, normalised, in the memory format that the network is fast in."""
    size = options.batch_size
    groups = spread(len(images), options.max_samples, options.recalibrate)
    batches = [each[i : i + size] for each in groups for i in range(0, len(each), size)]
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", images),
        batch_sampler=batches,
        num_workers=min(workers, len(batches)) if len(batches) > 1 else 0,
        collate_fn=collate,
        worker_init_fn=begin_worker,
    )
    layout, bad = None, []
    for batch in loader:
        bad += batch.bad
        if len(batch.images) == 0:
            continue
        if layout is None:
            layout = _layout(loaded, batch.images, device)
        labels = batch.labels if bool((batch.labels >= 0).any()) else None
        yield _normalised(loaded, batch.images).contiguous(memory_format=layout), labels
    if bad:
        warnings.warn(
            f"{len(bad)} images could not be read and were left out (first: {bad[0][1]}: "
            f"{bad[0][2]}).",
            stacklevel=2,
        )


def _layout(loaded: LoadedModel, frames: Tensor, device: torch.device) -> torch.memory_format:
    """Lay the network's weights out as it is fast, and say how."""
    crop = loaded.preprocessing.crop
    seen = (crop, crop) if crop else tuple(frames.shape[-2:])
    model = on_device(loaded, str(device))
    with evaluating(model), refusing_images(loaded.name, seen):
        return settle_layout(model, (frames.shape[1], *seen), device)


def _normalised(loaded: LoadedModel, images: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(list(values), dtype=images.dtype).view(-1, 1, 1)
        for values in (loaded.preprocessing.mean, loaded.preprocessing.std)
    )
    return (images - mean) / std
