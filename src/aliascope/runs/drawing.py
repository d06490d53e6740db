"""From a result to its figures and its page, without loading what draws them before it is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from aliascope.errors import AliascopeError

OF_MEASUREMENTS = (
    *("energy", "thresholds", "pie", "sites", "channels", "boxes", "adversarial"),
    *("pixels", "spectrum"),
)
"""Figures of a run."""


class Plots:
    """Figures of a result, each a method that gives a matplotlib figure.

    Parameters
    ----------
    result : object
        What is drawn.
    names : sequence of str
        Of the functions of :mod:`aliascope.figures` that draw it.

    Examples
    --------
    >>> dir(Plots(None, ["energy", "pie"]))
    ['energy', 'pie']
    """

    def __init__(self, result: Any, names: Sequence[str]) -> None:
        self._result, self._names = result, tuple(names)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"there is no figure {name!r}; there are {', '.join(self._names)}")
        try:
            draw = getattr(importlib.import_module("aliascope.figures"), name)
        except ImportError as error:
            raise AliascopeError(
                f"Figures need matplotlib, which cannot be loaded ({error}); install it."
            ) from error

        def drawn(*args: Any, **settings: Any) -> Any:
            return draw(self._result, *args, **settings)

        drawn.__name__, drawn.__doc__ = name, draw.__doc__
        return drawn

    def __dir__(self) -> list[str]:
        return sorted(self._names)
