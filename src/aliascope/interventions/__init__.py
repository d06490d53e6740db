"""Changes of the dense signal while the model runs, and their controls; one file each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from aliascope.errors import AliascopeError
from aliascope.interventions.bands import Bands
from aliascope.interventions.gain import Gain
from aliascope.interventions.intervention import Intervention
from aliascope.interventions.low import Low
from aliascope.interventions.remove import Remove
from aliascope.interventions.restore import Restore
from aliascope.interventions.swap import EnoughSeen, HighParts, Swap
from aliascope.sites import Site

__all__ = [
    "INTERVENTIONS",
    "Bands",
    "EnoughSeen",
    "Gain",
    "HighParts",
    "Intervention",
    "Low",
    "Remove",
    "Restore",
    "Swap",
    "intervention",
]

_MAKERS: dict[str, Callable[..., Intervention]] = {
    "remove": Remove,
    "restore": Restore,
    "gain": Gain,
    "swap-within": lambda sites, **settings: Swap(sites, within=True, **settings),
    "swap-between": lambda sites, **settings: Swap(sites, within=False, **settings),
    "low": Low,
}

INTERVENTIONS = tuple(_MAKERS)
"""Names of all."""


def intervention(
    name: str, sites: Collection[Site] | None = None, *, dose: float = 1.0
) -> Intervention:
    """Make an intervention by name.

    Parameters
    ----------
    name : {"remove", "restore", "gain", "swap-within", "swap-between", "low"}
        Which.
    sites : collection of Site, optional
        Where; everywhere by default.
    dose : float
        From 0 to 1.

    Returns
    -------
    Intervention
        A handler for :class:`aliascope.Opening` or :class:`aliascope.Scope`.

    Raises
    ------
    AliascopeError
        If there is none of that name, or the dose is outside [0, 1].

    Examples
    --------
    >>> dict(intervention("remove", [Site("stem")], dose=0.5).describe())
    {'name': 'remove stem', 'dose': 0.5}
    """
    if name not in _MAKERS:
        raise AliascopeError(
            f"intervention is {name!r}, but it must be one of {', '.join(_MAKERS)}."
        )
    settings: dict[str, Any] = {"dose": dose}
    return _MAKERS[name](sites, **settings)
