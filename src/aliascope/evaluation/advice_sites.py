"""Which sites a candidate filter is tried at: all, those that matter most, the stem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.ablate import ablate
from aliascope.evaluation.probe import no_sites
from aliascope.protocols.stages import Target, find_stages, measurable
from aliascope.runs.advice import ALL, LEAST_EFFECT, LEAST_ENERGY, MOST, STEM
from aliascope.seam.opening import Opening
from aliascope.sites import ListedSite, Site

WORDS = (ALL, MOST, STEM)
"""What sites a candidate may be at."""

CHOOSING_IMAGES = 64
"""Images that the stages which matter most are told by."""


@dataclass(frozen=True)
class Chosen:
    """Sites by the words that stand for them.

    Attributes
    ----------
    names : dict of str to list of str
        As :func:`aliascope.antialias` takes them, by word; each set of sites once.
    stages : list of dict
        What "most" was told by: sites, aliased_energy, effect, measure, images, taken.
    notes : list of str
        What was left out, and why.
    """

    names: dict[str, list[str]]
    stages: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose_sites(
    model: nn.Module,
    run: Callable[[], Any],
    batches: Sequence[Any],
    words: Sequence[str],
) -> Chosen:
    """Find the sites that filters are tried at.

    Parameters
    ----------
    model : nn.Module
        In eval mode.
    run : callable
        Runs it on an image.
    batches : sequence of Tensor or mapping
        What the stages that matter most are told by.
    words : sequence of str
        Of :data:`WORDS`.

    Returns
    -------
    Chosen

    Raises
    ------
    AliascopeError
        If the model has no site.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(2)).eval()
    >>> x = torch.rand(1, 3, 16, 16)
    >>> choose_sites(model, lambda: model(x), [x], ["all", "stem"]).names
    {'all': ['0', '2'], 'stem': ['0']}
    """
    with Opening(model, []) as opening:
        run()
    listed = measurable(opening.sites)
    if not listed:
        raise AliascopeError(no_sites(type(model).__name__, opening.sites))
    targets: dict[str, Iterable[Site]] = {ALL: [each.site for each in listed]}
    found = Chosen({})
    if set(words) != {ALL}:
        stages = find_stages(model, run, opening.sites)
        targets[STEM] = stages[0].sites
        if MOST in words:
            found.stages.extend(_judged(model, stages, batches))
            taken = {each["sites"] for each in found.stages if each["taken"]}
            targets[MOST] = [
                site for stage in stages if stage.name in taken for site in stage.sites
            ]
    for word in words:
        _add(found, word, exact_names(listed, targets[word]))
    return found


def _add(found: Chosen, word: str, names: list[str]) -> None:
    """Take a set of sites, unless it is empty or there already."""
    if not names:
        found.notes.append(
            f"{word}: no stage has {100 * LEAST_ENERGY:.0f} % of its energy beyond and an effect "
            "when that is removed, so there is no such candidate."
        )
        return
    for other, there in found.names.items():
        if set(there) == set(names):
            found.notes.append(f"{word}: the same sites as {other}.")
            return
    found.names[word] = names


def _judged(
    model: nn.Module, stages: Sequence[Target], batches: Sequence[Any]
) -> list[dict[str, Any]]:
    """Measure what each stage has beyond, and what follows when that is removed."""
    ablation = ablate(
        model, batches, interventions=["remove"], sites=[stage.name for stage in stages]
    )
    table, energy = ablation.table(), ablation.energy()
    effects: Any = table.xs("remove", level="intervention")
    measure = "kl" if effects["kl"].notna().any() else "output_change"
    largest = effects[measure].max()
    found = []
    for stage in stages:
        beyond, effect = float(energy[stage.name]), float(effects.loc[stage.name, measure])
        found.append(
            {
                "sites": stage.name,
                "aliased_energy": beyond,
                "effect": effect,
                "measure": measure,
                "images": int(effects.loc[stage.name, "n"]),
                "taken": matters(beyond, effect, largest),
            }
        )
    return found


def matters(energy: float, effect: float, largest: float) -> bool:
    """Say whether a stage is one of those that matter most.

    Parameters
    ----------
    energy : float
        Its aliased energy, in [0, 1].
    effect, largest : float
        What removing the part beyond does to the output, there and where it does most: mean KL
        divergence in nats, or mean relative change of the output.

    Returns
    -------
    bool
        Whether at least a tenth of its energy is beyond, and the effect is at least a tenth of the
        largest and not 0.

    Examples
    --------
    >>> matters(0.4, 0.02, 0.1), matters(0.05, 0.1, 0.1), matters(0.4, 0.005, 0.1)
    (True, False, False)
    """
    known = not math.isnan(energy) and not math.isnan(effect)
    return known and energy >= LEAST_ENERGY and effect > 0 and effect >= LEAST_EFFECT * largest


def exact_names(listed: Sequence[ListedSite], sites: Iterable[Site]) -> list[str]:
    """Name sites so that :func:`aliascope.antialias` takes them and no others.

    A module's name stands for all the sites in it, so one that has others in it is named by number.

    Examples
    --------
    >>> inner, outer = Site("block.pool", 1, "max_pool", (2, 2)), Site("block", 1, "conv", (2, 2))
    >>> listed = [ListedSite(inner, "block.pool"), ListedSite(outer, "block")]
    >>> exact_names(listed, [outer])
    ['block#1']
    """
    found = []
    for site in sites:
        others = [each for each in listed if each.site != site]
        within = (
            each.path == site.path or each.path.startswith(f"{site.path}.") for each in others
        )
        found.append(f"{site.path}#{site.number}" if any(within) else site.path)
    return found


def first_images(batches: Iterable[Tensor], count: int = CHOOSING_IMAGES) -> list[Tensor]:
    """Take so many images from the first on, in their batches."""
    found: list[Tensor] = []
    for images in batches:
        left = count - sum(map(len, found))
        if left <= 0:
            break
        found.append(images[:left])
    return found
