"""The experiment on classifying oscillations: images, networks, training and sweep.

The public names are loaded when first used: making images needs no network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aliascope.oscillations.images import Oscillations, split_seed
    from aliascope.oscillations.networks import FAMILIES, NETWORKS, Network, find_network
    from aliascope.oscillations.recipe import Recipe
    from aliascope.oscillations.training import Machine, train

_HOMES = {
    "FAMILIES": "networks",
    "NETWORKS": "networks",
    "Machine": "training",
    "Network": "networks",
    "Oscillations": "images",
    "Recipe": "recipe",
    "find_network": "networks",
    "split_seed": "images",
    "train": "training",
}

__all__ = [
    "FAMILIES",
    "NETWORKS",
    "Machine",
    "Network",
    "Oscillations",
    "Recipe",
    "find_network",
    "split_seed",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
