"""Does it matter? What the page says and draws of an ablation."""

from __future__ import annotations

import math
from typing import Any

from aliascope.report.numbers import Block
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, members
from aliascope.runs.effects import (
    CONTROL,
    DRAWN,
    OF_ENERGY,
    QUANTITIES,
    effects,
    energies,
    over_dose,
)
from aliascope.runs.energy import ENERGY, INTERVAL
from aliascope.runs.measurement import Measurement
from aliascope.runs.words import in_a_sentence

MEANINGS = {
    "remove": "what aliases is taken away",
    "restore": "taken away, and the rest scaled up to the energy there was",
    "swap-within": "replaced by that of another image of the same class",
    "swap-between": "replaced by that of an image of another class",
    "low": "what aliases is kept, and the rest taken away",
    "gain": "the control: as much energy is taken from everything",
}
"""Of the interventions, in a few words."""


def ablation(measurement: Measurement) -> Block | None:
    """Give what an ablation found under the measurement's condition; None where there is none.

    Parameters
    ----------
    measurement : Measurement
        Of any run.

    Returns
    -------
    dict or None
        said (the verdict paragraph: a sentence), quantity (what changes, in words), signed (whether
        effects are differences), interventions (name and meaning), control, dose, clean, stages
        and, of several doses, curves. A stage has name, title, energy (of
        :func:`aliascope.runs.effects.energies`; None where not known), verdict, why, effects (by
        intervention: change, low, high, n) and rows (of :meth:`Ablation.table`).
    """
    found = Ablation.found_in(measurement)
    if found is None:
        return None
    table, verdicts, of_energy = effects(found), found.verdicts(), energies(found)
    there = set(table.index.get_level_values("intervention"))
    rows = found.table()
    stages: list[Block] = []
    for name in dict.fromkeys(table.index.get_level_values("sites")):
        each = verdicts[name]
        stages.append(
            {
                "name": name,
                "title": "all sites" if name == ALL else name,
                "members": [] if name == ALL else members(name),
                "energy": _energy(of_energy.loc[name]),
                "verdict": str(each),
                "why": each.why,
                "effects": {key: _effect(row) for key, row in table.loc[name].iterrows()},
                "rows": [
                    {"intervention": key, **row.to_dict()} for key, row in rows.loc[name].iterrows()
                ],
            }
        )
    return {
        "said": in_a_sentence(found),
        "quantity": QUANTITIES[found.score],
        "signed": bool(found.score),
        "interventions": [
            {"name": name, "meaning": MEANINGS[name]} for name in DRAWN if name in there
        ],
        "control": {"name": CONTROL, "meaning": MEANINGS[CONTROL]} if CONTROL in there else None,
        "dose": max(found.doses),
        "clean": found.clean(),
        "labelled": found.score == "top1",
        "stages": stages,
        "curves": _curves(found) if len(found.doses) > 1 else None,
        "notes": _notes(found, there),
    }


def _energy(row: Any) -> Block | None:
    if math.isnan(row[ENERGY]):
        return None
    names = dict(zip(OF_ENERGY, ("value", "low", "high", *OF_ENERGY[3:]), strict=True))
    return {names[key]: float(row[key]) for key in (ENERGY, *INTERVAL, *OF_ENERGY[3:])}


def _effect(row: Any) -> Block:
    names = {"change": "change", "low": "change_low", "high": "change_high"}
    return {"n": int(row["n"]), **{key: float(row[column]) for key, column in names.items()}}


def _curves(found: Ablation) -> Block:
    """Give the score over the dose: by stage and intervention a list of points."""
    table, curves = over_dose(found), {}
    for name in dict.fromkeys(table.index.get_level_values("sites")):
        lines: Block = {}
        for (intervention, dose), row in table.loc[name].iterrows():
            point = {"dose": float(dose), **{key: float(row[key]) for key in row.index[:3]}}
            lines.setdefault(str(intervention), []).append(point)
        curves[name] = {key: line for key, line in lines.items() if key in CURVES}
    return curves


CURVES = ("remove", "restore", CONTROL)
"""Interventions that are drawn over the dose."""


def _notes(found: Ablation, there: set[Any]) -> list[str]:
    """Say what the numbers depend on."""
    options = found.measurement.run.get("options") or {}
    if found.score:
        notes = [
            "Changes compare the same images with and without an intervention, with 95 % intervals "
            "of paired differences. A verdict rests on several such comparisons, with p-values "
            "adjusted over stages by Holm's method; it is of these images and these weights, and "
            "does not say whether a network trained otherwise would do better."
        ]
    else:
        notes = ["The model gives no class scores: its output is compared, and nothing is judged."]
    for name in DRAWN:
        if name in (options.get("interventions") or ()) and name not in there:
            notes.append(f"No image had a donor for {name}.")
    if options.get("recalibrate"):
        notes.append(
            f"Batch norm was re-estimated from {options['recalibrate']} other images, clean and "
            "under each intervention but swaps."
        )
    if options.get("seed") is not None:
        notes.append(f"Donors follow from seed {options['seed']}, the image and the stage.")
    return notes
