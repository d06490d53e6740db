"""What stays on a model and works through the seam: found when the model is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import nn

from aliascope.seam.handlers import Handler


@runtime_checkable
class InstalledForward(Protocol):
    """A module's own forward, which does at its sites what a handler would.

    While the model is opened, the handler does it in the forward's place.
    """

    def handler_at(self, path: str) -> Handler:
        """Give the handler, for an opened model that has the module at this path."""


def installed_in(modules: Iterable[tuple[str, nn.Module]]) -> list[Handler]:
    """Make the handlers of what is installed on a model or on modules of it.

    Parameters
    ----------
    modules : iterable of (str, nn.Module)
        Paths and modules.

    Examples
    --------
    >>> installed_in([("(root)", nn.ReLU())])
    []
    """
    return [
        forward.handler_at(path)
        for path, module in modules
        if isinstance(forward := module.__dict__.get("forward"), InstalledForward)
    ]
