"""The four categories of a frequency bin: their names, numbers and order."""

from __future__ import annotations

from enum import IntEnum


class Category(IntEnum):
    """What the folds that land on one bin of the decimated spectrum do there.

    The numbering is that of the published code; the four partition the bins.

    Examples
    --------
    >>> Category(3).name
    'TANGLED'
    """

    NO_PASS = 0
    """No fold exceeds the threshold."""
    NON_ALIASED = 1
    """Exactly one fold does, and its true frequency is the bin's own."""
    ALIASED = 2
    """Exactly one fold does, and it comes from above the new Nyquist frequency."""
    TANGLED = 3
    """Two or more folds do: they cannot be told apart after decimation."""


COLUMNS = [category.name.lower() for category in Category]
"""Column names of every table of counts or fractions, in the order of the numbering."""


LABELS = dict(zip(COLUMNS, ("no pass", "non-aliased", "aliased", "tangled"), strict=True))
"""What figures and tables call the categories."""
