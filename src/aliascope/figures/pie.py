"""The nested ring: the model's fractions outside, what each site adds to them inside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from aliascope.errors import AliascopeError
from aliascope.figures.palette import LABELS, palette
from aliascope.measurement import Measurement

RING_ORDER = ("non_aliased", "aliased", "tangled", "no_pass")
"""Counter-clockwise from three o'clock, as published."""

SMALLEST_LABELLED = 5.5
"""Degrees a wedge of the inner ring needs to hold the number of its site."""

SITES_A_COLUMN = 18

RING_WIDTH, LIST_WIDTH = 5.0, 2.2
"""Inches of the ring, and of each column of the list beside it."""


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

    columns = math.ceil(len(names) / SITES_A_COLUMN)
    figure = Figure(figsize=(RING_WIDTH + LIST_WIDTH * columns, 4.6))
    ring_share = RING_WIDTH / (RING_WIDTH + LIST_WIDTH * columns)
    axes = figure.add_axes((0.0, 0.0, ring_share, 0.95))
    outer = _ring(axes, shares.sum(axis=1), [colour[c] for c in RING_ORDER], radius=1.0)
    shades = [_shade(colour[c], i, len(names)) for c in RING_ORDER for i in range(len(names))]
    inner = _ring(axes, shares.ravel(), shades, radius=0.79)
    for wedge, category in zip(outer, RING_ORDER, strict=True):
        wedge.set_gid(f"outer/{category}")
        share = (wedge.theta2 - wedge.theta1) / 360
        _write_outside(axes, wedge, f"{LABELS[category]}\n{100 * share:.1f} %")
    for k, wedge in enumerate(inner):
        category, site = RING_ORDER[k // len(names)], k % len(names)
        wedge.set_gid(f"inner/{category}/{names[site]}")
        if wedge.theta2 - wedge.theta1 >= SMALLEST_LABELLED:
            _write_inside(axes, wedge, str(site + 1), shades[k])
    axes.set(xlim=(-1.55, 1.55), ylim=(-1.4, 1.4), aspect="equal")
    axes.set_axis_off()
    _list_sites(figure, names, columns)
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=11)
    if accounting == "published":
        figure.text(0.02, 0.01, "published accounting", fontsize=8, color="0.35")
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
        wedge.set_linewidth(0.8)
    return list(wedges)


def _shade(colour: str, i: int, n: int) -> tuple[float, float, float]:
    """Mix with white: the first site lightest, the last nearly the full colour."""
    strength = 0.12 + 0.73 * (i / (n - 1) if n > 1 else 1.0)
    mixed = 1 - strength * (1 - np.array(to_rgb(colour)))
    return (float(mixed[0]), float(mixed[1]), float(mixed[2]))


def _middle(wedge: Any) -> float:
    return math.radians((wedge.theta1 + wedge.theta2) / 2)


def _write_outside(axes: Axes, wedge: Any, text: str) -> None:
    angle = _middle(wedge)
    x, y = math.cos(angle), math.sin(angle)
    side = "left" if x > 0.25 else "right" if x < -0.25 else "center"
    vertical = "bottom" if y > 0.5 else "top" if y < -0.5 else "center"
    axes.text(1.07 * x, 1.07 * y, text, ha=side, va=vertical, fontsize=11, linespacing=1.1)


def _write_inside(axes: Axes, wedge: Any, text: str, background: tuple[float, ...]) -> None:
    angle = _middle(wedge)
    dark = float(np.dot(background, (0.299, 0.587, 0.114))) < 0.5
    axes.text(
        0.64 * math.cos(angle),
        0.64 * math.sin(angle),
        text,
        ha="center",
        va="center",
        fontsize=8,
        color="white" if dark else "black",
    )


def _list_sites(figure: Figure, names: list[str], columns: int) -> None:
    """Say beside the ring which site each number is."""
    left = RING_WIDTH / (RING_WIDTH + LIST_WIDTH * columns)
    for column in range(columns):
        part = list(enumerate(names, start=1))[
            column * SITES_A_COLUMN : (column + 1) * SITES_A_COLUMN
        ]
        text = "\n".join(f"{i:>2}  {_shortened(name)}" for i, name in part)
        x = left + column * (1 - left) / columns
        figure.text(x, 0.5, text, va="center", fontsize=7.5, family="monospace", linespacing=1.35)


def _shortened(name: str, longest: int = 27) -> str:
    return name if len(name) <= longest else "…" + name[-longest + 1 :]
