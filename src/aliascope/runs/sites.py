"""The sites of a run: those of its parts brought together, and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from aliascope.errors import AliascopeError, nearest
from aliascope.runs.part import Part

COLUMNS_OF_SITES = [
    *("name", "op", "rate", "dense_shape", "grid"),
    *("supported", "reason", "recomposition_error"),
]

SiteKey = tuple[str, int, str, tuple[int, ...]]
"""What makes a site the same in several parts."""


def key_of(site: Mapping[str, Any]) -> SiteKey:
    """Say what makes a site the same in several parts: path, number, operation, rate."""
    return site["path"], site["number"], site["op"], site["rate"]


def merged(parts: Iterable[Part]) -> dict[SiteKey, dict[str, Any]]:
    """Bring together the sites of parts; what one part could not measure is not measured.

    Parameters
    ----------
    parts : iterable of Part
        In their order.

    Returns
    -------
    dict
        Each site as :data:`aliascope.runs.part.SITE_KEYS` have it, with its ``name``; in the order
        in which they ran, those not measured last.
    """
    found: dict[SiteKey, dict[str, Any]] = {}
    for part in parts:
        for site in part.sites:
            known = found.setdefault(key_of(site), dict(site))
            error = site["recomposition_error"]
            if not known["recomposition_error"] >= error:
                known["recomposition_error"] = error
            if not site["supported"]:
                known.update(supported=False, reason=site["reason"])
    found = dict(sorted(found.items(), key=lambda item: not item[1]["supported"]))
    paths = [site["path"] for site in found.values()]
    for site in found.values():
        several = paths.count(site["path"]) > 1
        site["name"] = f"{site['path']}#{site['number']}" if several else site["path"]
    return found


def table_of(sites: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate sites, a row each."""
    return pd.DataFrame(list(sites), columns=COLUMNS_OF_SITES)


def times(numbers: Iterable[int]) -> str:
    """Write sizes or rates.

    Examples
    --------
    >>> times((3, 224, 224))
    '3×224×224'
    """
    return "×".join(map(str, numbers))


def row_of(sites: pd.DataFrame, name: str) -> int:
    """Find a site's row.

    Parameters
    ----------
    sites : DataFrame
        Of :func:`table_of`.
    name : str
        The site's name.

    Returns
    -------
    int

    Raises
    ------
    AliascopeError
        If there is none of that name, or it could not be measured.
    """
    names = list(sites["name"])
    if name not in names:
        raise AliascopeError(
            f"There is no site {name!r}{nearest(name, names, parts=True)}; the sites are "
            f"{', '.join(names)}."
        )
    row = names.index(name)
    if not sites["supported"].iloc[row]:
        raise AliascopeError(
            f"Site {name} was not measured ({sites['reason'].iloc[row]}); choose another site."
        )
    return row
