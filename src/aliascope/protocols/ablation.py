"""Ablation: a batch's clean pass, and its passes with the dense signals of some sites changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from aliascope.errors import AliascopeError
from aliascope.interventions import (
    EnoughSeen,
    HighParts,
    Intervention,
    Swap,
    intervention,
)
from aliascope.protocols.donors import Donors
from aliascope.protocols.effects import Answer, effects_of
from aliascope.protocols.stages import Target
from aliascope.runs.changed import CLEAN_PASS
from aliascope.seam.handlers import Batch, Columns, Handler
from aliascope.seam.opening import Opening
from aliascope.seam.parts import Part, workspace_of
from aliascope.seam.recording import unseen
from aliascope.seam.replay import Replay
from aliascope.seam.signals import Signals
from aliascope.sites import Site

DEFAULT = ("remove", "restore", "gain", "swap-within", "swap-between", "low")
"""Interventions that a verdict is read off."""

SWAPS = {"swap-within": True, "swap-between": False}
"""Interventions that need donors, and whether these are of the same class."""


@dataclass(frozen=True)
class Trial:
    """One changed pass.

    Attributes
    ----------
    target : Target
        Which sites are changed.
    name : str
        Of the intervention.
    dose : float
        How much of it.
    """

    target: Target
    name: str
    dose: float = 1.0

    def intervention(self) -> Intervention:
        """Make the intervention."""
        return intervention(self.name, self.target.sites, dose=self.dose)


def trials_of(
    targets: Sequence[Target], interventions: Sequence[str], doses: Sequence[float]
) -> list[Trial]:
    """List the changed passes of a batch, target by target."""
    return [Trial(t, name, dose) for t in targets for name in interventions for dose in doses]


def count_passes(trials: Sequence[Trial]) -> int:
    """Count the passes that a batch takes: clean, changed, of donors, and the measured one.

    Examples
    --------
    >>> count_passes(trials_of([Target("stem", ())], ["remove", "swap-within"], [1.0]))
    5
    """
    return 2 + len(trials) + sum(trial.name in SWAPS for trial in trials)


class Ablator:
    """Runs a batch clean and changed, and reads off what the changes do.

    Parameters
    ----------
    network : nn.Module
        Whose sites are changed.
    run : callable
        Runs the model on a batch of images (N, C, H, W) as it is given; it holds the network.
    trials : sequence of Trial
        What to change.
    donors : Donors, optional
        Needed for swaps.
    workspace : int, optional
        See :class:`aliascope.Opening`.

    Raises
    ------
    AliascopeError
        If there are swaps but no donors.
    """

    def __init__(
        self,
        network: nn.Module,
        run: Callable[[Tensor], Any],
        trials: Sequence[Trial],
        *,
        donors: Donors | None = None,
        workspace: int | None = None,
    ) -> None:
        self._network, self._run, self._trials = network, run, list(trials)
        self._donors = donors
        self._states: dict[Trial | None, list[Tensor]] = {}
        if donors is None and any(trial.name in SWAPS for trial in trials):
            raise AliascopeError("Swaps need donors; leave swap-within and swap-between out.")
        self._switch = _Switch()
        self._opening = Opening(network, [self._switch], workspace=workspace)
        self._replay = Replay(self._opening)
        kind = next((p.device.type for p in network.parameters()), "cpu")
        self._signals = Signals(workspace_of(kind, workspace))
        self._starts = {site for trial in trials for site in trial.target.sites}

    def recalibrate(self, model: nn.Module, batches: Iterable[Tensor]) -> None:
        """Estimate the statistics of batch norm anew, clean and under each trial.

        Swaps keep those of the clean pass: what they put in comes from the same images.

        Parameters
        ----------
        model : nn.Module
            What ``run`` runs.
        batches : iterable of Tensor, each (N, C, H, W)
            Images that are not measured, on the model's device; gone through once a trial.

        Raises
        ------
        AliascopeError
            If the network has no batch norm.
        """
        layers = [m for m in self._network.modules() if isinstance(m, _BatchNorm)]
        if not layers:
            raise AliascopeError(
                f"{type(self._network).__name__} has no batch norm to recalibrate; leave that out."
            )
        random = _random_state(layers[0].weight.device)
        buffers = [buffer for layer in layers for buffer in layer.buffers()]
        before = [buffer.clone() for buffer in buffers]
        for trial in (None, *self._trials):
            if trial is not None and trial.name in SWAPS:
                continue
            self._switch.to(None if trial is None else trial.intervention())
            _set_random_state(random)
            with self._opening:
                update_bn(batches, model)
            self._states[trial] = [buffer.clone() for buffer in buffers]
            for buffer, values in zip(buffers, before, strict=True):
                buffer.copy_(values)

    @torch.no_grad()
    def run(
        self, images: Tensor, numbers: Sequence[int], labels: Sequence[int] | None = None
    ) -> pd.DataFrame:
        """Run a batch under every trial.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            As the model takes them, on its device.
        numbers : sequence of int
            Of the samples; what is random follows from them.
        labels : sequence of int, optional
            Of the samples; negative where not known.

        Returns
        -------
        DataFrame
            One row per sample and trial, the clean pass first; see :mod:`aliascope.runs.changed`.
        """
        random = _random_state(images.device)
        known = None if labels is None else np.asarray(labels)
        with self._opening:
            with self._replay.recording(self._starts):
                clean = self._pass(None, images, random)
            with unseen():
                rows = [_rows(numbers, "", CLEAN_PASS, 1.0, effects_of(clean, clean, known))]
            for trial in self._trials:
                rows.append(self._tried(trial, images, numbers, known, clean, random))
            self._replay.forget()
            self._signals.forget()
        return pd.concat([each for each in rows if len(each)], ignore_index=True)

    def _tried(
        self,
        trial: Trial,
        images: Tensor,
        numbers: Sequence[int],
        labels: np.ndarray[Any, Any] | None,
        clean: Answer,
        random: Any,
    ) -> pd.DataFrame:
        change = trial.intervention()
        change.signals = self._signals
        drawn: list[tuple[int, Tensor] | None] | None = None
        if isinstance(change, Swap):
            assert self._donors is not None
            within = SWAPS[trial.name]
            with unseen():
                drawn = self._donors.draw(numbers, trial.target.name, within=within)
            if not any(drawn):
                return pd.DataFrame()
            change.high = self._high_of(trial, drawn, images, random)
        changed = self._pass(trial, images, random, change)
        classes = None
        if drawn is not None and self._donors is not None:
            classes = np.array([self._donors.class_of(each[0]) if each else -1 for each in drawn])
        with unseen():
            found = effects_of(clean, changed, labels, classes)
            found |= _energies(change.end(), trial.target.sites)
        if drawn is not None:
            found["donor"] = np.array([each[0] if each else -1 for each in drawn])
        rows = _rows(numbers, trial.target.name, trial.name, trial.dose, found)
        return rows if drawn is None else rows[[each is not None for each in drawn]]

    def _high_of(
        self,
        trial: Trial,
        drawn: Sequence[tuple[int, Tensor] | None],
        images: Tensor,
        random: Any,
    ) -> dict[Site, Tensor]:
        """Run the donors as far as needed; who has none stands in for itself and is left out."""
        inputs = [
            image.to(images) if each is None else each[1].to(images)
            for image, each in zip(images, drawn, strict=True)
        ]
        sizes = {tuple(each.shape) for each in inputs}
        if len(sizes) > 1:
            raise AliascopeError(
                f"{trial.name} meets images of {' and '.join(map(str, sorted(sizes)))}; make all "
                "one size, as with --crop."
            )
        kept = HighParts(trial.target.sites)
        batch = torch.stack(inputs)
        if images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last):
            batch = batch.contiguous(memory_format=torch.channels_last)
        with contextlib.suppress(EnoughSeen):
            self._pass(None, batch, random, kept)
        return kept.high

    def _pass(
        self, trial: Trial | None, images: Tensor, random: Any, handler: Handler | None = None
    ) -> Answer:
        """Run the model once, with random numbers as in the clean pass."""
        self._switch.to(handler)
        _set_random_state(random)
        state = self._states.get(trial, self._states.get(None))
        with _with_state(self._network, state):
            if trial is None or state is not None:
                output = self._run(images)
            else:  # what comes before the changed sites is as in the clean pass
                self._signals.about(trial.target.name)
                with self._opening.keeping_signals(self._signals):
                    output = self._replay.run(lambda: self._run(images))
        self._opening.settle()
        with unseen():
            return Answer.of(output, len(images))


class _Switch:
    """Passes on to one handler at a time, or to none."""

    def __init__(self) -> None:
        self._now: Handler | None = None

    def to(self, handler: Handler | None) -> None:
        self._now = handler

    @property
    def whole(self) -> bool:
        return self._now is not None and self._now.whole

    @property
    def sites(self) -> Collection[Site] | None:
        return () if self._now is None else getattr(self._now, "sites", None)

    def begin(self, batch: Batch) -> None:
        if self._now is not None:
            self._now.begin(batch)

    def take(self, site: Site, dense: Tensor, part: Part) -> Tensor | None:
        return None if self._now is None else self._now.take(site, dense, part)

    def end(self) -> Columns | None:
        return None

    def describe(self) -> Mapping[str, Any]:
        return {"name": "clean"} if self._now is None else self._now.describe()


def _energies(columns: Columns | None, sites: Sequence[Site]) -> dict[str, np.ndarray[Any, Any]]:
    """Average what was taken over the sites of a target."""
    found = {}
    for name, by_site in (columns or {}).items():
        each = [by_site[site] for site in sites if site in by_site]
        if each:
            found[name] = torch.stack([e.cpu().double() for e in each]).nanmean(dim=0).numpy()
    return found


def _rows(
    numbers: Sequence[int],
    sites: str,
    name: str,
    dose: float,
    found: Mapping[str, np.ndarray[Any, Any]],
) -> pd.DataFrame:
    key = {"sample": list(numbers), "sites": sites, "intervention": name, "dose": dose}
    return pd.DataFrame({**key, **found})


@contextlib.contextmanager
def _with_state(network: nn.Module, state: Sequence[Tensor] | None) -> Iterator[None]:
    """Run with other batch-norm statistics."""
    if state is None:
        yield
        return
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    buffers = [buffer for layer in layers for buffer in layer.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        for buffer, values in zip(buffers, state, strict=True):
            buffer.copy_(values)
        yield
    finally:
        for buffer, values in zip(buffers, before, strict=True):
            buffer.copy_(values)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return (
        torch.get_rng_state(),
        torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    )


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
