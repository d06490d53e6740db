"""What a handler is: told of a pass, of each dense signal in it, and of its end."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from aliascope.sites import Site


class Handler(Protocol):
    """What is called at each site with the dense signal.

    It may record from the signal and return None, or return a changed signal of the same shape,
    which is then what gets decimated.
    """

    def __call__(self, site: Site, dense: Tensor) -> Tensor | None:
        """Handle the dense signal, (N, C, *size), of one site in one pass."""
