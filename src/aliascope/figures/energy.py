"""The main figure: aliased energy of each site, and beside it the categories with their floor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aliascope.errors import AliascopeError
from aliascope.figures.layout import Page, category_handles, fitted, images, text_width
from aliascope.figures.shades import mixed_with_white
from aliascope.figures.stages import draw_stages
from aliascope.palette import palette
from aliascope.runs.energy import ENERGY, FEWEST_KEPT, INTERVAL
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted, level_of, percent, span

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

ROW = 0.142
"""Inches from one site to the next."""

WIDEST_NAME = 0.3
"""Share of the width that a site's name may take beside two panels."""

HARMED = ("aliased", "tangled")
"""What is drawn before its floor, in the categories' order."""

EDGE, WHITE = "0.82", "0.45"
"""Greys of the edge interval and of the white baseline: the categories' colours mean categories."""

BETWEEN = 0.2
"""Inches between the panels."""


def energy(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw the aliased energy of each site, in the order in which they run, and of each rate.

    Beside it, where they were measured, aliased + tangled bins, before those of the low part alone,
    in which nothing aliases: their floor, a lighter and broader bar. Of many sites, lines part
    those of one size of map from the next.

    Parameters
    ----------
    measurement : Measurement
        Of a run with energy.
    accounting : {"exact", "published"}
        Of the categories; see :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    page = Page.of(**look)
    palette(colours)
    table, rates = measurement.energy(), measurement.energy("overall")
    if table.empty:
        raise AliascopeError("The run has no measured site, so there is no energy to draw.")
    beside = "categories" in measurement.measures
    labels = _labels(page, table, rates, beside)
    rows = -np.array(
        [*range(len(table)), *(len(table) + 0.5 + np.arange(len(labels) - len(table)))]
    )
    legend = _legend(page, "floor" in measurement.measures, beside, colours)
    head, left = page.legend_height(legend), 0.1 + max(text_width(x, page.small) for x in labels)
    right, between = page.tall(0.12), page.tall(BETWEEN)
    width = (page.width - left - right - (between if beside else 0)) / (2 if beside else 1)
    words, below = page.label("aliased energy (%)", width)
    below += page.tall(0.19)
    n_rates = measurement.sites["rate"].nunique()
    body = page.tall(ROW) * (len(labels) + 0.5)
    sheet = page.sheet(head + body + below, _caption(measurement, accounting, n_rates))
    axes = sheet.axes(left, below, page.width - left - width, head)
    both = pd.concat([table, rates])
    names = [f"edge/{name}" for name in table.index]
    names += [f"edge-mean/{rate}" for rate in rates.index]
    draw_energy(axes, rows[: len(both)], both, names)
    axes.set_yticks(rows, labels)
    panels = [axes]
    if beside:
        panels.append(sheet.axes(page.width - right - width, below, right, head))
        _draw_categories(panels[1], rows, measurement, accounting, colours)
        panels[1].set_yticks([])
    for panel in panels:
        panel.tick_params(axis="y", length=0)
        panel.set(xlim=(0, 100), ylim=(rows[-1] - 0.55, 0.55))
        panel.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100"])
        panel.axhline(-len(table) + 0.25, color="0.7", lw=0.5)
    draw_stages(panels, measurement, table.index, (0.05 - left) / width)
    sheet.label(axes, x=words)
    if beside:
        sheet.label(panels[1], x="bins (%)")
    sheet.legend(legend)
    return sheet.figure


def _labels(page: Page, table: pd.DataFrame, rates: pd.DataFrame, beside: bool) -> list[str]:
    """Name the rows: sites, rates, and what stands for all."""
    names = fitted([str(name) for name in table.index], WIDEST_NAME * page.width, page.small)
    if len(rates) == 1:
        return [*names, f"mean of {counted(int(rates['sites'].iloc[0]), 'site')}"]
    names += [f"rate {rate}: {counted(int(n), 'site')}" for rate, n in rates["sites"].items()]
    return [*names, f"all {counted(len(table), 'site')}"] if beside else names


def draw_energy(
    axes: Axes, rows: Any, table: pd.DataFrame, edges: Sequence[str], *, size: float = 1.0
) -> None:
    """Draw aliased energy with its two intervals and the white baseline, in percent, a row each.

    Parameters
    ----------
    axes : Axes
        Whose x axis is in percent.
    rows : ndarray
        Where the rows are.
    table : DataFrame
        Rows of :meth:`Measurement.energy`.
    edges : sequence of str
        Gids of the bars of the edge interval. The points are ``energy`` (``rough`` where few
        samples are kept), the lines ``intervals`` and ``white``.
    size : float
        Heights, in those of a row at 1.
    """
    low, high = (100 * table[end].to_numpy() for end in ("edge_low", "edge_high"))
    bars = axes.barh(rows, high - low, left=low, height=0.62 * size, color=EDGE, lw=0)
    for patch, name in zip(bars, edges, strict=True):
        patch.set_gid(name)
    white, half = 100 * table["white"], 0.38 * size
    axes.vlines(
        white, rows - half, rows + half, color=WHITE, lw=1.0, linestyles=(0, (1.5, 1)), gid="white"
    )
    low, high = (100 * table[end].to_numpy() for end in INTERVAL)
    axes.hlines(rows, low, high, color="black", lw=0.9, gid="intervals")
    value = 100 * table[ENERGY].to_numpy()
    axes.plot(value, rows, "o", ms=3, color="black", mew=0.7, gid="energy")
    if "kept" in table:
        rough = (table["kept"] < FEWEST_KEPT).to_numpy()
        look: dict[str, Any] = {"ms": 3, "mfc": "white", "mec": "black", "mew": 0.7}
        axes.plot(value[rough], rows[rough], "o", gid="rough", **look)


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
    left = np.zeros(len(at))
    for key in HARMED:
        width = 100 * table[key].to_numpy()
        _named(axes.barh(at, width, left=left, height=0.44, lw=0, color=colour[key]), key, names)
        left += width


def _named(bars: Any, kind: str, names: list[str | None]) -> None:
    for patch, name in zip(bars, names, strict=True):
        patch.set_gid(f"mean/{kind}" if name is None else f"{kind}/{name}")


def _legend(page: Page, floor: bool, beside: bool, colours: str) -> list[list[Artist]]:
    """Make samples of what is drawn."""
    point = Line2D([], [], color="black", marker="o", ms=3, lw=0.9, label="energy")
    white = Line2D([], [], color=WHITE, lw=1.0, ls=(0, (1.5, 1)), label="white noise")
    lines: list[Artist] = [point, Patch(color=EDGE, label="cut ± 1 coefficient"), white]
    if not beside:
        return page.legend_rows(lines)
    bars = category_handles(HARMED, colours)
    if floor:
        light = mixed_with_white(palette(colours)["tangled"], 0.28)
        bars.append(Patch(color=light, label="their floor"))
    return page.legend_rows(lines, bars)


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
            ends = f"{span(percent(both.min()), percent(both.max()))} %"
            caption += (
                f" With thresholds of {both.index.min()} to {both.index.max()} dB "
                f"aliased + tangled of all sites is {ends} ({of})."
            )
    return caption
