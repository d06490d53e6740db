"""Whether a network uses what aliases at a stage: the verdict, by paired intervals.

A score is, of each sample, 1 where the label is right, or without labels where the prediction is
the clean one, or the share of pixels where it is. What is compared is always the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aliascope.runs.paired import NOTHING, Change

LEVEL = 0.05
"""Of each family of tests, one test a stage, adjusted by Holm's method."""

POINT = 0.01
"""A change of less than this, with all of its interval, is none, however many images tell it from
nothing."""

Comparison = tuple[str, str]
"""Two conditions, the second compared with the first: the mean of second - first."""

REMOVED = ("clean", "remove")
OVER_GAIN = ("gain", "remove")
RESTORED = ("clean", "restore")
RESTORED_OVER_GAIN = ("gain", "restore")
SWAPPED = ("swap-within", "swap-between")
LOWERED = ("clean", "low")

COMPARISONS: tuple[Comparison, ...] = (
    *(REMOVED, OVER_GAIN, RESTORED, RESTORED_OVER_GAIN, SWAPPED, LOWERED),
)
"""What verdicts are read off."""


class Verdict(str):
    """A verdict in one word, such as "used", with what it rests on.

    Attributes
    ----------
    why : str
        In a sentence.
    images : int or None
        Of how many images a decision would take, about, where it is undecided.

    Examples
    --------
    >>> Verdict("used", "because").why
    'because'
    """

    why: str
    images: int | None

    def __new__(cls, word: str, why: str, images: int | None = None) -> Verdict:
        """Make one."""
        verdict = super().__new__(cls, word)
        verdict.why, verdict.images = why, images
        return verdict


@dataclass(frozen=True)
class Evidence:
    """The comparisons at one stage.

    Attributes
    ----------
    changes : mapping of Comparison to Change
        Mean paired differences of the score.
    adjusted : mapping of Comparison to float
        Their p-values, adjusted over stages.
    has_donors : bool
        Whether any sample had a donor of its own class.
    """

    changes: Mapping[Comparison, Change]
    adjusted: Mapping[Comparison, float]
    has_donors: bool = True

    def of(self, comparison: Comparison) -> Change:
        """Give a comparison; empty where it was not made."""
        return self.changes.get(comparison, NOTHING)

    def falls(self, comparison: Comparison) -> bool:
        """Whether the second surely scores less than the first, by more than next to nothing."""
        return self.of(comparison).mean < 0 and self._differs(comparison)

    def rises(self, comparison: Comparison) -> bool:
        """Whether the second surely scores more than the first, by more than next to nothing."""
        return self.of(comparison).mean > 0 and self._differs(comparison)

    def _differs(self, comparison: Comparison) -> bool:
        return self.adjusted.get(comparison, 1.0) < LEVEL and not self.is_none(comparison)

    def is_none(self, comparison: Comparison) -> bool:
        """Whether all of the interval is within a point."""
        change = self.of(comparison)
        return change.low >= -POINT and change.high <= POINT


def verdict_of(evidence: Evidence) -> Verdict:
    """Judge a stage.

    Parameters
    ----------
    evidence : Evidence
        With the comparisons that were made.

    Returns
    -------
    Verdict
        "used": swap-between costs more than swap-within (where no donor of the class exists this
        falls away), and restore costs more than gain. "harmful": restore raises the score.
        "sensitive": remove hurts, but no more than gain. "no effect": remove changes it by less
        than a point, and low does hurt. "insensitive": low does not hurt either. Else "undecided".

    Examples
    --------
    >>> fell = Change(-0.3, -0.4, -0.2, 1e-9, 100)
    >>> changes = {RESTORED_OVER_GAIN: fell, SWAPPED: fell}
    >>> verdict_of(Evidence(changes, {key: 1e-8 for key in changes}))
    'used'
    """
    lacking = [comparison for comparison in COMPARISONS if comparison not in evidence.changes]
    swapped = evidence.falls(SWAPPED)
    if evidence.falls(RESTORED_OVER_GAIN) and (swapped or not evidence.has_donors):
        donors = (
            f"others' aliasing of another class costs {_points(evidence, SWAPPED)} more than of "
            "the same class"
            if swapped
            else "no image had a donor of its own class, so that swaps say nothing"
        )
        restored = _points(evidence, RESTORED_OVER_GAIN)
        return Verdict("used", f"restoring costs {restored} more than gain, and {donors}")
    if evidence.rises(RESTORED):
        return Verdict("harmful", f"restoring raises the score by {_points(evidence, RESTORED)}")
    if evidence.falls(REMOVED) and OVER_GAIN not in lacking and not evidence.falls(OVER_GAIN):
        return Verdict(
            "sensitive",
            f"removing costs {_points(evidence, REMOVED)}, not surely more than gain, which takes "
            "as much energy from everything",
        )
    if evidence.is_none(REMOVED):
        if evidence.falls(LOWERED):
            return Verdict(
                "no effect",
                "removing changes less than a point, while taking the low part instead costs "
                f"{_points(evidence, LOWERED)}",
            )
        if evidence.is_none(LOWERED):
            return Verdict("insensitive", "taking the low part changes less than a point either")
    return _undecided(evidence)


def _points(evidence: Evidence, comparison: Comparison) -> str:
    return f"{100 * abs(evidence.of(comparison).mean):.1f} points"


def _undecided(evidence: Evidence) -> Verdict:
    """Say about how many images would decide, if what was seen so far were all there is."""
    made = [each for each in (REMOVED, RESTORED_OVER_GAIN, SWAPPED, LOWERED) if evidence.of(each).n]
    if not made:
        return Verdict("undecided", "what it would rest on was not measured")
    needed = {each: _needed(evidence.of(each)) for each in made if not _is_settled(evidence, each)}
    known = {each: images for each, images in needed.items() if images is not None}
    if not known:
        told = ", ".join(f"{each[1]} over {each[0]} {_signed(evidence, each)}" for each in made)
        return Verdict("undecided", f"its parts do not agree: {told}")
    most = max(known, key=lambda each: known[each])
    images = _rounded(known[most])
    which = ", each with a donor of its own class," if most == SWAPPED else ""
    return Verdict("undecided", f"about {images:,} images{which} would decide", images)


def _is_settled(evidence: Evidence, comparison: Comparison) -> bool:
    return evidence.falls(comparison) or evidence.rises(comparison) or evidence.is_none(comparison)


def _signed(evidence: Evidence, comparison: Comparison) -> str:
    return f"{100 * evidence.of(comparison).mean:+.1f} points"


def _needed(change: Change) -> int | None:
    """Of how many samples the interval would leave 0 out, or lie within a point, if the mean held.

    The width of an interval falls with the square root of the number of samples.
    """
    if change.n < 2 or math.isnan(change.half_width):
        return None
    to_zero = change.half_width / abs(change.mean) if change.mean else math.inf
    room = POINT - abs(change.mean)
    to_none = change.half_width / room if room > 0 else math.inf
    factor = min(to_zero, to_none)
    return None if math.isinf(factor) else max(change.n + 1, math.ceil(change.n * factor**2))


def _rounded(count: int) -> int:
    """Round up to two digits."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return int(-(-count // unit) * unit)
