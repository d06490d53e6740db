"""How much of it? The score over the dose of an intervention, a panel a stage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from aliascope.errors import AliascopeError
from aliascope.figures.ablation import BAND, LINE_OF_BAND, settings
from aliascope.figures.layout import (
    COLUMN,
    MEDIUM,
    SMALL,
    add_axes,
    figure_with_caption,
    shortened,
)
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, CLEAN_PASS
from aliascope.runs.effects import CONTROL, QUANTITIES, over_dose

PANEL, TITLE, FOOT, HEAD = 0.78, 0.19, 0.34, 0.16
"""Inches of a panel's height, of its title, of the axis below the last, of the legend."""

LEFT, BETWEEN, RIGHT = 0.42, 0.14, 0.1
"""Inches beside and between the two panels of a row."""

LINES: dict[str, dict[str, Any]] = {
    "remove": {"marker": "o", "mfc": "black", "ls": "-"},
    "restore": {"marker": "s", "mfc": "white", "ls": (0, (3, 1.5))},
}
"""Drawn before the control, which is faint."""

BESIDE = {"remove": -1.5, "restore": 1.5}
"""Points by which each stands beside its dose, so that their intervals can be told apart."""


def dose(found: Ablation) -> Figure:
    """Draw the score over the dose of remove, restore and the control, a panel a stage.

    Parameters
    ----------
    found : Ablation
        Of several doses.

    Returns
    -------
    Figure
        In percent. Each panel has the lines ``remove/SITES`` and ``restore/SITES``, their intervals
        ``interval/INTERVENTION/SITES``, of the control the line ``gain/SITES`` and the area
        ``band/SITES``, and the line ``clean/SITES``; those that were run.

    Raises
    ------
    AliascopeError
        If there is one dose, or neither of the three was run.
    """
    table = over_dose(found)
    if len(found.doses) < 2:
        raise AliascopeError(
            f"{found.store.folder} has one dose ({found.doses[0]:g}), so there is no curve to "
            "draw; ablate with several, such as --dose 0,0.25,0.5,1."
        )
    table = table.loc[table.index.isin([*LINES, CONTROL], level="intervention")]
    if table.empty:
        raise AliascopeError(
            f"{found.store.folder} has neither remove nor restore nor gain, which are drawn over "
            "the dose; ablate with --interventions remove,gain,restore."
        )
    targets = list(dict.fromkeys(table.index.get_level_values("sites")))
    columns = min(2, len(targets))
    rows = math.ceil(len(targets) / columns)
    height = HEAD + rows * (TITLE + PANEL) + FOOT
    figure, foot = figure_with_caption(height, _caption(found))
    width = (COLUMN - LEFT - RIGHT - BETWEEN * (columns - 1)) / columns
    low, high = _ends(found, table)
    for place, sites in enumerate(targets):
        column, row = place % columns, place // columns
        left = LEFT + column * (width + BETWEEN)
        top = HEAD + row * (TITLE + PANEL) + TITLE
        bottom = foot + height - top - PANEL
        axes = add_axes(figure, left, bottom, COLUMN - left - width, top)
        _draw(axes, found, table.loc[sites], sites)
        axes.set(ylim=(low, high), xlim=(-0.04, max(found.doses) + 0.04))
        if len(found.doses) <= 5:
            axes.set_xticks(found.doses, [f"{each:g}" for each in found.doses])
        title = "all sites" if sites == ALL else sites
        axes.set_title(shortened(title, width), fontsize=SMALL, pad=2)
        if column:
            axes.set_yticklabels([])
        if place + columns < len(targets):
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("dose", fontsize=MEDIUM, labelpad=1.5)
    words = {"top1": "accuracy (%)", "agreement": "agreement (%)", "": "change of output (%)"}
    middle = (foot + FOOT + rows * (TITLE + PANEL) / 2) / (height + foot)
    label = words[found.score]
    figure.text(0.02, middle, label, va="center", ha="left", fontsize=MEDIUM, rotation=90)
    handles = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    figure.legend(
        handles=[handles[name] for name in (*LINES, CONTROL, "clean") if name in handles],
        loc="upper center",
        ncols=4,
        fontsize=MEDIUM,
        frameon=False,
        handlelength=1.8,
        handletextpad=0.45,
        columnspacing=1.2,
        borderaxespad=0.0,
        borderpad=0.2,
    )
    return figure


def _ends(found: Ablation, table: pd.DataFrame) -> tuple[float, float]:
    """Choose the ends of the axis of all panels: round numbers around all intervals."""
    values = 100 * table[["value", "low", "high"]].to_numpy()
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    if found.score:
        return max(-2.0, 10 * math.floor((least - 3) / 10)), 102.0
    return min(0.0, least), 1.05 * max(most, 1.0)


def _draw(axes: Axes, found: Ablation, table: pd.DataFrame, sites: str) -> None:
    if found.score:
        clean = 100 * float(found.values("", CLEAN_PASS, found.score).mean())
        axes.axhline(clean, color="0.35", lw=0.7, ls=":", label="clean", gid=f"clean/{sites}")
    there = list(dict.fromkeys(table.index.get_level_values("intervention")))
    if CONTROL in there:
        curve = 100 * table.loc[CONTROL][["value", "low", "high"]]
        axes.fill_between(
            curve.index, curve["low"], curve["high"], color=BAND, lw=0, gid=f"band/{sites}"
        )
        name = f"{CONTROL}/{sites}"
        axes.plot(curve.index, curve["value"], color=LINE_OF_BAND, lw=1.1, label=CONTROL, gid=name)
    for name, look in LINES.items():
        if name not in there:
            continue
        curve = 100 * table.loc[name][["value", "low", "high"]]
        figure = axes.get_figure(root=True)
        assert figure is not None
        moved = axes.transData + ScaledTranslation(BESIDE[name] / 72, 0, figure.dpi_scale_trans)
        axes.vlines(
            curve.index,
            curve["low"],
            curve["high"],
            color="black",
            lw=0.7,
            transform=moved,
            gid=f"interval/{name}/{sites}",
        )
        axes.plot(
            curve.index,
            curve["value"],
            color="black",
            lw=0.9,
            ms=2.8,
            mew=0.6,
            transform=moved,
            label=name,
            gid=f"{name}/{sites}",
            **look,
        )


def _caption(found: Ablation) -> str:
    what = QUANTITIES[found.score]
    what = f"{what[0].upper()}{what[1:]}" if found.score else "Relative change of the output"
    return (
        f"{what} over the dose: the share of what aliases that is removed, or of its energy that "
        f"{CONTROL} takes from everything{settings(found)}. Bars and band: 95 % intervals, each "
        "dose on its own."
    )
