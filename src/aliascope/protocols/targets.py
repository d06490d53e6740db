"""What an ablation changes: stages, sites, or all of them, by the words a user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aliascope.errors import AliascopeError, nearest
from aliascope.protocols.stages import Target, measurable
from aliascope.runs.changed import ALL, members
from aliascope.sites import ListedSite

KEYWORDS = ("stages", "each", ALL)
"""Words that stand for several sites."""

MOST_STAGES = 8
"""Of a network with more, those of most aliased energy are changed."""


def read_sites(given: str | Sequence[str]) -> list[str | tuple[str, ...]]:
    """Read which sites a user asks for.

    Parameters
    ----------
    given : str or sequence of str
        ``stages``, ``each``, ``all``, or names of sites, separated by commas, or as a sequence;
        names joined by ``+`` are changed together. Keywords may be joined by ``+`` too.

    Returns
    -------
    list of str or tuple of str
        A keyword, or names that are changed together.

    Raises
    ------
    AliascopeError
        If it names nothing.

    Examples
    --------
    >>> read_sites("stages+all"), read_sites("stem, layer2.0.conv1 + layer2.0.downsample.0")
    (['stages', 'all'], [('stem',), ('layer2.0.conv1', 'layer2.0.downsample.0')])
    """
    words = given.split(",") if isinstance(given, str) else list(given)
    found: list[str | tuple[str, ...]] = []
    for word in words:
        names = tuple(name.strip() for name in word.split("+") if name.strip())
        if names and all(name in KEYWORDS for name in names):
            found += names
        elif names:
            found.append(names)
    if not found:
        raise AliascopeError(
            f"sites is {given!r}, but it must name some: {', '.join(KEYWORDS)}, or sites by name."
        )
    return list(dict.fromkeys(found))


def targets_of(
    wanted: Sequence[str | tuple[str, ...]],
    listed: Sequence[ListedSite],
    stages: Sequence[Target],
    energy: Mapping[str, float] | None = None,
) -> tuple[list[Target], str]:
    """Find what is to be changed.

    Parameters
    ----------
    wanted : sequence
        From `read_sites`.
    listed : sequence of ListedSite
        Sites of the network.
    stages : sequence of Target
        From :func:`aliascope.protocols.stages.find_stages`.
    energy : mapping of str to float, optional
        Aliased energy by the name of a site, needed where there are more than eight stages.

    Returns
    -------
    (list of Target, str)
        Each once; and what was left out, in a sentence, or "".

    Raises
    ------
    AliascopeError
        If a site is not known, or cannot be measured.

    Examples
    --------
    >>> from aliascope.sites import Site
    >>> listed = [ListedSite(Site(name, 1, "conv", (2, 2)), name) for name in ("stem", "down")]
    >>> stages = [Target.of([each]) for each in listed]
    >>> [target.name for target in targets_of(["stages", "all"], listed, stages)[0]]
    ['stem', 'down', 'all']
    """
    found: list[Target] = []
    note = ""
    for each in wanted:
        if each == "stages":
            chosen, note = _most(stages, energy or {})
            found += chosen
        elif each == "each":
            found += [Target.of([site]) for site in measurable(listed)]
        elif each == ALL:
            found.append(Target(ALL, tuple(site.site for site in measurable(listed))))
        else:
            found.append(Target.of([named_site(name, listed) for name in each]))
    return list({target.name: target for target in found}.values()), note


def _most(stages: Sequence[Target], energy: Mapping[str, float]) -> tuple[list[Target], str]:
    if len(stages) <= MOST_STAGES:
        return list(stages), ""

    def of_stage(stage: Target) -> float:
        known = [energy[name] for name in members(stage.name) if energy.get(name, -1) >= 0]
        return sum(known) / len(known) if known else -1.0

    most = sorted(stages, key=of_stage, reverse=True)[:MOST_STAGES]
    chosen = [stage for stage in stages if stage in most]
    return chosen, (
        f"Of {len(stages)} stages the {MOST_STAGES} of most aliased energy are changed; name "
        "others with sites."
    )


def named_site(name: str, listed: Sequence[ListedSite]) -> ListedSite:
    """Find a site by its name.

    Raises
    ------
    AliascopeError
        If there is none, or it cannot be measured.
    """
    for each in listed:
        if each.name == name:
            if not each.supported:
                raise AliascopeError(f"{name} is {each.status()}; name another site.")
            return each
    names = [each.name for each in listed]
    near = nearest(name, names, parts=True)
    raise AliascopeError(
        f"The model has no site {name!r}{near}; its sites are {', '.join(names[:8])}"
        f"{', ...' if len(names) > 8 else ''}."
    )
