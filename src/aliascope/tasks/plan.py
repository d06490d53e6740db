"""What every source of networks gives: how the network will be made."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from aliascope.models.preprocessing import Preprocessing


class Plan(NamedTuple):
    """How a network will be made, before anything is downloaded for it."""

    recipe: Preprocessing
    """Of the pictures it was trained for."""
    weights: str
    """What will be loaded, in words."""
    load: Callable[[], nn.Module]
    """Makes it."""
