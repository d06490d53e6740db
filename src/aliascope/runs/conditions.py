"""Under what a batch is run, by name: clean, attacked, shifted, intervened in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aliascope.errors import AliascopeError


@dataclass(frozen=True)
class Condition:
    """Under what a batch is run.

    Parameters
    ----------
    name : str
        Such as ``clean`` or ``pgd eps=0.001``; a run's conditions are told apart by it.
    settings : tuple of (str, Any)
        What it consists of, for programs to read: numbers, words, or tuples of these.

    Examples
    --------
    >>> Condition()
    Condition(name='clean', settings=())
    """

    name: str = "clean"
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, kind: str, **settings: Any) -> Condition:
        """Name a condition after its kind and its settings.

        Parameters
        ----------
        kind : str
            One word, such as the name of an attack.
        **settings
            Numbers, words, or tuples of these.

        Returns
        -------
        Condition

        Examples
        --------
        >>> Condition.of("pgd", eps=0.001).name
        'pgd eps=0.001'
        """
        words = [kind, *(f"{key}={_short(value)}" for key, value in settings.items())]
        return cls(" ".join(words), tuple(settings.items()))

    @classmethod
    def read(cls, content: Any) -> Condition:
        """Read one as JSON has it.

        Parameters
        ----------
        content : dict
            Of :meth:`described`.

        Returns
        -------
        Condition

        Raises
        ------
        ValueError
            If it is anything else.

        Examples
        --------
        >>> Condition.read({"name": "shift", "settings": {"by": [3, -2]}}).get("by")
        (3, -2)
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"condition is {content!r}")
        name, settings = content.get("name"), content.get("settings")
        if not isinstance(name, str) or not name or not isinstance(settings, Mapping):
            raise ValueError(f"condition is {content!r}")
        eps = settings.get("eps", 0)
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not math.isfinite(eps):
            raise ValueError(f"condition {name!r} has eps {eps!r}")
        return cls(name, tuple((str(key), _frozen(value)) for key, value in settings.items()))

    def described(self) -> dict[str, Any]:
        """Describe it as JSON has it."""
        return {"name": self.name, "settings": dict(self.settings)}

    @property
    def label(self) -> str:
        """What figures and pages call it.

        Examples
        --------
        >>> Condition.of("pgd", eps=0.001).label, CLEAN.label
        ('ε = 0.001', 'clean')
        """
        alone = [key for key, _ in self.settings] == ["eps"]
        return f"ε = {_short(self.get('eps'))}" if alone else self.name

    def get(self, key: str, default: Any = None) -> Any:
        """Look a setting up.

        Examples
        --------
        >>> Condition.of("pgd", eps=0.001).get("eps"), CLEAN.get("eps")
        (0.001, None)
        """
        return dict(self.settings).get(key, default)


CLEAN = Condition()
"""The images as they are, and the model as it is."""


def find(conditions: Sequence[Condition], wanted: str | Condition) -> Condition:
    """Find a condition among those of a run.

    Parameters
    ----------
    conditions : sequence of Condition
        Those there are.
    wanted : str or Condition
        One of them, its name, or the last words of its name where no other ends in them.

    Returns
    -------
    Condition

    Raises
    ------
    AliascopeError
        If there is none, or there are several.

    Examples
    --------
    >>> find([CLEAN, Condition.of("pgd", eps=0.001)], "eps=0.001").name
    'pgd eps=0.001'
    """
    name = wanted.name if isinstance(wanted, Condition) else wanted
    fitting = [each for each in conditions if each.name == name] or [
        each for each in conditions if each.name.endswith(f" {name}")
    ]
    if len(fitting) != 1:
        of = "none" if not conditions else ", ".join(repr(each.name) for each in conditions)
        raise AliascopeError(
            f"condition is {name!r}, but the run's conditions are {of}; name one of these."
        )
    return fitting[0]


def ordered(found: Iterable[Condition], known: Sequence[Condition] = ()) -> list[Condition]:
    """Put the conditions that a run's parts have into order.

    Parameters
    ----------
    found : iterable of Condition
        Those of the parts, the first part first.
    known : sequence of Condition
        Those that the run was asked for, in their order.

    Returns
    -------
    list of Condition
        Each once: as the run was asked for, then clean, then as they were found.

    Examples
    --------
    >>> [each.name for each in ordered([Condition("b"), CLEAN, Condition("a")], [Condition("a")])]
    ['a', 'clean', 'b']
    """
    there = list(dict.fromkeys(found))
    places = {condition: place for place, condition in enumerate([*known, CLEAN])}
    return sorted(there, key=lambda condition: places.get(condition, len(places)))


def _short(value: Any) -> str:
    """Write a value so that no other of its kind is written alike."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, tuple | list):
        return ",".join(map(_short, value))
    return str(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, Mapping):
        return tuple((str(key), _frozen(each)) for key, each in value.items())
    return value
