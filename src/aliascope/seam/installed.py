"""What stays on a model and works through the seam: found by its hooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from torch import nn

from aliascope.seam.handlers import Handler


@runtime_checkable
class InstalledHook(Protocol):
    """A forward pre-hook of a module that does at its sites what a handler would.

    While the model is opened, the handler does it in the hook's place.
    """

    def handler_at(self, path: str) -> Handler:
        """Give the handler, for an opened model that has the hook's module at this path."""


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
    hooks: list[tuple[str, Any]] = [
        (path, hook) for path, module in modules for hook in module._forward_pre_hooks.values()
    ]
    return [hook.handler_at(path) for path, hook in hooks if isinstance(hook, InstalledHook)]
