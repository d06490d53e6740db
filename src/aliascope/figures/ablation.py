"""Does it matter? The effect of each intervention beside aliased energy, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from aliascope.errors import AliascopeError
from aliascope.figures.energy import draw_energy
from aliascope.figures.layout import Page, fitted, images, text_width
from aliascope.runs.ablation import Ablation
from aliascope.runs.changed import ALL, members
from aliascope.runs.effects import CONTROL, DRAWN, QUANTITIES, effects, energies
from aliascope.runs.energy import ENERGY
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

LANE = 0.088
"""Inches from one intervention to the next."""

GAP = 0.13
"""Inches between stages."""

WIDEST_NAME = 0.29
"""Share of the width that a stage's name may take beside two panels."""

MOST_NAMES = 4
"""Sites of a stage that are named; of more, the rest is counted."""

BETWEEN = 0.22
"""Inches from the panel of energy to that of effects."""

BOLD = 1.12
"""How much wider bold letters are."""

BAND, LINE_OF_BAND = "0.88", "0.62"
"""Greys of the control's interval and mean."""

LOOKS: dict[str, dict[str, Any]] = {
    "remove": {"marker": "o", "mfc": "black"},
    "restore": {"marker": "s", "mfc": "white"},
    "swap-within": {"marker": "^", "mfc": "white"},
    "swap-between": {"marker": "^", "mfc": "black"},
    "low": {"marker": "D", "mfc": "0.6"},
}
"""Shapes and greys: the categories' colours mean categories."""


def ablation(found: Ablation, **look: Unpack[Look]) -> Figure:
    """Draw what each intervention changes, beside the aliased energy of its stage.

    Parameters
    ----------
    found : Ablation
        Of at least one intervention; of several doses the largest is drawn.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        Blocks from top to bottom in the order of the run, each with its verdict. Left, in percent,
        where energy was measured: the points ``energy``, the lines ``intervals`` and ``white``, the
        bars ``edge/SITES``. Right, in points of the score (of the output in percent): points of gid
        ``INTERVENTION/SITES``, their 95 % intervals ``interval/INTERVENTION/SITES``, and of the
        control the band ``gain/SITES`` with the line ``mean/SITES``.

    Raises
    ------
    AliascopeError
        If no intervention that is drawn was run.
    """
    page = Page.of(**look)
    table, of_energy, verdicts = effects(found), energies(found), found.verdicts()
    if table.empty:
        raise AliascopeError("The ablation has no finished pass, so there is no effect to draw.")
    lanes = [name for name in DRAWN if name in table.index.get_level_values("intervention")]
    targets = list(dict.fromkeys(table.index.get_level_values("sites")))
    known = [name for name in targets if not np.isnan(of_energy.loc[name, ENERGY])]
    labels = _labels(page, targets)
    lane, gap = page.tall(LANE), page.tall(GAP)
    heights = [
        max(len(lanes) * lane, page.line * (len(labels[name]) + 1)) + gap for name in targets
    ]
    edges = -np.cumsum([0.0, *heights])
    at = dict(zip(targets, (edges[1:] + edges[:-1]) / 2, strict=True))
    legend = _legend(page, lanes, CONTROL in table.index.get_level_values("intervention"))
    widths = [text_width(each, page.small) for name in targets for each in labels[name]]
    widths += [BOLD * text_width(verdict, page.small) for verdict in verdicts.values()]
    left = 0.1 + max(widths)
    room = (0.4 if page.wide else 0.27) * (page.width - left)
    right = left + (room + page.tall(BETWEEN) if known else 0)
    words, below = page.label(_what(found), page.width - 0.1 - right)
    of_it, deep = page.label("aliased energy (%)", room) if known else ("", 0.0)
    below, head = max(below, deep) + page.tall(0.19), page.legend_height(legend)
    height = head + sum(heights) + below
    sheet = page.sheet(height, _caption(found, table, bool(known)))
    panels = []
    if known:
        panels.append(sheet.axes(left, below, page.width - left - room, head))
        rows = np.array([at[name] for name in known])
        shown = of_energy.loc[known].drop(columns="kept", errors="ignore")
        draw_energy(panels[0], rows, shown, [f"edge/{name}" for name in known], size=0.27)
        panels[0].set_xlim(0, 100)
        panels[0].set_xticks([0, 50, 100] if room > 3 * text_width("100", page.small) else [0, 100])
        panels[0].get_xticklabels()[-1].set_horizontalalignment("right")
        sheet.label(panels[0], x=of_it)
    panels.append(sheet.axes(right, below, 0.1, head))
    _draw_effects(panels[-1], table, lanes, at, dict(zip(targets, heights, strict=True)), lane)
    panels[-1].xaxis.set_major_locator(page.ticks(page.width - 0.1 - right))
    sheet.label(panels[-1], x=words)
    for panel in panels:
        panel.set(ylim=(edges[-1], 0), yticks=[])
        for edge in edges[1:-1]:
            panel.axhline(edge, color="0.85", lw=0.5)
    for name in targets:
        _write(page, panels[0], at[name], labels[name], verdicts[name])
    sheet.legend(legend)
    return sheet.figure


def _labels(page: Page, targets: list[str]) -> dict[str, list[str]]:
    """Name the sites of each target so that they can be told apart, a line or two each."""
    sites = list(dict.fromkeys(each for name in targets if name != ALL for each in members(name)))
    widest = WIDEST_NAME * page.width
    short = dict(zip(sites, fitted(sites, widest, page.small), strict=True)) if sites else {}
    labels = {}
    for name in targets:
        lines = ["all sites"]
        if name != ALL:
            named = members(name)
            if rest := len(named[MOST_NAMES - 1 :]) if len(named) > MOST_NAMES else 0:
                named = named[: MOST_NAMES - 1]
            lines = [line for each in named for line in _broken(page, each) or [short[each]]]
            lines += [f"and {rest} more"] if rest else []
        labels[name] = lines
    return labels


def _broken(page: Page, name: str) -> list[str]:
    """Break a name after a dot into two even lines that fit; nothing where there is no such dot.

    Examples
    --------
    >>> _broken(Page(), "_blocks.11._depthwise_conv"), _broken(Page(), "conv1")
    (['_blocks.11.', '_depthwise_conv'], ['conv1'])
    """
    widest = WIDEST_NAME * page.width
    if text_width(name, page.small) <= widest:
        return [name]
    places = [k + 1 for k, character in enumerate(name[:-1]) if character == "."]
    breaks = [[name[:place], name[place:]] for place in places]
    best = min(breaks, key=lambda lines: _widest(page, lines), default=[name])
    return best if _widest(page, best) <= widest else []


def _widest(page: Page, lines: list[str]) -> float:
    return max(text_width(line, page.small) for line in lines)


def _write(page: Page, axes: Axes, middle: float, lines: list[str], verdict: str) -> None:
    """Write a stage's name and its verdict at the left of its block."""
    top = middle + page.line * len(lines) / 2
    for place, line in enumerate([*lines, verdict]):
        weight = "bold" if place == len(lines) else "normal"
        axes.annotate(
            line,
            (0, top - place * page.line),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-2.5, 0),
            textcoords="offset points",
            annotation_clip=False,
            ha="right",
            va="center",
            fontsize=page.small,
            fontweight=weight,
            gid="verdict" if place == len(lines) else "name",
        )


def _draw_effects(
    axes: Axes,
    table: pd.DataFrame,
    lanes: list[str],
    at: dict[str, float],
    heights: dict[str, float],
    lane: float,
) -> None:
    axes.axvline(0, color="0.35", lw=0.6, zorder=1.5)
    numbers = 100 * table[["change", "change_low", "change_high"]].to_numpy()
    places: list[tuple[str, str]] = table.index.tolist()
    for (sites, name), (value, low, high) in zip(places, numbers, strict=True):
        middle, height = at[sites], heights[sites]
        if name == CONTROL:
            if not np.isnan(low):
                corner = (low, middle - height / 2)
                band = Rectangle(corner, high - low, height, color=BAND, lw=0, zorder=0.5)
                band.set_gid(f"{CONTROL}/{sites}")
                axes.add_patch(band)
            foot, head = middle - height / 2, middle + height / 2
            axes.vlines(
                value, foot, head, color=LINE_OF_BAND, lw=0.9, gid=f"mean/{sites}", zorder=1
            )
            continue
        y = middle + lane * ((len(lanes) - 1) / 2 - lanes.index(name))
        axes.hlines(y, low, high, color="black", lw=0.8, gid=f"interval/{name}/{sites}")
        axes.plot([value], [y], ms=3, mec="black", mew=0.6, gid=f"{name}/{sites}", **LOOKS[name])
    least, most = min(0.0, np.nanmin(numbers)), max(0.0, np.nanmax(numbers))
    margin = 0.05 * max(most - least, 1.0)
    axes.set_xlim(least - margin, most + margin)


def _what(found: Ablation) -> str:
    words = {"top1": "accuracy (points)", "agreement": "agreement (points)", "": "output (%)"}
    return f"change of {words[found.score]}"


def _legend(page: Page, lanes: list[str], control: bool) -> list[list[Artist]]:
    """Make samples of what is drawn."""
    points: list[Artist] = [
        Line2D([], [], color="black", ms=3, mec="black", mew=0.6, lw=0.8, label=name, **LOOKS[name])
        for name in lanes
    ]
    band = [Patch(color=BAND, label=f"{CONTROL} (control)")] if control else []
    return page.legend_rows([*points, *band])


def _caption(found: Ablation, table: pd.DataFrame, energy: bool) -> str:
    what = QUANTITIES[found.score]
    begin = f"What changes in {what}" if found.score else "How much the output changes"
    words = (
        f"{begin} when the dense signals of a stage are changed"
        f"{settings(found)}. Lines: 95 % {'paired ' if found.score else ''}intervals"
    )
    if CONTROL in table.index.get_level_values("intervention"):
        words += f"; grey: {CONTROL}, which takes as much energy from everything, and its interval"
    words += "." + _with_donors(found, table)
    if energy:
        words += (
            " Left: aliased energy with its interval over images, a grey bar where the cut lies "
            "± 1 coefficient, dashed what white noise has."
        )
    judged = " Verdicts by all comparisons of the same images, by Holm's method over stages."
    return words + (judged if found.score else "")


def _with_donors(found: Ablation, table: pd.DataFrame) -> str:
    """Say of how many images swaps are, where that is not all."""
    counts = table["n"].groupby(level="intervention")
    low, high, most = counts.min(), counts.max(), int(table["n"].max())
    few = [name for name in DRAWN if name in low.index and low[name] < most]
    told = [
        f"{name}: {counted(int(high[name]), 'image')}"
        if low[name] == high[name]
        else f"{name}: {int(low[name]):,} to {int(high[name]):,} images"
        for name in few
    ]
    asked = (found.measurement.run.get("options") or {}).get("interventions") or ()
    none = [
        f" {name}: no image had a donor." for name in DRAWN if name in set(asked) - set(low.index)
    ]
    return "".join([f" {'; '.join(told)} with a donor." if told else "", *none])


def settings(found: Ablation) -> str:
    """Say of what images an ablation is, at which dose, and what chance there was in it.

    Parameters
    ----------
    found : Ablation
        Whose settings.

    Returns
    -------
    str
        Words that follow others, such as " (20 images, seed 0)".
    """
    options = found.measurement.run.get("options") or {}
    words = [images(found.measurement, number=int(found.clean()["n"]))]
    dose = max(found.doses)
    if dose != 1:
        words.append(f"dose {dose:g}")
    if options.get("recalibrate"):
        words.append(f"batch norm re-estimated from {options['recalibrate']} other images")
    if options.get("seed") is not None:
        words.append(f"seed {options['seed']}")
    return f" ({', '.join(words)})"
