"""The bar of the four colours."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aliascope.categories import COLUMNS
from aliascope.figures.palette import LABELS, palette


def colorbar(*, colours: str = "paper") -> Figure:
    """Draw the colours of the four categories with their names.

    Parameters
    ----------
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure

    Examples
    --------
    >>> len(colorbar().axes[0].patches)
    4
    """
    figure = Figure(figsize=(3.4, 0.45))
    draw_bar(figure.add_axes((0.01, 0.05, 0.98, 0.45)), colours, size=8)
    return figure


def draw_bar(axes: Axes, colours: str, size: float) -> None:
    """Draw the bar into axes, the names above it in ``size`` points."""
    colour = palette(colours)
    for i, name in enumerate(COLUMNS):
        axes.add_patch(
            Rectangle((i, 0), 1, 1, facecolor=colour[name], edgecolor="none", gid=f"bar/{name}")
        )
        axes.text(i + 0.5, 1.15, LABELS[name], ha="center", va="bottom", fontsize=size)
    axes.set(xlim=(0, 4), ylim=(0, 1), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
