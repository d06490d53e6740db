"""What run.json says of a run, and what it cannot say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aliascope.errors import AliascopeError
from aliascope.runs.conditions import Condition

Check = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words, and whether it is."""


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind, value))


def _is_condition(value: Any) -> bool:
    try:
        return bool(Condition.read(value))
    except ValueError:
        return False


def _is_parts(value: Any) -> bool:
    return _is_whole(value) or _is_list_of(_is_whole)(value)


WORD: Check = ("a text", lambda value: isinstance(value, str))
NUMBER: Check = ("a number", _is_number)
WHOLE: Check = ("a whole number", _is_whole)
NUMBERS: Check = ("a list of numbers", _is_list_of(_is_number))
WORDS: Check = ("a list of texts", _is_list_of(lambda value: isinstance(value, str)))
OBJECT: Check = ("an object", lambda value: isinstance(value, dict))

CRITERION = {"threshold_db": NUMBER, "reference": WORD, "grid": WORD, "fold_scale": WORD}

PREPROCESSING = {
    **{"resize": WHOLE, "crop": WHOLE, "interpolation": WORD},
    **{"mean": NUMBERS, "std": NUMBERS},
}

ENTRIES: dict[str, Any] = {
    **dict.fromkeys(("kind", "status", "detail", "device", "created"), WORD),
    "parts": ("the number of parts, or theirs", _is_parts),
    "conditions": ("a list of conditions", _is_list_of(_is_condition)),
    "measures": WORDS,
    "channels": WHOLE,
    "versions": OBJECT,
    "model": {
        **dict.fromkeys(("name", "weights", "weights_sha256"), WORD),
        "preprocessing": PREPROCESSING,
    },
    "data": {"name": WORD, "images": WHOLE},
    "criterion": CRITERION,
    "options": {
        **CRITERION,
        **dict.fromkeys(("start", "batch_size", "seed", "attack_steps"), WHOLE),
        **{"measures": WORDS, "floor_samples": WHOLE, "channels": WHOLE},
        **{"interventions": WORDS, "dose": NUMBERS, "recalibrate": WHOLE},
        **{"attack": WORD, "eps": NUMBERS, "attack_step_size": NUMBER},
    },
}
"""What is read of run.json again; each may be missing or null, and others may be there."""


@dataclass(frozen=True)
class CriterionOfRun:
    """When a fold counted in a run; see :class:`aliascope.spectrum.Criterion`."""

    threshold_db: float
    reference: str
    grid: str
    fold_scale: str


def criterion_of(run: Mapping[str, Any]) -> CriterionOfRun | None:
    """Read when a fold counted in a run.

    Parameters
    ----------
    run : mapping
        Content of run.json.

    Returns
    -------
    CriterionOfRun or None
        None where the run does not say.

    Examples
    --------
    >>> unit = {"threshold_db": 20.0, "reference": "max", "grid": "seed", "fold_scale": "unit"}
    >>> criterion_of({"criterion": unit}).threshold_db, criterion_of({})
    (20.0, None)
    """
    for section in ("criterion", "options"):
        found = run.get(section) or {}
        if all(found.get(key) is not None for key in CRITERION):
            return CriterionOfRun(**{key: found[key] for key in CRITERION})
    return None


def channels_of(run: Mapping[str, Any]) -> int | None:
    """Read how many channels of each sample and site a run drew; None where it measured all.

    Examples
    --------
    >>> channels_of({"options": {"channels": 8}}), channels_of({})
    (8, None)
    """
    drawn = (run.get("options") or {}).get("channels") or run.get("channels")
    return None if drawn is None else int(drawn)


def conditions_of(run: Mapping[str, Any]) -> list[Condition]:
    """Read the conditions that a run was asked for, in their order; none where it does not say."""
    return [Condition.read(each) for each in run.get("conditions") or []]


def check_description(content: Any, path: Path) -> None:
    """Refuse a run.json that says what cannot be.

    Parameters
    ----------
    content : Any
        Of the file.
    path : Path
        The file.

    Raises
    ------
    AliascopeError
        Naming the entry and its value.

    Examples
    --------
    >>> check_description({"options": {"threshold_db": "twenty"}}, Path("run.json"))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: run.json has options threshold_db 'twenty', which is not ...
    """
    _check(content, ENTRIES, path, "")


def _check(content: Any, entries: Mapping[str, Any], path: Path, where: str) -> None:
    if not isinstance(content, dict):
        what = f"{where}{content!r:.40}" if where else "no description of a run"
        raise AliascopeError(
            f"{path} has {what}, where an object must be; restore it from a copy, or measure again."
        )
    for key, expected in entries.items():
        value = content.get(key)
        if value is None:
            continue
        name = f"{where}{key} "
        if isinstance(expected, Mapping):
            _check(value, expected, path, name)
        elif not expected[1](value):
            raise AliascopeError(
                f"{path} has {name}{value!r:.40}, which is not {expected[0]}; "
                "restore it from a copy, or measure again."
            )
