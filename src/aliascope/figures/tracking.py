"""Aliased energy, or another value, of each site over the steps of a training."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aliascope.errors import AliascopeError
from aliascope.figures.layout import Page, fitted, text_width
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

ROW, GAP = 0.125, 0.14
"""Inches from one name to the next, and between curves and names."""

WIDEST_NAME = 0.32
"""Share of the width that a name may take."""

WORDS = {"aliased_energy": "aliased energy", "no_pass": "no pass", "non_aliased": "non-aliased"}


def tracking(
    history: pd.DataFrame, *, value: str = "aliased_energy", **look: Unpack[Look]
) -> Figure:
    """Draw a value of each site over the steps of a training.

    Parameters
    ----------
    history : DataFrame
        Index step, a column a site, values in [0, 1]: :meth:`aliascope.Tracker.history`.
    value : str
        What it is called.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        One line a site, its gid the site's name, in percent; from dark to light in the order in
        which they run, each named at its right in the order of the last values.

    Raises
    ------
    AliascopeError
        If there is nothing to draw.

    Examples
    --------
    >>> history = pd.DataFrame({"stem": [0.2, 0.3], "pool": [0.1, 0.4]}, index=[0, 100])
    >>> len(tracking(history).axes[0].lines)
    4
    """
    history = history.dropna(axis="columns", how="all")
    if history.empty:
        raise AliascopeError("No step was measured, so there is nothing to draw; train first.")
    names = [str(name) for name in history.columns]
    page = Page.of(**look)
    labels = dict(zip(names, fitted(names, WIDEST_NAME * page.width, page.small), strict=True))
    row, left, gap = page.tall(ROW), page.tall(0.45), page.tall(GAP)
    high = max(page.tall(1.8 if not page.wide else 2.3), 0.2 + row * len(names))
    below = page.tall(0.36)
    sheet = page.sheet(0.08 + high + below, _caption(history, value))
    right = 0.1 + gap + max(text_width(label, page.small) for label in labels.values())
    axes = sheet.axes(left, below, right, 0.08)
    shades = colormaps["viridis"]
    colours = {name: shades(0.85 * k / max(1, len(names) - 1)) for k, name in enumerate(names)}
    for name, column in zip(names, history.columns, strict=True):
        line = (100 * history[column]).dropna()
        axes.plot(
            line.index, line, color=colours[name], lw=0.9, gid=name, marker=".", markersize=2.5
        )
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(5 if not page.wide else 9, integer=True))
    sheet.label(axes, "training step", f"{WORDS.get(value, value)} (%)")
    axes.spines[["top", "right"]].set_visible(False)
    last = {name: 100 * float(history[c].dropna().iloc[-1]) for name, c in _by_name(history)}
    low, top = axes.get_ylim()
    least = (top - low) * row / high
    places = _spread([last[name] for name in names], least, low, top)
    for name, place in zip(names, places, strict=True):
        axes.annotate(
            labels[name],
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(72 * gap, 0),
            textcoords="offset points",
            fontsize=page.small,
            color=colours[name],
            va="center",
            annotation_clip=False,
        )
        axes.plot(
            [1.01, 1 + 0.85 * gap / (page.width - left - right)],
            [last[name], place],
            transform=axes.get_yaxis_transform(),
            color=colours[name],
            lw=0.4,
            clip_on=False,
        )
    return sheet.figure


def _by_name(history: pd.DataFrame) -> list[tuple[str, object]]:
    return [(str(column), column) for column in history.columns]


def _spread(values: list[float], least: float, low: float, high: float) -> list[float]:
    """Move places apart until none is nearer to the next than ``least``, within bounds.

    Examples
    --------
    >>> _spread([1.0, 1.0, 5.0], 1.0, 0.0, 6.0)
    [1.0, 2.0, 5.0]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    places = list(values)
    for before, after in itertools.pairwise(order):
        places[after] = max(places[after], places[before] + least)
    top = high
    for k in reversed(order):
        places[k] = max(low, min(places[k], top))
        top = places[k] - least
    return places


def _caption(history: pd.DataFrame, value: str) -> str:
    number = len(history)
    what = WORDS.get(value, value)
    return (
        f"{what.capitalize()} of {counted(len(history.columns), 'site')} over a training: "
        f"{counted(number, 'step')} measured, from {history.index[0]} to {history.index[-1]}, each "
        "on the batch of that step."
    )
