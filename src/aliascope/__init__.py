"""Measure where, and how much, a PyTorch vision network aliases.

The public names are loaded when first used, so that reading a run needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aliascope import sites
    from aliascope.categories import Category
    from aliascope.errors import AliascopeError
    from aliascope.evaluate import measure
    from aliascope.measurement import Measurement, load
    from aliascope.scope import Scope, find_sites
    from aliascope.sites import Site
    from aliascope.spectrum import classify

_HOMES = {
    "AliascopeError": "aliascope.errors",
    "Category": "aliascope.categories",
    "Measurement": "aliascope.measurement",
    "Scope": "aliascope.scope",
    "Site": "aliascope.sites",
    "classify": "aliascope.spectrum",
    "find_sites": "aliascope.scope",
    "load": "aliascope.measurement",
    "measure": "aliascope.evaluate",
}

__all__ = [
    "AliascopeError",
    "Category",
    "Measurement",
    "Scope",
    "Site",
    "__version__",
    "classify",
    "find_sites",
    "load",
    "measure",
    "sites",
]


def __getattr__(name: str) -> Any:
    if name == "sites":
        return importlib.import_module("aliascope.sites")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'aliascope' has no attribute {name!r}")
