"""Filters: linear decimation that attenuates what would alias, as matrices and on models.

The package can be called: ``aliascope.filters()`` lists the filters by name.
"""

import sys
from types import ModuleType

from aliascope.filters.antialias import Antialiasing, antialias, installed
from aliascope.filters.matrices import dense_matrix, filter_matrix
from aliascope.filters.names import BOUNDARIES, FilterName, filters

__all__ = [
    "BOUNDARIES",
    "Antialiasing",
    "FilterName",
    "antialias",
    "dense_matrix",
    "filter_matrix",
    "filters",
    "installed",
]


class _Callable(ModuleType):
    """A package that lists what is in it: a folder and a function cannot share a name otherwise."""

    def __call__(self) -> dict[str, str]:
        return filters()


sys.modules[__name__].__class__ = _Callable
