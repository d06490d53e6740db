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
            clauses.append(f"{words} {_listed(named)}")
    undecided = [name for name, each in verdicts.items() if each == "undecided"]
    said = "; ".join(clauses)
    model = ablation.measurement.run.get("model", {}).get("name", "the network")
    images = counted(int(ablation.clean()["n"]), "image")
    if not clauses:
        return f"{images} cannot decide whether {model} uses what aliases at {_listed(undecided)}."
    rest = f"; {_listed(undecided)}: undecided" if undecided else ""
    return f"By {images}, {model} {said}{rest}."


def _listed(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
