"""Which sites take maps from one size to the next side by side: the stages of a network.

Parallel paths are changed together. One of them alone, say a shortcut beside the main path of a
residual block, would be changed against the other, which measures how they belong together rather
than what aliasing does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aliascope.runs.changed import joined
from aliascope.seam.handlers import Batch
from aliascope.seam.opening import Opening, evaluating
from aliascope.seam.parts import Part
from aliascope.sites import ListedSite, Site, SiteList


@dataclass(frozen=True)
class Target:
    """Sites that are changed together.

    Attributes
    ----------
    name : str
        Names of the sites, joined by " + "; or "all".
    sites : tuple of Site

    Examples
    --------
    >>> Target("stem", (Site("stem"),)).name
    'stem'
    """

    name: str
    sites: tuple[Site, ...]

    @classmethod
    def of(cls, listed: Sequence[ListedSite]) -> Target:
        """Name sites that are changed together."""
        return cls(joined(each.name for each in listed), tuple(each.site for each in listed))


def find_stages(
    model: nn.Module, run: Callable[[], Any], listed: Sequence[ListedSite] | None = None
) -> list[Target]:
    """Group a model's sites into stages.

    Sites are of one stage where they have one rate and dense signals of one size, and none is
    upstream of another. Whether one is follows from the model itself: it is run with a site's
    signal made NaN, which reaches whatever is computed from it.

    Parameters
    ----------
    model : nn.Module
        The network, or what holds it; its sites are opened.
    run : callable
        Runs it once.
    listed : sequence of ListedSite, optional
        Its sites; found by running it otherwise.

    Returns
    -------
    list of Target
        In the order in which the first site of each runs. Sites that cannot be measured, and slices
        that drop nothing, are in none.

    Examples
    --------
    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.main, self.shortcut = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 1, 2)
    ...     def forward(self, x):
    ...         return self.main(x) + self.shortcut(x)
    >>> model = nn.Sequential(Block(), nn.MaxPool2d(2))
    >>> [stage.name for stage in find_stages(model, lambda: model(torch.rand(1, 3, 16, 16)))]
    ['0.main + 0.shortcut', '1']
    """
    with evaluating(model):
        if listed is None:
            with Opening(model, []) as opening:
                run()
            listed = opening.sites
        alike: dict[Any, list[ListedSite]] = {}
        for each in measurable(listed):
            alike.setdefault((each.rate, each.dense_shape[1:]), []).append(each)
        found: list[list[ListedSite]] = []
        for members in alike.values():
            found += _side_by_side(members, _downstream(model, run, members))
    places = {each.site: place for place, each in enumerate(listed)}
    found.sort(key=lambda members: places[members[0].site])
    return [Target.of(members) for members in found]


def measurable(listed: Sequence[ListedSite]) -> SiteList:
    """Leave out what cannot be opened."""
    return SiteList(each for each in listed if each.supported)


def _side_by_side(
    members: Sequence[ListedSite], downstream: Mapping[Site, set[Site]]
) -> list[list[ListedSite]]:
    """Put each site into the first group in which none is upstream of it."""
    groups: list[list[ListedSite]] = []
    for each in members:
        for group in groups:
            if all(each.site not in downstream.get(other.site, ()) for other in group):
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def _downstream(
    model: nn.Module, run: Callable[[], Any], members: Sequence[ListedSite]
) -> dict[Site, set[Site]]:
    """Find which of the sites are computed from which; the last one is upstream of none."""
    tracer = _Tracer({each.site for each in members})
    downstream = {}
    for each in members[:-1]:
        tracer.spoilt, tracer.reached = each.site, set()
        with Opening(model, [tracer]):
            run()
        downstream[each.site] = tracer.reached
    return downstream


class _Tracer:
    """Makes a site's signal NaN, and notes which others that reaches."""

    whole = False

    def __init__(self, sites: set[Site]) -> None:
        self.sites = sites
        self.spoilt: Site | None = None
        self.reached: set[Site] = set()

    def begin(self, batch: Batch) -> None: ...

    def take(self, site: Site, dense: Tensor, part: Part) -> Tensor | None:
        if site == self.spoilt:
            return torch.full_like(dense, torch.nan) if dense.is_floating_point() else None
        if site in self.sites and bool(dense.isnan().any()):
            self.reached.add(site)
        return None

    def end(self) -> None: ...

    def describe(self) -> dict[str, str]:
        return {"name": "trace"}
