"""What each intervention did at each stage, beside the stage's aliased energy: what is drawn."""

from __future__ import annotations

import math

import pandas as pd

from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, CLEAN_PASS, label_of, members
from aliascope.runs.energy import ENERGY, INTERVAL
from aliascope.runs.paired import mean_change, share

DRAWN = ("remove", "restore", "swap-within", "swap-between", "low")
"""Interventions, in the order in which they are shown; each beside the control."""

CONTROL = "gain"

QUANTITIES = {
    "top1": "accuracy",
    "agreement": "agreement with the clean prediction",
    "": "output",
}
"""What changes, in words, by :attr:`Ablation.score`; the output only by its size."""

OF_ENERGY = [ENERGY, *INTERVAL, "edge_low", "edge_high", "white"]


def effects(ablation: Ablation) -> pd.DataFrame:
    """Tabulate by how much each intervention changes the score, at the largest dose.

    Parameters
    ----------
    ablation : Ablation
        Of any score.

    Returns
    -------
    DataFrame
        Index sites and intervention (without its dose): those that were run, the control among
        them. Columns change, change_low, change_high (a share: of the score the mean paired
        difference to the clean pass with its 95 % interval; without class scores the mean relative
        change of the output, with Student's t), n (samples) and dose.
    """
    dose = max(ablation.doses)
    rows = {}
    for sites in ablation.targets:
        for name in (*DRAWN, CONTROL):
            label = label_of(name, dose, ablation.doses)
            if ablation.score:
                change = ablation.change(sites, CLEAN_PASS, label)
            else:
                change = mean_change(ablation.values(sites, label, "output_change").to_numpy())
            if change.n:
                rows[sites, name] = (change.mean, change.low, change.high, change.n, dose)
    columns = ["change", "change_low", "change_high", "n", "dose"]
    table = pd.DataFrame(list(rows.values()), columns=columns)
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["sites", "intervention"])
    return table


def energies(ablation: Ablation) -> pd.DataFrame:
    """Tabulate the aliased energy of each target: the mean over its sites, if they are of one rate.

    Parameters
    ----------
    ablation : Ablation
        Of which energy was measured, or not.

    Returns
    -------
    DataFrame
        Index sites; columns aliased_energy with its interval, edge_low, edge_high and white, as
        :meth:`Measurement.energy` gives them. NaN where energy was not measured, and for sites of
        unlike rates, which are not averaged, for white noise has unlike energies there.
    """
    measurement, rows = ablation.measurement, {}
    for sites in ablation.targets:
        rows[sites] = [math.nan] * len(OF_ENERGY)
        if "energy" in measurement.measures:
            names = None if sites == ALL else members(sites)
            of_rates = measurement.energy("overall", site=names)
            if len(of_rates) == 1:
                rows[sites] = of_rates.iloc[0][OF_ENERGY].tolist()
    table = pd.DataFrame.from_dict(rows, orient="index", columns=OF_ENERGY)
    table.index.name = "sites"
    return table


def beside_energy(ablation: Ablation) -> pd.DataFrame:
    """Put effects, aliased energy and verdicts beside each other: the table behind the figure.

    Returns
    -------
    DataFrame
        That of :func:`effects`, and each stage's columns of :func:`energies`, verdict and why.
    """
    verdicts = ablation.verdicts()
    told = pd.DataFrame(
        {
            "verdict": {name: str(each) for name, each in verdicts.items()},
            "why": {name: each.why for name, each in verdicts.items()},
        }
    )
    return effects(ablation).join(energies(ablation).join(told), on="sites")


def over_dose(ablation: Ablation) -> pd.DataFrame:
    """Tabulate the score, or the change of the output, over the dose.

    Parameters
    ----------
    ablation : Ablation
        Of one dose or several.

    Returns
    -------
    DataFrame
        Index sites, intervention and dose; columns value, low, high (95 %: Wilson's where each
        sample has 0 or 1, else Student's t) and n.
    """
    rows = {}
    for sites in ablation.targets:
        for name in (*DRAWN, CONTROL):
            for dose in ablation.doses:
                label = label_of(name, dose, ablation.doses)
                values = ablation.values(sites, label, ablation.score or "output_change")
                if len(values := values.dropna()):
                    change = mean_change(values.to_numpy())
                    ends = share(values.to_numpy()) if ablation.score else None
                    found = ends or (change.mean, change.low, change.high)
                    rows[sites, name, dose] = (*found, len(values))
    table = pd.DataFrame(list(rows.values()), columns=["value", "low", "high", "n"])
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["sites", "intervention", "dose"])
    return table
