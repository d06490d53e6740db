"""Handlers that measure: from dense signals to columns per sample and site."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aliascope.errors import AliascopeError
from aliascope.measures.categories import DETAILS, Categories
from aliascope.measures.counting import Counter
from aliascope.measures.drawn import Drawn
from aliascope.measures.energy import Energy
from aliascope.measures.first_samples import Floor, Thresholds
from aliascope.seam.handlers import Handler

__all__ = ["DEFAULT", "DETAILS", "MEASURES", "Counter", "make_measures"]

MEASURES: dict[str, Callable[[Counter, str, int, Drawn], Handler]] = {
    "energy": lambda counter, detail, below, drawn: Energy(detail, drawn, engine=counter.engine),
    "categories": lambda counter, detail, below, drawn: Categories(counter, detail, drawn),
    "floor": lambda counter, detail, below, drawn: Floor(counter, below, drawn),
    "thresholds": lambda counter, detail, below, drawn: Thresholds(counter, below, drawn),
}
"""How each measure is made, by name: from what counts, the detail, the number of a sample below
which the floor and the thresholds are measured, and what draws channels."""

DEFAULT = ("energy", "categories", "floor", "thresholds")
"""Measures that are made unless others are asked for."""

FLOOR_SAMPLES = 16
"""Samples of which the floor and the thresholds are measured by default."""


def make_measures(
    names: Sequence[str],
    counter: Counter,
    detail: str,
    floor_samples: int = FLOOR_SAMPLES,
    *,
    channels: int | None = None,
    channels_seed: int = 0,
) -> list[Handler]:
    """Make measures by name.

    Parameters
    ----------
    names : sequence of str
        Keys of `MEASURES`.
    counter : Counter
        What counts.
    detail : {"site", "channel", "pixel", "folds"}
        What is kept of each sample.
    floor_samples : int
        Floor and thresholds are measured of samples numbered below this; 0 leaves them out.
    channels, channels_seed : int
        How many channels of each sample and site are measured, the same by all measures, and the
        seed of their draws; see `Drawn`. None measures all.

    Raises
    ------
    AliascopeError
        If there is none of a name, or none at all; if channels are drawn where each is to be kept.

    Examples
    --------
    >>> from aliascope.spectrum import Criterion
    >>> make_measures(["entropy"], Counter(Criterion()), "site")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: There is no measure 'entropy'; there are energy, ...
    """
    if isinstance(names, str) or not names:
        raise AliascopeError(
            f"measures is {names!r}, but it must name one or more of {', '.join(MEASURES)}."
        )
    for name in names:
        if name not in MEASURES:
            known = ", ".join(MEASURES)
            raise AliascopeError(f"There is no measure {name!r}; there are {known}.")
    if floor_samples < 0:
        raise AliascopeError(f"floor_samples is {floor_samples}, but it must be 0 or more.")
    if channels is not None and detail != "site":
        raise AliascopeError(
            f"channels is {channels} with detail {detail!r}, which keeps each channel; leave one "
            "of them out."
        )
    drawn = Drawn(channels, channels_seed)
    wanted = [name for name in names if floor_samples or name not in ("floor", "thresholds")]
    return [MEASURES[name](counter, detail, floor_samples, drawn) for name in wanted]
