"""Two runs compared: at each site both values, and beside them the paired difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aliascope.errors import AliascopeError
from aliascope.figures.layout import Page, fitted, text_width
from aliascope.runs.comparison import OVERALL, Comparison
from aliascope.runs.energy import ENERGY

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

ROW, BETWEEN = 0.16, 0.25
"""Inches from one site to the next, and between the panels."""

WIDEST_NAME = 0.3
"""Share of the width that a site's name may take."""

BEFORE, AFTER = "0.6", "black"
"""Greys: the categories' colours mean categories."""

WORDS = {ENERGY: "aliased energy", "no_pass": "no pass", "non_aliased": "non-aliased"}


def comparison(found: Comparison, *, value: str | None = None, **look: Unpack[Look]) -> Figure:
    """Draw two runs at each site, and the paired difference with its interval.

    Parameters
    ----------
    found : Comparison
        Of two runs.
    value : str, optional
        Which of its values; the first by default.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

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
    page = Page.of(**look)
    labels = fitted([str(name) for name in table.index], WIDEST_NAME * page.width, page.small)
    rows = -np.arange(len(table), dtype=float)
    rows[-1] -= 0.5 if table.index[-1] == OVERALL else 0
    names = fitted(found.names, 0.8 * page.width / 2, page.medium)
    marks: list[Artist] = [
        Line2D([], [], marker="o", ls="", ms=3, color=colour, label=name)
        for name, colour in zip(names, (BEFORE, AFTER), strict=True)
    ]
    legend = page.legend_rows(marks)
    head, left = page.legend_height(legend), 0.1 + max(text_width(x, page.small) for x in labels)
    right, between = page.tall(0.12), page.tall(BETWEEN)
    width = (page.width - left - right - between) / 2
    shown = [f"{WORDS.get(value, value)} (%)", "difference (points)"]
    words, deep = zip(*(page.label(each, width) for each in shown), strict=True)
    below = max(deep) + page.tall(0.19)
    height = head + page.tall(ROW) * (1.2 - rows.min()) + below
    sheet = page.sheet(height, _caption(found, value))
    values = sheet.axes(left, below, page.width - left - width, head)
    beside = sheet.axes(left + width + between, below, right, head)
    for end, colour in {"before": BEFORE, "after": AFTER}.items():
        values.plot(100 * table[end], rows, "o", color=colour, markersize=3, label=end, gid=end)
    values.hlines(rows, 100 * table["before"], 100 * table["after"], colors=BEFORE, lw=0.8)
    values.set_yticks(rows, labels)
    values.set_xlim(left=0)
    low, high = (100 * table[f"difference_{end}"].to_numpy() for end in ("low", "high"))
    beside.axvline(0, color=BEFORE, lw=0.6)
    beside.hlines(rows, low, high, colors=AFTER, lw=1).set_gid("intervals")
    beside.plot(100 * table["difference"], rows, "o", color=AFTER, markersize=3, gid="difference")
    beside.set_yticks(rows, [""] * len(rows))
    for axes, label in zip((values, beside), words, strict=True):
        axes.set_ylim(rows.min() - 0.6, 0.6)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(page.ticks(width, 6))
        axes.spines[["top", "right"]].set_visible(False)
        sheet.label(axes, x=label)
    sheet.legend(legend)
    return sheet.figure


def _caption(found: Comparison, value: str) -> str:
    first, second = found.names
    return (
        f"{WORDS.get(value, value).capitalize()} of {first} (grey) and {second} (black) on the "
        f"same {len(found.images)} images; right the mean paired difference with its 95 % interval "
        "(Student's t), not adjusted for the number of sites."
    )
