"""Ablation into a run directory: every batch clean and changed, as one part."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aliascope.data import Images as ImageSource
from aliascope.data import collate
from aliascope.errors import AliascopeError
from aliascope.evaluation.ablate import check_interventions, plan_targets
from aliascope.evaluation.batches import BatchRunner
from aliascope.evaluation.loop import evaluate
from aliascope.evaluation.options import Options
from aliascope.evaluation.probe import on_device, refusing_images
from aliascope.files import replacing
from aliascope.filters.written import filtering
from aliascope.models.predictions import class_scores
from aliascope.protocols.ablation import (
    DEFAULT,
    SWAPS,
    Ablator,
    Trial,
    count_passes,
    trials_of,
)
from aliascope.protocols.donors import Donors
from aliascope.protocols.stages import Target
from aliascope.protocols.targets import read_sites
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import TABLE
from aliascope.seam.opening import evaluating
from aliascope.sites import Site
from aliascope.tasks.models import LoadedModel


@dataclass(frozen=True)
class AblationOptions(Options):
    """What decides the numbers of an ablation, beside the model and the images.

    Parameters
    ----------
    interventions : tuple of str
        Which; a verdict needs all of them.
    dose : tuple of float
        How much of each, from 0 to 1.
    targets : tuple of (str, tuple of (str, int))
        What is changed: names, and path and number of their sites; see `plan`.
    recalibrate : int
        Re-estimate batch norm from so many images, the last of the data, which are not measured;
        0 leaves it as it is.

    Raises
    ------
    AliascopeError
        As `Options`, or if an intervention or a dose is none.

    Examples
    --------
    >>> AblationOptions(interventions=("removal",))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: intervention is 'removal', but it must be one of remove, ...
    """

    measures: tuple[str, ...] = ("energy",)
    interventions: tuple[str, ...] = DEFAULT
    dose: tuple[float, ...] = (1.0,)
    targets: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    recalibrate: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interventions(self.interventions, self.dose)
        if self.recalibrate < 0:
            raise AliascopeError(f"recalibrate is {self.recalibrate}, but it must be 0 or more.")

    @property
    def kind(self) -> str:
        """What a run with these options is."""
        return "ablation"

    @property
    def trials(self) -> list[Trial]:
        """Changed passes of each batch."""
        targets = [
            Target(name, tuple(Site(path, number) for path, number in sites))
            for name, sites in self.targets
        ]
        return trials_of(targets, self.interventions, self.dose)


@dataclass(frozen=True)
class Plan:
    """What an ablation will do.

    Attributes
    ----------
    options : AblationOptions
        With the targets, and without the images that recalibrate.
    passes : int
        Over all images and conditions, batch by batch.
    seconds : float
        About how long, from one pass.
    note : str
        What was left out, or "".
    """

    options: AblationOptions
    passes: int
    seconds: float
    note: str


def plan(
    loaded: LoadedModel,
    images: ImageSource,
    options: AblationOptions,
    sites: str | Sequence[str] = "stages+all",
    *,
    device: str = "cpu",
) -> Plan:
    """Find what is to be changed, and how long it will take.

    Parameters
    ----------
    loaded : LoadedModel
        The model; it is moved to the device.
    images : ImageSet or like it
        Of which the first are looked at.
    options : AblationOptions
        Without targets.
    sites : str or sequence of str
        See :func:`aliascope.ablate`.
    device : str
        Where to run.

    Returns
    -------
    Plan

    Raises
    ------
    AliascopeError
        If no image can be read, too few are left to measure, or the model has no such site.
    """
    options = _spared(options, images)
    wanted = read_sites(sites)
    model = on_device(loaded, device)
    batch = _first_images(images, options).to(device)
    ran: list[float] = []

    def run(count: int) -> Any:
        began = time.perf_counter()
        with refusing_images(loaded.name, batch.shape[-2:]):
            output = model(batch[:count])
        ran.append(time.perf_counter() - began)
        return output

    with filtering(loaded.network, options.filter), evaluating(model):
        targets, note = plan_targets(loaded.network, wanted, run, len(batch))
        run(len(batch))
        run(len(batch))
    targets_of_run = tuple(
        (target.name, tuple((site.path, site.number) for site in target.sites))
        for target in targets
    )
    options = replace(options, targets=targets_of_run)
    count = _count(options, images)
    batches = -(-count // options.batch_size) * len(options.conditions)
    passes = batches * count_passes(options.trials)
    seconds = ran[-1] / len(batch) * min(options.batch_size, count) * passes
    return Plan(options, passes, seconds, note)


def _count(options: AblationOptions, images: ImageSource) -> int:
    most = len(images) if options.max_samples is None else options.max_samples
    return max(0, min(len(images) - options.start, most))


def _spared(options: AblationOptions, images: ImageSource) -> AblationOptions:
    """Leave the last images out of those that are measured, where they are to recalibrate."""
    if not options.recalibrate:
        return options
    left = len(images) - options.recalibrate - options.start
    if left < 1:
        raise AliascopeError(
            f"recalibrate is {options.recalibrate}, but {images.name} holds {len(images)} images, "
            "of which some must be left to measure; give fewer."
        )
    most = left if options.max_samples is None else min(left, options.max_samples)
    return replace(options, max_samples=most)


def _first_images(images: ImageSource, options: AblationOptions) -> Tensor:
    """Read the first images that can be read, one batch at most."""
    found: list[Tensor] = []
    for index in range(options.start, options.start + _count(options, images)):
        image = images[index].image
        if image is not None:
            found.append(image)
        if len(found) == min(options.batch_size, 16):
            break
    if not found:
        raise AliascopeError(
            f"None of the images of {images.name} could be read; pass a folder of intact images."
        )
    alike = [image for image in found if image.shape == found[0].shape]
    return torch.stack(alike)


def ablate_images(
    loaded: LoadedModel,
    images: ImageSource,
    folder: str | os.PathLike[str],
    options: AblationOptions,
    **how: Any,
) -> Ablation:
    """Ablate a model over images, into a run directory.

    Parameters
    ----------
    loaded : LoadedModel
        From :func:`aliascope.tasks.models.load_model`.
    images : ImageSet or like it
        From :func:`aliascope.tasks.images.open_data`.
    folder : path
        The run directory.
    options : AblationOptions
        From `plan`.
    **how
        As for :func:`aliascope.evaluation.loop.evaluate`.

    Returns
    -------
    Ablation

    Raises
    ------
    AliascopeError
        As :func:`aliascope.evaluation.loop.evaluate`.
    """
    runner_of = partial(AblationRunner, images=images)
    measurement = evaluate(loaded, images, folder, options, runner_of=runner_of, **how)
    return Ablation(measurement.store)


class AblationRunner(BatchRunner):
    """Runs each batch changed, too."""

    def __init__(
        self, loaded: LoadedModel, options: AblationOptions, *args: Any, images: ImageSource
    ) -> None:
        super().__init__(loaded, options, *args)
        self._trials, self._images, self._recalibrate = options.trials, images, options.recalibrate
        self._chosen = range(options.start, options.start + _count(options, images))
        self._ablator: Ablator | None = None

    def __enter__(self) -> AblationRunner:
        super().__enter__()
        self._ablator = Ablator(
            self.loaded.network, self.model, self._trials, donors=self._donors()
        )
        if self._recalibrate:
            first = len(self._images) - self._recalibrate
            spare = _Spare(self, range(first, len(self._images)))
            next(iter(spare), None)  # settles the memory format, which runs the model on noise
            self._ablator.recalibrate(self.model, spare)
        return self

    def tables_of(self, images: Tensor, samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Change the batch's passes."""
        assert self._ablator is not None
        labels = samples["label"].tolist() if "label" in samples else None
        return {TABLE: self._ablator.run(images, samples["sample"].tolist(), labels)}

    def batches(self, indices: range) -> Iterator[tuple[list[int], Tensor]]:
        """Read images batch by batch, onto the device."""
        size = self.options.batch_size
        for i in range(0, len(indices), size):
            batch = collate([self._images[k] for k in indices[i : i + size]])
            if len(batch.images):
                yield batch.indices.tolist(), self._images_of(batch)

    def _donors(self) -> Donors | None:
        if all(trial.name not in SWAPS for trial in self._trials):
            return None
        known = self._images.labels
        labels = [-1 if known is None else known[i] for i in self._chosen]
        if min(labels) < 0:
            predicted = self._predictions()
            labels = [
                predicted.get(i, -1) if label < 0 else label
                for i, label in zip(self._chosen, labels, strict=True)
            ]
        return Donors(self._chosen, labels, self._image, seed=self.options.seed)

    def _image(self, number: int) -> Tensor | None:
        return self._images[number].image

    def _predictions(self) -> dict[int, int]:
        """Say what the model takes each image for, from the run's folder where it was found."""
        path = self.store.predictions
        with contextlib.suppress(OSError, ValueError, KeyError):
            table = pd.read_parquet(path)
            return {
                int(i): int(k) for i, k in zip(table["sample"], table["prediction"], strict=True)
            }
        found: dict[int, int] = {}
        for indices, images in self.batches(self._chosen):
            scores = class_scores(self.model(images))
            if scores is None:
                break
            found |= dict(zip(indices, scores.argmax(dim=1).tolist(), strict=True))
        table = pd.DataFrame({"sample": list(found), "prediction": list(found.values())})
        with replacing(path) as draft, draft.open("wb") as file:
            table.astype(np.int64).to_parquet(file, index=False)
        return found


class _Spare:
    """Images that are not measured, read anew each time."""

    def __init__(self, runner: AblationRunner, indices: range) -> None:
        self._runner, self._indices = runner, indices

    def __iter__(self) -> Iterator[Tensor]:
        return (images for _, images in self._runner.batches(self._indices))
