"""The bar of the four colours."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.layout import COLUMN, MEDIUM, THIN, add_axes, ink_on
from aliascope.palette import palette


def colorbar(*, colours: str = "paper") -> Figure:
    """Draw the colours of the four categories, with their names in them.

    Parameters
    ----------
    colours : {"paper", "colour-blind"}
        Palette.

    Returns
    -------
    Figure
        Its rectangles have gids such as ``bar/tangled``.

    Raises
    ------
    AliascopeError
        If the palette is unknown.

    Examples
    --------
    >>> [text.get_text() for text in colorbar().axes[0].texts]
    ['no pass', 'non-aliased', 'aliased', 'tangled']
    """
    figure = Figure(figsize=(COLUMN, 0.26))
    draw_bar(add_axes(figure, 0.02, 0.02, 0.02, 0.02), colours)
    return figure


def draw_bar(axes: Axes, colours: str) -> None:
    """Fill axes with the bar."""
    colour = palette(colours)
    for i, name in enumerate(COLUMNS):
        axes.add_patch(
            Rectangle((i, 0), 1, 1, facecolor=colour[name], edgecolor="none", gid=f"bar/{name}")
        )
        axes.text(
            i + 0.5,
            0.46,
            LABELS[name],
            ha="center",
            va="center",
            fontsize=MEDIUM,
            color=ink_on(colour[name]),
        )
    axes.set(xlim=(0, 4), ylim=(0, 1), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(THIN)
