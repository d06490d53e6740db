"""Measure where, and how much, a PyTorch vision network aliases.

The public names are loaded when first used, so that reading a run needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aliascope.version import __version__

if TYPE_CHECKING:
    from aliascope import sites
    from aliascope.categories import Category
    from aliascope.energy import aliased_energy, low_pass
    from aliascope.errors import AliascopeError
    from aliascope.evaluation.ablate import ablate
    from aliascope.evaluation.advise import advise
    from aliascope.evaluation.measure import measure
    from aliascope.evaluation.shift_consistency import shift_consistency
    from aliascope.filters.antialias import Antialiasing, antialias
    from aliascope.filters.matrices import filter_matrix
    from aliascope.filters.names import filters
    from aliascope.runs.ablation import Ablation
    from aliascope.runs.advice import Advice
    from aliascope.runs.comparison import Comparison, compare
    from aliascope.runs.consistency import Consistency
    from aliascope.runs.measurement import Measurement, load
    from aliascope.scope import Scope
    from aliascope.seam.handlers import Handler
    from aliascope.seam.opening import Opening, find_sites
    from aliascope.sites import Site, SiteList
    from aliascope.spectrum import classify
    from aliascope.tracker import Tracker

_HOMES = {
    "Ablation": "aliascope.runs.ablation",
    "Advice": "aliascope.runs.advice",
    "AliascopeError": "aliascope.errors",
    "Antialiasing": "aliascope.filters.antialias",
    "Category": "aliascope.categories",
    "Comparison": "aliascope.runs.comparison",
    "Consistency": "aliascope.runs.consistency",
    "Handler": "aliascope.seam.handlers",
    "Measurement": "aliascope.runs.measurement",
    "Opening": "aliascope.seam.opening",
    "Scope": "aliascope.scope",
    "Site": "aliascope.sites",
    "SiteList": "aliascope.sites",
    "Tracker": "aliascope.tracker",
    "ablate": "aliascope.evaluation.ablate",
    "advise": "aliascope.evaluation.advise",
    "aliased_energy": "aliascope.energy",
    "antialias": "aliascope.filters.antialias",
    "classify": "aliascope.spectrum",
    "compare": "aliascope.runs.comparison",
    "filter_matrix": "aliascope.filters.matrices",
    "find_sites": "aliascope.seam.opening",
    "load": "aliascope.runs.measurement",
    "low_pass": "aliascope.energy",
    "measure": "aliascope.evaluation.measure",
    "shift_consistency": "aliascope.evaluation.shift_consistency",
}

__all__ = [
    "Ablation",
    "Advice",
    "AliascopeError",
    "Antialiasing",
    "Category",
    "Comparison",
    "Consistency",
    "Handler",
    "Measurement",
    "Opening",
    "Scope",
    "Site",
    "SiteList",
    "Tracker",
    "__version__",
    "ablate",
    "advise",
    "aliased_energy",
    "antialias",
    "classify",
    "compare",
    "filter_matrix",
    "filters",
    "find_sites",
    "load",
    "low_pass",
    "measure",
    "shift_consistency",
    "sites",
]


def __getattr__(name: str) -> Any:
    if name in ("filters", "sites"):
        return importlib.import_module(f"aliascope.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'aliascope' has no attribute {name!r}")
