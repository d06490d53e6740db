"""The main figure: aliased energy of each site, and beside it the categories with their floor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aliascope.errors import AliascopeError
from aliascope.figures.layout import (
    COLUMN,
    MEDIUM,
    add_axes,
    counted,
    figure_with_caption,
    fitted,
    images,
    mixed_with_white,
    text_width,
)
from aliascope.palette import palette
from aliascope.runs.energy import ENERGY, FEWEST_KEPT, INTERVAL
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import level_of, percent

ROW = 0.142
"""Inches from one site to the next."""

WIDEST_NAME = 1.02
"""Inches of a site's name that fit beside two panels."""

HEAD = 0.36
"""Inches of the two lines that name what is drawn."""

EDGE, WHITE = "0.82", "0.45"
"""Greys of the edge interval and of the white baseline: the categories' colours mean categories."""

BETWEEN = 0.2
"""Inches between the panels."""


def energy(
    measurement: Measurement, *, accounting: str = "exact", colours: str = "paper"
) -> Figure:
    """Draw the aliased energy of each site, in the order in which they run, and of each rate.

    Beside it, where they were measured, aliased + tangled bins, before those of the low part alone,
    in which nothing aliases: their floor, a lighter and broader bar.

    Parameters
    ----------
    measurement : Measurement
        Of a run with energy.
    accounting : {"exact", "published"}
        Of the categories; see :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        All in percent. Left the points ``energy``, the lines ``intervals`` and ``white``, from top
        to bottom, and the bars ``edge/SITE`` (of rates: ``edge-mean/RATE``); right ``floor/SITE``,
        ``aliased/SITE``, ``tangled/SITE`` (of their mean: ``mean/floor`` and so on).

    Raises
    ------
    AliascopeError
        If energy was not measured, or an option is unknown.

    Examples
    --------
    >>> from aliascope.runs.store import Store
    >>> store = Store.temporary()
    >>> store.write_run({})
    >>> energy(Measurement(store))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: Energy was not measured in this run; measure with ...
    """
    palette(colours)
    table, rates = measurement.energy(), measurement.energy("overall")
    if table.empty:
        raise AliascopeError("The run has no measured site, so there is no energy to draw.")
    beside = "categories" in measurement.measures
    rate_of = measurement.sites.set_index("name")["rate"]
    alone = len(rates) == 1
    means = [f"mean of {counted(int(n), 'site')}" for n in rates["sites"]]
    if not alone:
        means = [f"rate {rate}: {counted(int(n), 'site')}" for rate, n in rates["sites"].items()]
    labels = [*fitted([str(name) for name in table.index], WIDEST_NAME), *means]
    if beside and not alone:
        labels.append(f"all {counted(len(table), 'site')}")
    rows = -np.array(
        [*range(len(table)), *(len(table) + 0.5 + np.arange(len(labels) - len(table)))]
    )
    height = HEAD + ROW * (len(labels) + 0.5) + 0.34
    figure, foot = figure_with_caption(height, _caption(measurement, accounting, len(set(rate_of))))
    left = 0.1 + max(text_width(label) for label in labels)
    width = (COLUMN - left - 0.1 - (BETWEEN if beside else 0)) / (2 if beside else 1)
    axes = add_axes(figure, left, foot + 0.32, COLUMN - left - width, HEAD)
    _draw_energy(axes, rows, table, rates)
    axes.set_yticks(rows, labels)
    panels = [axes]
    if beside:
        panels.append(add_axes(figure, COLUMN - 0.1 - width, foot + 0.32, 0.1, HEAD))
        _draw_categories(panels[1], rows, measurement, accounting, colours)
        panels[1].set_yticks([])
    for panel in panels:
        panel.tick_params(axis="y", length=0)
        panel.set(xlim=(0, 100), ylim=(rows[-1] - 0.55, 0.55))
        panel.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100"])
        panel.axhline(-len(table) + 0.25, color="0.7", lw=0.5)
    axes.set_xlabel("aliased energy (%)", fontsize=MEDIUM, labelpad=1.5)
    if beside:
        panels[1].set_xlabel("bins (%)", fontsize=MEDIUM, labelpad=1.5)
    _legends(figure, height + foot, "floor" in measurement.measures, beside, colours)
    return figure


def _draw_energy(axes: Axes, rows: Any, table: pd.DataFrame, rates: pd.DataFrame) -> None:
    both = pd.concat([table, rates])
    at = rows[: len(both)]
    low, high = (100 * both[end].to_numpy() for end in ("edge_low", "edge_high"))
    names = [
        *(f"edge/{name}" for name in table.index),
        *(f"edge-mean/{rate}" for rate in rates.index),
    ]
    edges = axes.barh(at, high - low, left=low, height=0.62, color=EDGE, lw=0)
    for patch, name in zip(edges, names, strict=True):
        patch.set_gid(name)
    white = 100 * both["white"]
    axes.vlines(
        white, at - 0.38, at + 0.38, color=WHITE, lw=1.0, linestyles=(0, (1.5, 1)), gid="white"
    )
    low, high = (100 * both[end].to_numpy() for end in INTERVAL)
    axes.hlines(at, low, high, color="black", lw=0.9, gid="intervals")
    value = 100 * both[ENERGY].to_numpy()
    rough = (both["kept"] < FEWEST_KEPT).to_numpy()
    axes.plot(value, at, "o", ms=3, color="black", mew=0.7, gid="energy")
    axes.plot(value[rough], at[rough], "o", ms=3, mfc="white", mec="black", mew=0.7, gid="rough")


def _draw_categories(
    axes: Axes, rows: Any, measurement: Measurement, accounting: str, colours: str
) -> None:
    colour = palette(colours)
    overall = {"by": "overall", "accounting": accounting}
    table = pd.concat(
        [measurement.fractions(accounting=accounting), measurement.fractions(**overall)]
    )
    names = [*(str(name) for name in table.index[:-1]), None]
    at = np.array([*rows[: len(table) - 1], rows[-1]])
    if "floor" in measurement.measures:
        floor = pd.concat([measurement.floor(accounting=accounting), measurement.floor(**overall)])
        both = 100 * (floor["aliased"] + floor["tangled"])
        light = mixed_with_white(colour["tangled"], 0.28)
        _named(axes.barh(at, both, height=0.88, color=light, lw=0), "floor", names)
    tangled, aliased = (100 * table[key].to_numpy() for key in ("tangled", "aliased"))
    drawn = axes.barh(at, tangled, height=0.44, lw=0, color=colour["tangled"])
    _named(drawn, "tangled", names)
    drawn = axes.barh(at, aliased, left=tangled, height=0.44, lw=0, color=colour["aliased"])
    _named(drawn, "aliased", names)


def _named(bars: Any, kind: str, names: list[str | None]) -> None:
    for patch, name in zip(bars, names, strict=True):
        patch.set_gid(f"mean/{kind}" if name is None else f"{kind}/{name}")


def _legends(figure: Figure, height: float, floor: bool, beside: bool, colours: str) -> None:
    """Name what is drawn in two lines at the figure's head."""
    colour = palette(colours)
    point = Line2D([], [], color="black", marker="o", ms=3, lw=0.9, label="energy")
    white = Line2D([], [], color=WHITE, lw=1.0, ls=(0, (1.5, 1)), label="white noise")
    bars: list[Artist] = [Patch(color=colour[name], label=name) for name in ("tangled", "aliased")]
    if floor:
        light = mixed_with_white(colour["tangled"], 0.28)
        bars.append(Patch(color=light, label="their floor"))
    lines: list[Artist] = [point, Patch(color=EDGE, label="cut ± 1 coefficient"), white]
    for place, handles in enumerate([lines, bars] if beside else [lines]):
        figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - place * 0.155 / height),
            ncols=len(handles),
            fontsize=MEDIUM,
            frameon=False,
            handlelength=1.1,
            handleheight=0.8,
            handletextpad=0.45,
            columnspacing=1.2,
            borderaxespad=0.0,
            borderpad=0.2,
        )


def _caption(measurement: Measurement, accounting: str, n_rates: int) -> str:
    words = [
        "Share of the varying energy beyond the new Nyquist rate, over "
        f"{images(measurement, accounting)}"
    ]
    if len(measurement.samples) > 1:
        words.append("lines: 95 % intervals over images")
    words.append("white noise: what it would have at that size and rate")
    energies = measurement.energy()
    if (energies["kept"] < FEWEST_KEPT).any():
        words.append(f"hollow: an axis keeps fewer than {FEWEST_KEPT} samples, known only roughly")
    caption = "; ".join(words) + "."
    if n_rates > 1:
        caption += " Means are by rate, for unlike rates have unlike baselines."
    if "categories" in measurement.measures:
        level = level_of(measurement)
        caption += f" Bins: {level}." if level else ""
        if "floor" in measurement.measures:
            n = int(measurement.floor("overall")["n"].iloc[0])
            caption += (
                " Floor: aliased + tangled of the low part alone, in which nothing aliases "
                f"({counted(n, 'image')})."
            )
        if "thresholds" in measurement.measures:
            table = measurement.thresholds("overall", accounting=accounting)
            both = table["aliased"] + table["tangled"]
            of = counted(int(table["n"].max()), "image")
            ends = f"{percent(both.min())} to {percent(both.max())} %"
            caption += (
                f" With thresholds of {both.index.min()} to {both.index.max()} dB "
                f"aliased + tangled of all sites is {ends} ({of})."
            )
    return caption
