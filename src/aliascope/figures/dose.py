"""How much of it? The score over the dose of an intervention, a panel a stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from aliascope.errors import AliascopeError
from aliascope.figures.ablation import BAND, LINE_OF_BAND, settings
from aliascope.figures.layout import Page, shortened
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, CLEAN_PASS
from aliascope.runs.effects import CONTROL, QUANTITIES, over_dose

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

PANEL, TITLE, FOOT = 0.78, 0.19, 0.34
"""Inches of a panel's height, of its title, and of the axis below the last."""

BETWEEN, RIGHT = 0.14, 0.1
"""Inches between the panels of a row, and beside the last."""

CLEAN_LOOK: dict[str, Any] = {"color": "0.35", "lw": 0.7, "ls": ":"}

LINES: dict[str, dict[str, Any]] = {
    "remove": {"marker": "o", "mfc": "black", "ls": "-"},
    "restore": {"marker": "s", "mfc": "white", "ls": (0, (3, 1.5))},
}
"""Drawn before the control, which is faint."""

BESIDE = {"remove": -1.5, "restore": 1.5}
"""Points by which each stands beside its dose, so that their intervals can be told apart."""


def dose(found: Ablation, **look: Unpack[Look]) -> Figure:
    """Draw the score over the dose of remove, restore and the control, a panel a stage.

    Parameters
    ----------
    found : Ablation
        Of several doses.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    page = Page.of(**look)
    targets = list(dict.fromkeys(table.index.get_level_values("sites")))
    columns = min(4 if page.wide else 2, len(targets))
    rows = math.ceil(len(targets) / columns)
    there = [name for name in (*LINES, CONTROL) if name in table.index.get_level_values(1)]
    legend = page.legend_rows(_samples([*there, *(["clean"] if found.score else [])]))
    head, title = page.legend_height(legend), page.tall(TITLE)
    panels = rows * (title + PANEL)
    words = {"top1": "accuracy (%)", "agreement": "agreement (%)", "": "change of output (%)"}
    label, beside = page.label(words[found.score], panels)
    left, below = page.tall(0.28) + beside, page.tall(FOOT)
    sheet = page.sheet(head + panels + below, _caption(found))
    width = (page.width - left - RIGHT - BETWEEN * (columns - 1)) / columns
    low, high = _ends(found, table)
    for place, sites in enumerate(targets):
        column, row = place % columns, place // columns
        at = left + column * (width + BETWEEN)
        top = head + row * (title + PANEL) + title
        axes = sheet.axes(at, sheet.height - top - PANEL, page.width - at - width, top)
        _draw(axes, found, table.loc[sites], sites)
        axes.set(ylim=(low, high), xlim=(-0.04, max(found.doses) + 0.04))
        if len(found.doses) <= 5:
            axes.set_xticks(found.doses, [f"{each:g}" for each in found.doses])
        name = "all sites" if sites == ALL else sites
        axes.set_title(shortened(name, width - 0.1, size=page.small), fontsize=page.small, pad=2)
        if column:
            axes.set_yticklabels([])
        if place + columns < len(targets):
            axes.set_xticklabels([])
        else:
            sheet.label(axes, x="dose")
    middle = below + panels / 2
    look_of_label: dict[str, Any] = {"va": "center", "ha": "left", "rotation": 90}
    sheet.text(0.04, middle, label, fontsize=page.medium, **look_of_label)
    sheet.legend(legend)
    return sheet.figure


def _samples(names: list[str]) -> list[Artist]:
    """Make samples of what is drawn."""
    looks = {
        **{
            name: {"color": "black", "lw": 0.9, "ms": 2.8, "mew": 0.6, **LINES[name]}
            for name in LINES
        },
        CONTROL: {"color": LINE_OF_BAND, "lw": 1.1},
        "clean": CLEAN_LOOK,
    }
    return [Line2D([], [], label=name, **looks[name]) for name in names]


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
        axes.axhline(clean, label="clean", gid=f"clean/{sites}", **CLEAN_LOOK)
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
