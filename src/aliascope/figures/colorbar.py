"""The bar of the four colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.layout import THIN, Page, text_width
from aliascope.figures.shades import ink_on
from aliascope.palette import palette

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look


def colorbar(*, colours: str = "paper", **look: Unpack[Look]) -> Figure:
    """Draw the colours of the four categories, with their names in them.

    Parameters
    ----------
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title: :class:`aliascope.figures.layout.Look`; there is no caption.

    Returns
    -------
    Figure
        Its rectangles have gids such as ``bar/tangled``.

    Raises
    ------
    AliascopeError
        If an option is unknown.

    Examples
    --------
    >>> [text.get_text() for text in colorbar().axes[0].texts]
    ['no pass', 'non-aliased', 'aliased', 'tangled']
    """
    page = Page.of(**look)
    sheet = page.sheet(bar_height(page, page.width - 0.04) + 0.04)
    draw_bar(sheet.axes(0.02, 0.02, 0.02, 0.02), page, colours, page.width - 0.04)
    return sheet.figure


def bar_height(page: Page, width: float) -> float:
    """Inches of height that the bar takes at so many of width."""
    return 0.1 + 1.1 * page.medium / 72 * (
        1 + max(name.count("\n") for name in _names(page, width))
    )


def _names(page: Page, width: float) -> list[str]:
    """Name the categories, on two lines where a quarter of the width has no room for one."""
    names = [LABELS[name] for name in COLUMNS]
    if max(text_width(name, page.medium) for name in names) > width / 4 - 0.04:
        names = [name.replace("-", "-\n").replace(" ", "\n") for name in names]
    return names


def draw_bar(axes: Axes, page: Page, colours: str, width: float) -> None:
    """Fill axes that are so many inches wide with the bar."""
    colour, names = palette(colours), _names(page, width)
    for i, name in enumerate(COLUMNS):
        axes.add_patch(
            Rectangle((i, 0), 1, 1, facecolor=colour[name], edgecolor="none", gid=f"bar/{name}")
        )
        axes.text(
            i + 0.5,
            0.46,
            names[i],
            ha="center",
            va="center",
            fontsize=page.medium,
            linespacing=1.0,
            color=ink_on(colour[name]),
        )
    axes.set(xlim=(0, 4), ylim=(0, 1), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(THIN)
