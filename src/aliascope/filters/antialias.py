"""Filters on a model of one's own, in one line: installed, listed, and taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from torch import nn

from aliascope.errors import AliascopeError, nearest
from aliascope.filters.installation import Choice, FilteredForward, Installation
from aliascope.filters.names import FilterName
from aliascope.seam.opening import opened, original_module
from aliascope.seam.tracking import ROOT
from aliascope.sites import Site, SiteList

PLACES = ("output", "input")
"""What is filtered at a strided convolution: what its dense form gives, or what it is given."""


class Antialiasing:
    """A filter that was installed on a model.

    As a context manager it takes the filter off at the end.

    Attributes
    ----------
    model : nn.Module
        The filtered one.
    """

    def __init__(self, model: nn.Module, installation: Installation) -> None:
        self.model = model
        self._installation = installation

    @property
    def sites(self) -> SiteList:
        """Sites that are filtered; known from the first pass on, empty before."""
        found = self._installation.found or SiteList()
        return SiteList(
            each for each in found if each.supported and self._installation.takes(each.site)
        )

    @property
    def installed(self) -> bool:
        """Whether it is still on the model."""
        return any(each is self._installation for each in _installations(self.model))

    def describe(self) -> dict[str, Any]:
        """Say which filter this is and where, fit for JSON."""
        return self._installation.describe()

    def remove(self) -> None:
        """Take the filter off; the model is as it was before. Again, it does nothing."""
        self._installation.remove(self.model)

    def __enter__(self) -> Antialiasing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        of = self._installation
        where = "all sites"
        if isinstance(of.choice, tuple):
            where = ", ".join(of.choice)
        elif of.choice is not None:
            where = "chosen sites"
        state = "" if self.installed else ", removed"
        known = f", {len(self.sites)} found" if of.found is not None else ""
        return (
            f"<{of.filter} at {where} of {type(self.model).__name__} "
            f"({of.boundary}, {of.place}{known}{state})>"
        )


def antialias(
    model: nn.Module,
    filter: str = "blur:3",
    *,
    sites: str | Iterable[str] | Callable[[Site], bool] | None = None,
    boundary: str = "mirror",
    place: str = "output",
) -> Antialiasing:
    """Filter a model's sites: each then attenuates what would alias, before it drops samples.

    The model's calls are intercepted; its modules, its ``state_dict`` and its outputs' shapes stay
    as they are. It trains, deep-copies, pickles, compiles and exports filtered. Opened (by
    :class:`aliascope.Scope`, say) it is measured as filtered. Without retraining its accuracy
    mostly falls.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. In DistributedDataParallel or from ``torch.compile`` the one inside is
        filtered.
    filter : str
        One of those that :func:`aliascope.filters` lists.
    sites : str, iterable of str, callable or None
        Names of sites, or of modules all of whose sites are meant; or a function of a
        :class:`aliascope.Site` that says whether it is to be filtered. None and "all" are all.
    boundary : {"mirror", "circular", "zero"}
        See :func:`aliascope.filter_matrix`.
    place : {"output", "input"}
        At a strided convolution "input" filters what goes into it, and runs it strided as it is:
        the same away from the border for a filter with a kernel, and cheaper. Within the reach of
        both kernels the two differ, as a convolution's padding is then not filtered. Of other
        operations the dense signal is filtered.

    Returns
    -------
    Antialiasing
        Which stays until its ``remove()``, and may be used as a context manager.

    Raises
    ------
    AliascopeError
        If a name, the boundary or the place is not known, no module has the name of a site, or the
        model, or one of its modules, is filtered already. While it runs: if a filtered model runs
        in another; or if what runs is in a checkpointed function that is no module.

    Notes
    -----
    The first call runs the model once more, as it is, in eval mode and without gradients, to see
    which slices of a tensor keep every sample between them: those drop nothing, and are left alone.
    A model with such slices is to be run once before it is compiled or exported.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(3, 2))
    >>> filtered = al.antialias(model, "blur:3", sites=["1"])
    >>> model(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 8, 7, 7])
    >>> filtered.sites
    site  op        rate  dense signal
    1     max_pool  2×2   8×13×13
    >>> filtered.remove()
    """
    model = original_module(model)
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        model = original_module(model.module)
    FilterName.read(filter, boundary)
    if place not in PLACES:
        raise AliascopeError(f"place is {place!r}, but it must be one of {', '.join(PLACES)}.")
    choice = _choice(model, sites)
    for each in _installations(model):
        raise AliascopeError(
            f"The model is filtered already ({each.filter}); call its remove() first."
        )
    opening = opened()
    if opening is not None and any(model is each for each in opening.model.modules()):
        raise AliascopeError("The model is opened by a Scope; filter it before it is opened.")
    installation = Installation(filter, boundary, place, choice)
    installation.install(model)
    return Antialiasing(model, installation)


def installed(model: nn.Module) -> Antialiasing | None:
    """Find the filter on a model, as on a copy of a filtered one.

    Parameters
    ----------
    model : nn.Module
        Filtered itself, or by one of its modules.

    Returns
    -------
    Antialiasing or None
        None where there is none.

    Examples
    --------
    >>> import copy
    >>> model = nn.Sequential(nn.MaxPool2d(2))
    >>> _ = antialias(model, "blur:5")
    >>> installed(copy.deepcopy(model))
    <blur:5 at all sites of Sequential (mirror, output)>
    """
    for module in original_module(model).modules():
        if isinstance(forward := module.__dict__.get("forward"), FilteredForward):
            return Antialiasing(module, forward.of)
    return None


def _installations(model: nn.Module) -> list[Installation]:
    return [
        forward.of
        for module in model.modules()
        if isinstance(forward := module.__dict__.get("forward"), FilteredForward)
    ]


def _choice(model: nn.Module, sites: Any) -> Choice:
    """Read which sites, and refuse names that no module has."""
    if sites is None or sites == "all":
        return None
    if callable(sites):
        return sites
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    paths = {name for name, _ in model.named_modules() if name} | {ROOT}
    for name in names:
        if name.partition("#")[0] not in paths:
            near = nearest(name, sorted(paths))
            raise AliascopeError(
                f"sites names {name!r}, but the model has no module of that path{near}; "
                "`aliascope sites` or al.find_sites lists its sites."
            )
    if not names:
        raise AliascopeError("sites is empty; name some, or pass None for all.")
    return names
