"""Colours of the four categories, and the ring's order; all else has that of the columns."""

from __future__ import annotations

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError

PALETTES = {
    "paper": dict(zip(COLUMNS, ("#333333", "#2b2bd5", "#d5d52a", "#ff0000"), strict=True)),
    "colour-blind": dict(zip(COLUMNS, ("#4d4d4d", "#0072b2", "#f0e442", "#d55e00"), strict=True)),
}
"""``paper``: as published. ``colour-blind``: after Okabe and Ito (2008)."""

RING_ORDER = ("non_aliased", "aliased", "tangled", "no_pass")
"""Of the nested ring: counter-clockwise from three o'clock, as published."""


def palette(name: str) -> dict[str, str]:
    """Look a palette up.

    Parameters
    ----------
    name : {"paper", "colour-blind"}
        Its name.

    Returns
    -------
    dict of str to str
        Colour, as #rrggbb, of each category's column.

    Raises
    ------
    AliascopeError
        If there is none of that name.

    Examples
    --------
    >>> palette("paper")["tangled"]
    '#ff0000'
    """
    if name not in PALETTES:
        raise AliascopeError(f"palette is {name!r}, but it must be one of {tuple(PALETTES)}.")
    return PALETTES[name]
