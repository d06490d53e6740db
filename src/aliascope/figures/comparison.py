"""Two runs compared: at each site both values, and beside them the paired difference."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aliascope.errors import AliascopeError
from aliascope.figures.layout import (
    COLUMN,
    add_axes,
    figure_with_caption,
    fitted,
    text_width,
)
from aliascope.runs.comparison import OVERALL, Comparison
from aliascope.runs.energy import ENERGY

ROW, HEAD, WIDEST_NAME, BETWEEN = 0.16, 0.36, 1.02, 0.25
"""Inches: from one site to the next, of the heads, of a name, between the panels."""

BEFORE, AFTER = "0.6", "black"
"""Greys: the categories' colours mean categories."""

WORDS = {ENERGY: "aliased energy", "no_pass": "no pass", "non_aliased": "non-aliased"}


def comparison(found: Comparison, *, value: str | None = None) -> Figure:
    """Draw two runs at each site, and the paired difference with its interval.

    Parameters
    ----------
    found : Comparison
        Of two runs.
    value : str, optional
        Which of its values; the first by default.

    Returns
    -------
    Figure
        Left the points ``before`` and ``after``, in percent, from top to bottom; right the points
        ``difference`` and the lines ``intervals``, in points.

    Raises
    ------
    AliascopeError
        If the value was not compared.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> run = al.measure(torch.nn.AvgPool2d(2), [torch.rand(3, 3, 16, 16)])
    >>> len(comparison(al.compare(run, run)).axes)
    2
    """
    value = value or found.values[0]
    if value not in found.values:
        raise AliascopeError(
            f"value is {value!r}, but both runs measured {', '.join(found.values)}."
        )
    table = found.table().xs(value, level="value")
    labels = fitted([str(name) for name in table.index], WIDEST_NAME)
    rows = -np.arange(len(table), dtype=float)
    rows[-1] -= 0.5 if table.index[-1] == OVERALL else 0
    figure, foot = figure_with_caption(HEAD + ROW * (len(table) + 1) + 0.34, _caption(found, value))
    left = 0.1 + max(text_width(label) for label in labels)
    width = (COLUMN - left - 0.1 - BETWEEN) / 2
    values = add_axes(figure, left, foot + 0.32, COLUMN - left - width, HEAD)
    beside = add_axes(figure, left + width + BETWEEN, foot + 0.32, 0.1, HEAD)
    for end, colour in {"before": BEFORE, "after": AFTER}.items():
        values.plot(100 * table[end], rows, "o", color=colour, markersize=3, label=end, gid=end)
    values.hlines(rows, 100 * table["before"], 100 * table["after"], colors=BEFORE, lw=0.8)
    values.set_yticks(rows, labels)
    values.set_xlim(left=0)
    values.set_title(f"{WORDS.get(value, value)}, %", fontsize=7, loc="left")
    marks = [
        Line2D([], [], marker="o", ls="", ms=3, color=colour, label=name)
        for name, colour in zip(found.names, (BEFORE, AFTER), strict=True)
    ]
    figure.legend(
        handles=marks, loc="upper right", fontsize=6, frameon=False, ncols=2, borderpad=0.1
    )
    low, high = (100 * table[f"difference_{end}"].to_numpy() for end in ("low", "high"))
    beside.axvline(0, color=BEFORE, lw=0.6)
    beside.hlines(rows, low, high, colors=AFTER, lw=1).set_gid("intervals")
    beside.plot(100 * table["difference"], rows, "o", color=AFTER, markersize=3, gid="difference")
    beside.set_yticks(rows, [""] * len(rows))
    beside.set_title("difference, points", fontsize=7, loc="left")
    for axes in (values, beside):
        axes.set_ylim(rows.min() - 0.6, 0.6)
        axes.tick_params(labelsize=6, length=2)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _caption(found: Comparison, value: str) -> str:
    first, second = found.names
    return (
        f"{WORDS.get(value, value).capitalize()} of {first} (grey) and {second} (black) on the "
        f"same {len(found.images)} images; right the mean paired difference with its 95 % interval "
        "(Student's t), not adjusted for the number of sites."
    )
