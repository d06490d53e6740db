"""What an ablation found, in one sentence of plain words."""

from __future__ import annotations

from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL
from aliascope.runs.shown import counted

SAID = {
    "used": "uses what aliases at",
    "harmful": "is harmed by what aliases at",
    "sensitive": "is sensitive to losing what aliases at",
    "no effect": "does not mind losing what aliases at",
    "insensitive": "does not read what varies at",
}
"""By verdict."""

MOST_NAMED = 5
"""Stages that a sentence names; of more, it says how many."""


def in_a_sentence(ablation: Ablation) -> str:
    """Say what a network does with what aliases, stage by stage.

    Parameters
    ----------
    ablation : Ablation
        Of stages, or of other targets.

    Returns
    -------
    str
        One sentence; with how many images it rests on.
    """
    verdicts = {name: each for name, each in ablation.verdicts().items() if name != ALL}
    verdicts = verdicts or ablation.verdicts()
    clauses = []
    for verdict, words in SAID.items():
        named = [name for name, each in verdicts.items() if each == verdict]
        if named:
            clauses.append(f"{words} {listed(named)}")
    undecided = [name for name, each in verdicts.items() if each == "undecided"]
    said = "; ".join(clauses)
    model = ablation.measurement.run.get("model", {}).get("name", "the network")
    images = counted(int(ablation.clean()["n"]), "image")
    if not clauses:
        return f"{images} cannot decide whether {model} uses what aliases at {listed(undecided)}."
    rest = f"; {listed(undecided)}: undecided" if undecided else ""
    return f"By {images}, {model} {said}{rest}."


def listed(names: list[str], *, last: str = "and", most: int = MOST_NAMED) -> str:
    """Write names as a list in words, a long one shortened.

    Parameters
    ----------
    names : list of str
        In the order in which they are to be said.
    last : str
        Word before the last one.
    most : int
        How many are named; one more is named in place of "1 more".

    Returns
    -------
    str

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b"], last="or")
    ('a, b and c', 'a or b')
    >>> listed(["a", "b", "c", "d", "e"], most=3)
    'a, b, c and 2 more'
    """
    left = len(names) - most
    if left > 1:
        return f"{', '.join(names[:most])} {last} {left} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"
