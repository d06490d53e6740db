"""Handlers that measure: from dense signals to columns per sample and site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aliascope.errors import AliascopeError
from aliascope.measures.categories import DETAILS, Categories
from aliascope.spectrum import Criterion

__all__ = ["DETAILS", "MEASURES", "Categories", "make_measures"]

MEASURES: dict[str, Callable[..., Categories]] = {"categories": Categories}
"""How each measure is made, by name: from the criterion, the detail, the engine and a workspace."""


def make_measures(
    names: Sequence[str],
    criterion: Criterion,
    detail: str,
    *,
    engine: str = "auto",
    workspace: int | None = None,
) -> list[Categories]:
    """Make measures by name.

    Raises
    ------
    AliascopeError
        If there is none of a name.

    Examples
    --------
    >>> make_measures(["entropy"], Criterion(), "site")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: There is no measure 'entropy'; there are: categories.
    """
    for name in names:
        if name not in MEASURES:
            known = ", ".join(MEASURES)
            raise AliascopeError(f"There is no measure {name!r}; there are: {known}.")
    return [MEASURES[name](criterion, detail, engine=engine, workspace=workspace) for name in names]
