"""Ablating a model over batches of one's own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.inputs import shown
from aliascope.evaluation.kept_batches import ByKeyword, KeptBatches
from aliascope.evaluation.probe import no_sites
from aliascope.files import plain
from aliascope.models.predictions import class_scores, record_predictions
from aliascope.protocols.ablation import DEFAULT, SWAPS, Ablator, Trial, trials_of
from aliascope.protocols.donors import Donors
from aliascope.protocols.stages import Target, find_stages
from aliascope.protocols.targets import MOST_STAGES, read_sites, targets_of
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import TABLE
from aliascope.runs.store import Store
from aliascope.scope import Scope
from aliascope.seam.opening import evaluating, original_module
from aliascope.sites import SiteList

ENERGY_IMAGES = 16
"""Images that the stages of most aliased energy are chosen by."""


def ablate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    interventions: Sequence[str] = DEFAULT,
    sites: str | Sequence[str] = "stages+all",
    dose: float | Sequence[float] = 1.0,
    recalibrate: bool | int = False,
    seed: int = 0,
    measures: Sequence[str] = ("energy",),
    progress: bool = False,
    workspace: int | None = None,
) -> Ablation:
    """Change what aliases at the stages of a model, and see what follows.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, on the device it is on, and
        is given back in the mode it was in, with the statistics it had.
    batches : iterable of Tensor, of (Tensor, Tensor) or of mappings
        Images (N, C, H, W); images and labels (N,); or keyword arguments with one tensor among
        them, and labels under ``labels`` or ``label``. What is no list or tuple is gone through
        once and kept in a temporary folder, since donors come from all of it.
    interventions : sequence of str
        Of remove, restore, gain, swap-within, swap-between, low. A verdict needs all.
    sites : str or sequence of str
        "stages", "each", "all", several of them joined by "+", or names of sites, those joined by
        "+" changed together. Of more than eight stages the eight of most aliased energy are taken.
    dose : float or sequence of float
        How much of each, from 0 to 1.
    recalibrate : bool or int
        Re-estimate batch norm under each intervention, and for the clean passes, from so many
        images at the end of the batches, rounded up to whole batches, which are not measured then;
        True takes 256, or a fifth of the images if that is less.
    seed : int
        Donors follow from it, a sample's number and the stage.
    measures : sequence of str
        What is measured of the passes that nothing changes; see :class:`aliascope.Scope`.
    progress : bool
        Show a bar on standard error.
    workspace : int, optional
        See :class:`aliascope.Opening`.

    Returns
    -------
    Ablation
        With ``table()`` and ``verdicts()``.

    Raises
    ------
    AliascopeError
        If an option is unknown or out of its range, there is no image, the model has no site, or
        it has no batch norm to recalibrate.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.Flatten())
    >>> batch = torch.rand(8, 3, 16, 16), torch.arange(8)
    >>> found = al.ablate(model, [batch], interventions=["remove", "gain"])
    >>> list(found.table().index)
    [('0', 'remove'), ('0', 'gain'), ('all', 'remove'), ('all', 'gain')]
    >>> bool((found.table()["energy_taken"].diff()[1::2].abs() < 1e-4).all())
    True
    """
    model = original_module(model)
    doses = [dose] if isinstance(dose, int | float) else list(dose)
    check_interventions(interventions, doses)
    wanted = read_sites(sites)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="aliascope-") as folder, evaluating(model):
        kept = KeptBatches(batches, Path(folder), "ablate")
        measured, spare = kept.split(recalibrate)

        def run(images: Tensor) -> Any:
            return model(images) if kept.keyword is None else model(**{kept.keyword: images})

        targets, note = plan_targets(
            model, wanted, lambda count: run(kept.first(count).to(device)), kept.total
        )
        if note:
            warnings.warn(note, stacklevel=2)
        trials = trials_of(targets, interventions, doses)
        donors = _donors(kept, measured, run, device, trials, seed)
        ablator = Ablator(model, run, trials, donors=donors, workspace=workspace)
        if spare:
            caller = model if kept.keyword is None else ByKeyword(model, kept.keyword)
            ablator.recalibrate(caller, [kept.images(k).to(device) for k in spare])
        store = Store.temporary()
        options = {
            "interventions": list(interventions),
            "targets": [target.name for target in targets],
            "dose": doses,
            "recalibrate": sum(kept.counts[k] for k in spare),
            "seed": seed,
        }
        scope = Scope(model, measures=measures, store=store, workspace=workspace)
        store.write_run(plain({"detail": "site", "options": options, "kind": "ablation"}))
        for k in shown(measured, "ablating") if progress else measured:
            images, labels = kept.images(k).to(device), kept.labels[k]
            numbers = kept.numbers(k)
            table = pd.DataFrame({"sample": numbers})
            if labels is not None:
                table["label"] = labels.numpy()
            changed = ablator.run(images, numbers, None if labels is None else labels.tolist())
            with scope, scope.batch(table, number=k) as part:
                record_predictions(part.samples, run(images))
                part.tables[TABLE] = changed
    return Ablation(store)


def check_interventions(interventions: Sequence[str], doses: Sequence[float]) -> None:
    """Refuse interventions and doses that are none, each once.

    Raises
    ------
    AliascopeError
        Naming the first.
    """
    if isinstance(interventions, str):
        raise AliascopeError(
            f"interventions is {interventions!r}; give a sequence, as in [{interventions!r}]."
        )
    for name in interventions:
        if name not in DEFAULT:
            raise AliascopeError(
                f"intervention is {name!r}, but it must be one of {', '.join(DEFAULT)}."
            )
    for dose in doses:
        if not 0 <= dose <= 1:
            raise AliascopeError(f"dose is {dose}, but it must be from 0 to 1.")
    for what, given in {"interventions": interventions, "dose": doses}.items():
        if not given or len(set(given)) < len(given):
            raise AliascopeError(f"{what} is {list(given)}, but it must name some, each once.")


def plan_targets(
    network: nn.Module,
    wanted: Sequence[str | tuple[str, ...]],
    run: Callable[[int], Any],
    available: int,
) -> tuple[list[Target], str]:
    """Find the sites of a network, its stages, and which of these are to be changed.

    Parameters
    ----------
    network : nn.Module
        Whose sites.
    wanted : sequence
        From :func:`aliascope.protocols.targets.read_sites`.
    run : callable
        Runs it on so many images, from the first.
    available : int
        How many images there are.

    Returns
    -------
    (list of Target, str)
        And what was left out, or "".

    Raises
    ------
    AliascopeError
        If it has no site, or not one that is named.
    """
    listed = _sites_of(network, run)
    stages = find_stages(network, lambda: run(1), listed) if "stages" in wanted else []
    energy: dict[str, float] = {}
    if len(stages) > MOST_STAGES:
        scope = Scope(network, measures=["energy"])
        with scope, evaluating(network):
            run(min(ENERGY_IMAGES, available))
        by_site = scope.measurement().energy()["aliased_energy"]
        energy = {str(name): float(share) for name, share in by_site.items()}
    return targets_of(wanted, listed, stages, energy)


def _sites_of(network: nn.Module, run: Callable[[int], Any]) -> SiteList:
    from aliascope.seam.opening import Opening

    with Opening(network, []) as opening, evaluating(network):
        run(1)
    if not any(site.supported for site in opening.sites):
        raise AliascopeError(no_sites(type(network).__name__, opening.sites))
    return opening.sites


def _donors(
    kept: KeptBatches,
    measured: Sequence[int],
    run: Callable[[Tensor], Any],
    device: torch.device,
    trials: Sequence[Trial],
    seed: int,
) -> Donors | None:
    """Sort the images by label, or where one has none by what the model takes it for."""
    if all(trial.name not in SWAPS for trial in trials):
        return None
    classes = []
    for k in measured:
        labels = kept.labels[k]
        known = torch.full((kept.counts[k],), -1) if labels is None else labels.clone()
        if (known < 0).any():
            with torch.no_grad():
                scores = class_scores(run(kept.images(k).to(device)))
            if scores is not None:
                predicted = scores.argmax(dim=1).cpu()
                known = torch.where(known < 0, predicted, known)
        classes.append(known.numpy())
    numbers = [number for k in measured for number in kept.numbers(k)]
    return Donors(numbers, np.concatenate(classes), kept.image, seed=seed)
