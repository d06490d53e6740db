"""The nested ring: the model's fractions outside, what each site adds to them inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aliascope.categories import COLUMNS, LABELS
from aliascope.errors import AliascopeError
from aliascope.figures.layout import MARGIN, Page, Sheet, fitted, images, text_width
from aliascope.figures.shades import ink_on, shade
from aliascope.palette import RING_ORDER, palette
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

INNER, BETWEEN, OUTER = 0.48, 0.79, 1.0
"""Radii of the rings."""

LARGEST_RADIUS = 1.0
"""Inches of the outer ring's radius where labels leave it so much."""

AWAY = 1.05
"""Radii from the middle to the labels."""

HIGHEST = 1.35
"""Radii from the middle to where the labels end, above and below."""

APART = 0.08
"""Inches between columns of percentages."""

TABLE = 3.35
"""Inches of the table beside the ring of a wide figure."""


def pie(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw the fractions of the four categories as a nested ring, and list those of each site.

    The outer ring is the unweighted mean over sites; the inner ring divides each of its wedges by
    site, in the order in which they run, from light to dark. Slices with room have their site's
    number; the percentages of all are in the table, below or in a wide figure beside. After the
    figure of Ribeiro and Schön (2021).

    Parameters
    ----------
    measurement : Measurement
        With at least one site.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        Its wedges have gids such as ``outer/tangled`` and ``inner/tangled/layer1.0.conv1``, lines
        from labels to wedges that they stand off ``leader/tangled``.

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
    colour, page = palette(colours), Page.of(**look)
    by_site = measurement.fractions(by="site", accounting=accounting)
    if by_site.empty:
        raise AliascopeError("The run has no measured site, so there is no ring to draw.")
    names = [str(name) for name in by_site.index]
    shares = by_site[list(RING_ORDER)].to_numpy().T / len(names)  # (category, site)
    caption = (
        f"Outer ring: mean over {counted(len(names), 'site')} and {images(measurement, accounting)}"
        "; inner ring: what each site adds, from the first (light) to the last (dark). Table: "
        "percent of each site's bins."
    )
    room = page.width - TABLE if page.wide else page.width
    widest = max(text_width(LABELS[name], page.medium) for name in RING_ORDER)
    radius = min(
        LARGEST_RADIUS * (1.15 if page.wide else 1), (room / 2 - 1.03 * widest - 0.04) / AWAY
    )
    ring, table = 2 * HIGHEST * radius, page.line * (len(names) + 2)
    height = max(ring, table + 0.1) if page.wide else ring + table + 0.1
    sheet = page.sheet(height, caption)
    axes = sheet.axes(0.0, height - ring, page.width - room, 0.0)
    axes.set_axis_off()
    outer = _ring(axes, shares.sum(axis=1), [colour[c] for c in RING_ORDER], (BETWEEN, OUTER))
    places = [k / max(1, len(names) - 1) if len(names) > 1 else 1.0 for k in range(len(names))]
    shades = [shade(colour[category], place) for category in RING_ORDER for place in places]
    inner = _ring(axes, shares.ravel(), shades, (INNER, BETWEEN))
    # Afterwards, since drawing a pie sets limits of its own.
    axes.set(xlim=(-room / 2 / radius, room / 2 / radius), ylim=(-HIGHEST, HIGHEST))
    axes.set(aspect="equal")
    for wedge, category in zip(outer, RING_ORDER, strict=True):
        wedge.set_gid(f"outer/{category}")
    _write_outside(axes, outer, page, radius)
    for k, wedge in enumerate(inner):
        category, site = RING_ORDER[k // len(names)], k % len(names)
        wedge.set_gid(f"inner/{category}/{names[site]}")
        _write_inside(axes, wedge, str(site + 1), ink_on(shades[k]), page, radius)
    left, top = (room, (height + table) / 2) if page.wide else (0.0, table)
    _list_sites(sheet, by_site, left, top - page.line + 0.02, colour)
    return sheet.figure


def _ring(axes: Axes, shares: Any, colours: list[Any], radii: tuple[float, float]) -> list[Any]:
    wedges = axes.pie(
        shares,
        radius=radii[1],
        colors=colours,
        normalize=True,
        wedgeprops={"width": radii[1] - radii[0], "edgecolor": "white"},
    )[0]
    for wedge in wedges:
        # A white edge parts slices; around one that is thinner it would hide it.
        degrees = wedge.theta2 - wedge.theta1
        wedge.set_linewidth(min(0.8, 40 / len(wedges), 0.35 * degrees))
    return list(wedges)


def _middle(wedge: Any) -> float:
    return math.radians((wedge.theta1 + wedge.theta2) / 2)


def _write_outside(axes: Axes, wedges: list[Any], page: Page, radius: float) -> None:
    """Write each category beside its wedge, those of narrow neighbours one above the other."""
    label = 2 * 1.15 * page.medium / 72 / radius + 0.03
    for right in (True, False):
        side = [i for i, wedge in enumerate(wedges) if (math.cos(_middle(wedge)) >= 0) == right]
        side.sort(key=lambda i: math.sin(_middle(wedges[i])))
        heights = [_label_height(math.sin(_middle(wedges[i])), label) for i in side]
        for k in range(1, len(side)):
            heights[k] = max(heights[k], heights[k - 1] + label)
        ceiling = HIGHEST - label / 2
        for k in reversed(range(len(side))):
            heights[k] = min(heights[k], ceiling)
            ceiling = heights[k] - label
        for i, y in zip(side, heights, strict=True):
            nearest = max(abs(y) - label / 2, 0.0)
            x = math.sqrt(max(AWAY**2 - nearest**2, math.cos(_middle(wedges[i])) ** 2))
            share = (wedges[i].theta2 - wedges[i].theta1) / 360
            axes.text(
                x if right else -x,
                y,
                f"{LABELS[RING_ORDER[i]]}\n{100 * share:.1f} %",
                ha="left" if right else "right",
                va="center",
                fontsize=page.medium,
                linespacing=1.1,
            )
            _lead(axes, wedges[i], (x if right else -x, y), RING_ORDER[i])


def _lead(axes: Axes, wedge: Any, label: tuple[float, float], category: str) -> None:
    """Draw a line from a wedge to its label where that does not stand beside it."""
    angle = math.degrees(math.atan2(label[1], label[0])) % 360
    low, high = wedge.theta1 % 360, wedge.theta1 % 360 + wedge.theta2 - wedge.theta1
    if low <= angle <= high or low <= angle + 360 <= high or wedge.theta1 == wedge.theta2:
        return
    x, y = math.cos(_middle(wedge)), math.sin(_middle(wedge))
    near = 0.985 * label[0]
    axes.plot(
        [x, 1.03 * x, near],
        [y, 1.03 * y, label[1]],
        color="0.35",
        lw=0.5,
        clip_on=False,
        gid=f"leader/{category}",
    )


def _label_height(sine: float, label: float) -> float:
    """Where the middle of a label stands whose wedge points to that height of the unit circle."""
    away = label / 2 * min(max((abs(sine) - 0.35) / 0.4, 0.0), 1.0)
    return math.copysign(AWAY * abs(sine) + away, sine)


def _write_inside(axes: Axes, wedge: Any, number: str, ink: str, page: Page, radius: float) -> None:
    """Write a site's number into its slice, where it has room."""
    angle, middle = _middle(wedge), (INNER + BETWEEN) / 2
    # The chord that the slice leaves across the number's own direction, at its inner corners.
    half = math.radians(wedge.theta2 - wedge.theta1) / 2
    width = text_width(number, page.small) + 0.02
    height = 0.8 * page.small / 72
    across = width * abs(math.sin(angle)) + height * abs(math.cos(angle))
    along = width * abs(math.cos(angle)) + height * abs(math.sin(angle))
    inside = middle * radius - along / 2
    if along > (BETWEEN - INNER) * radius or across > 2 * inside * math.tan(min(half, 1.5)):
        return
    axes.text(
        middle * math.cos(angle),
        middle * math.sin(angle),
        number,
        ha="center",
        va="center_baseline",
        fontsize=page.small,
        color=ink,
    )


def _list_sites(
    sheet: Sheet, table: pd.DataFrame, left: float, top: float, colour: dict[str, str]
) -> None:
    """Say which site each number is, with the percentages of its categories."""
    page = sheet.page
    digits = text_width("0" * len(str(len(table))), page.small)
    column, right = text_width("100.0", page.small) + APART, page.width - MARGIN
    begin = left + MARGIN + digits + page.tall(0.07)
    first = right - column * len(COLUMNS)
    names = [str(name) for name in table.index]
    short = fitted(names, first - begin - page.tall(0.1), page.small)
    for k, name in enumerate(COLUMNS):
        x = right - column * (len(COLUMNS) - 1 - k)
        side = 0.6 * page.small / 72
        sheet.patch(x - side, top, side, side, colour[name], gid=f"key/{name}")
    for i, name in enumerate(short):
        y = top - page.line * (i + 1)
        sheet.text(left + MARGIN + digits, y, str(i + 1), ha="right")
        sheet.text(begin, y, name, gid="site")
        for k, share in enumerate(table.iloc[i][COLUMNS]):
            x = right - column * (len(COLUMNS) - 1 - k)
            sheet.text(x, y, f"{100 * share:.1f}", ha="right")
