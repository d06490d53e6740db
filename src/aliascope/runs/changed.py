"""The table of an ablation in a run's parts: what each changed pass gave, sample by sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TABLE = "changed"
"""Its name among a part's files."""

CLEAN_PASS = "clean"
"""In the place of an intervention's name, in rows of the pass that nothing changed."""

ALL = "all"
"""What all sites together are called."""

KEY = ("sample", "sites", "intervention", "dose")
"""Columns that say what a row is of."""

VALUES = (
    *("energy_taken", "energy_changed", "output_change", "agreement", "kl", "logp_change"),
    *("prediction", "top1", "follows", "donor"),
)
"""Columns that may stand beside them; see :func:`aliascope.protocols.effects.effects_of`."""


def label_of(intervention: str, dose: float, doses: Iterable[float] = ()) -> str:
    """Name an intervention, with its dose where there are several.

    Examples
    --------
    >>> label_of("remove", 0.25, [0.25, 1.0]), label_of("remove", 0.25), label_of("clean", 1)
    ('remove dose=0.25', 'remove', 'clean')
    """
    several = len(set(doses)) > 1 and intervention != CLEAN_PASS
    return f"{intervention} dose={dose:g}" if several else intervention


def joined(names: Iterable[str]) -> str:
    """Name sites that are changed together."""
    return " + ".join(names)


def members(sites: str) -> list[str]:
    """Split the name of a stage into those of its sites.

    Examples
    --------
    >>> members("layer2.0.conv1 + layer2.0.downsample.0")
    ['layer2.0.conv1', 'layer2.0.downsample.0']
    """
    return sites.split(" + ")


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """Refuse a table that no ablation can have written.

    Raises
    ------
    ValueError
        If it lacks a column, or has one that is not of its kind.
    """
    from pandas.api.types import is_integer_dtype, is_numeric_dtype

    lacking = [column for column in KEY if column not in table]
    if lacking:
        raise ValueError(f"it has no {', '.join(lacking)}")
    if not is_integer_dtype(table["sample"].dtype):
        raise ValueError("samples have no whole numbers")
    numbers: list[Any] = [column for column in ("dose", *VALUES) if column in table]
    for column in numbers:
        if not is_numeric_dtype(table[column].dtype):
            raise ValueError(f"{column} is no number")
    return table.astype({"sites": str, "intervention": str})
