"""The nested ring: the model's fractions outside, what each site adds to them inside."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aliascope.categories import LABELS
from aliascope.errors import AliascopeError
from aliascope.figures.layout import (
    COLUMN,
    LINE,
    MARGIN,
    MEDIUM,
    SMALL,
    add_axes,
    counted,
    figure_with_caption,
    fitted,
    images,
    ink_on,
    mixed_with_white,
    text_width,
)
from aliascope.palette import RING_ORDER, palette
from aliascope.runs.measurement import Measurement

SMALLEST_LABELLED = 6.5
"""Degrees that a wedge of the inner ring needs for each digit of its site's number."""

LIST_COLUMNS = 2

RING = 2.7
"""Inches of height of the ring and its labels."""

HIGHEST, LABEL_HEIGHT = 1.35, 0.29
"""In radii of the ring: where the labels end, and what the two lines of one take."""


def pie(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    title: str = "",
) -> Figure:
    """Draw the fractions of the four categories as a nested ring.

    The outer ring is the unweighted mean over sites; the inner ring divides each of its wedges by
    site, in the order in which they run, from light to dark. After the figure of Ribeiro and Schön
    (2021).

    Parameters
    ----------
    measurement : Measurement
        With at least one site.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    title : str
        Written above.

    Returns
    -------
    Figure
        Its wedges have gids such as ``outer/tangled`` and ``inner/tangled/layer1.0.conv1``.

    Raises
    ------
    AliascopeError
        If nothing was measured, or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> figure = pie(al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]))
    >>> len(figure.axes)
    1
    """
    colour = palette(colours)
    by_site = measurement.fractions(by="site", accounting=accounting)
    if by_site.empty:
        raise AliascopeError("The run has no measured site, so there is no ring to draw.")
    names = list(by_site.index)
    shares = by_site[list(RING_ORDER)].to_numpy().T / len(names)  # (category, site)

    rows = math.ceil(len(names) / LIST_COLUMNS)
    head = 0.2 if title else 0.0
    caption = (
        f"Outer ring: mean over {counted(len(names), 'site')} and {images(measurement, accounting)}"
        "; inner ring: what each site adds."
    )
    figure, foot = figure_with_caption(head + RING + LINE * rows + 0.1, caption)
    below = foot + LINE * rows + 0.1
    axes = add_axes(figure, 0.0, below, 0.0, head)
    outer = _ring(axes, shares.sum(axis=1), [colour[c] for c in RING_ORDER], radius=1.0)
    shades = [_shade(colour[c], i, len(names)) for c in RING_ORDER for i in range(len(names))]
    inner = _ring(axes, shares.ravel(), shades, radius=0.79)
    for wedge, category in zip(outer, RING_ORDER, strict=True):
        wedge.set_gid(f"outer/{category}")
    _write_outside(axes, outer)
    for k, wedge in enumerate(inner):
        category, site = RING_ORDER[k // len(names)], k % len(names)
        wedge.set_gid(f"inner/{category}/{names[site]}")
        number = str(site + 1)
        if wedge.theta2 - wedge.theta1 >= SMALLEST_LABELLED * (len(number) + 0.3):
            _write_inside(axes, wedge, number, shades[k])
    axes.set(
        xlim=(-HIGHEST * COLUMN / RING, HIGHEST * COLUMN / RING),
        ylim=(-HIGHEST, HIGHEST),
        aspect="equal",
    )
    axes.set_axis_off()
    _list_sites(figure, names, rows, foot)
    if title:
        height = float(figure.get_size_inches()[1])
        figure.text(MARGIN / COLUMN, 1 - 0.04 / height, title, va="top", fontsize=MEDIUM)
    return figure


def _ring(axes: Axes, shares: Any, colours: list[Any], radius: float) -> list[Any]:
    wedges = axes.pie(
        shares,
        radius=radius,
        colors=colours,
        normalize=True,
        wedgeprops={"width": radius - 0.79 if radius == 1 else 0.31, "edgecolor": "white"},
    )[0]
    for wedge in wedges:
        wedge.set_linewidth(min(0.8, 40 / len(wedges)))
    return list(wedges)


def _shade(colour: str, i: int, n: int) -> tuple[float, float, float]:
    """Mix with white: the first site lightest, the last nearly the full colour."""
    return mixed_with_white(colour, 0.12 + 0.73 * (i / (n - 1) if n > 1 else 1.0))


def _middle(wedge: Any) -> float:
    return math.radians((wedge.theta1 + wedge.theta2) / 2)


def _write_outside(axes: Axes, wedges: list[Any]) -> None:
    """Write each category beside its wedge, those of narrow neighbours one above the other."""
    for right in (True, False):
        side = [i for i, wedge in enumerate(wedges) if (math.cos(_middle(wedge)) >= 0) == right]
        side.sort(key=lambda i: math.sin(_middle(wedges[i])))
        heights = [_label_height(math.sin(_middle(wedges[i]))) for i in side]
        for k in range(1, len(side)):
            heights[k] = max(heights[k], heights[k - 1] + LABEL_HEIGHT)
        ceiling = HIGHEST - LABEL_HEIGHT / 2
        for k in reversed(range(len(side))):
            heights[k] = min(heights[k], ceiling)
            ceiling = heights[k] - LABEL_HEIGHT
        for i, y in zip(side, heights, strict=True):
            share = (wedges[i].theta2 - wedges[i].theta1) / 360
            nearest = max(abs(y) - LABEL_HEIGHT / 2, 0.0)
            x = math.sqrt(max(1.05**2 - nearest**2, abs(math.cos(_middle(wedges[i])) ** 2)))
            axes.text(
                x if right else -x,
                y,
                f"{LABELS[RING_ORDER[i]]}\n{100 * share:.1f} %",
                ha="left" if right else "right",
                va="center",
                fontsize=MEDIUM,
                linespacing=1.1,
            )


def _label_height(sine: float) -> float:
    """Where the middle of a label stands whose wedge points to that height of the unit circle."""
    away = LABEL_HEIGHT / 2 * min(max((abs(sine) - 0.35) / 0.4, 0.0), 1.0)
    return math.copysign(1.05 * abs(sine) + away, sine)


def _write_inside(
    axes: Axes, wedge: Any, text: str, background: tuple[float, float, float]
) -> None:
    angle = _middle(wedge)
    axes.text(
        0.64 * math.cos(angle),
        0.64 * math.sin(angle),
        text,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=ink_on(background),
    )


def _list_sites(figure: Figure, names: list[str], rows: int, foot: float) -> None:
    """Say below the ring which site each number is."""
    height = float(figure.get_size_inches()[1])
    digits = len(str(len(names)))
    width = COLUMN / LIST_COLUMNS - MARGIN
    beside = text_width("0" * digits + "  ")
    short = fitted(names, width - beside - MARGIN)
    for i, name in enumerate(short):
        column, row = divmod(i, rows)
        left = MARGIN + column * width
        y = (foot + LINE * (rows - row - 1) + 0.09) / height
        right_edge = (left + text_width("0" * digits)) / COLUMN
        figure.text(right_edge, y, str(i + 1), ha="right", fontsize=SMALL)
        figure.text((left + beside) / COLUMN, y, name, fontsize=SMALL)
