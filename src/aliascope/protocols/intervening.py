"""Interventions as a user writes them: ``NAME[@SITE,...]``."""

from __future__ import annotations

from collections.abc import Sequence

from aliascope.errors import AliascopeError
from aliascope.interventions import INTERVENTIONS, Intervention, intervention
from aliascope.protocols.ablation import SWAPS
from aliascope.protocols.stages import measurable
from aliascope.protocols.targets import named_site
from aliascope.sites import ListedSite


def read_intervention(text: str) -> tuple[str, float, tuple[str, ...]]:
    """Read an intervention.

    Parameters
    ----------
    text : str
        Name, perhaps ``:DOSE``, perhaps ``@`` and names of sites.

    Returns
    -------
    (str, float, tuple of str)
        Name, dose, and names of sites; none for all.

    Raises
    ------
    AliascopeError
        If there is none of that name, its dose is none, or it needs other images.

    Examples
    --------
    >>> read_intervention("remove:0.5@stem, layer2.0.conv1")
    ('remove', 0.5, ('stem', 'layer2.0.conv1'))
    """
    kind, at, where = text.partition("@")
    name, _, dose = kind.strip().partition(":")
    if name in SWAPS:
        raise AliascopeError(
            f"{name} needs other images, which `aliascope ablate` has; name another intervention "
            "here, such as remove."
        )
    if name not in INTERVENTIONS:
        alone = [each for each in INTERVENTIONS if each not in SWAPS]
        raise AliascopeError(
            f"intervention is {name!r}, but it must be one of {', '.join(alone)}, as in "
            "remove@SITE."
        )
    try:
        amount = float(dose or 1)
    except ValueError:
        raise AliascopeError(f"dose is {dose!r} in {text!r}, but it must be from 0 to 1.") from None
    intervention(name, dose=amount)
    names = tuple(word.strip() for word in where.split(",") if word.strip())
    if at and not names:
        raise AliascopeError(f"{text!r} names no site after @; name some, or leave @ out.")
    return name, amount, names


def interventions_of(written: Sequence[str], listed: Sequence[ListedSite]) -> list[Intervention]:
    """Make the handlers of interventions.

    Parameters
    ----------
    written : sequence of str
        See `read_intervention`.
    listed : sequence of ListedSite
        Sites of the model.

    Returns
    -------
    list of Intervention
        In order.

    Raises
    ------
    AliascopeError
        As `read_intervention`, or if there is no such site.
    """
    made = []
    for each in written:
        name, dose, names = read_intervention(each)
        chosen = [named_site(n, listed) for n in names] or measurable(listed)
        made.append(intervention(name, [site.site for site in chosen], dose=dose))
        if not names:
            made[-1].everywhere = True
    return made
