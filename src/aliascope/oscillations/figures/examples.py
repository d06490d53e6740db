"""Oscillations, and what is left of them after dropping every second sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aliascope.figures.layout import COLUMN, SMALL, Page

FREQUENCY = (0.3, 0.35)
"""Half-cycles a pixel, across and down, of the slowest of the four examples."""

PHASE = (0.9, 2.1)
"""Radians, of the same."""

SIDE = 0.98
"""Inches a side of an image of 32 × 32."""

Array = np.ndarray[Any, Any]


def examples(size: int = 32) -> list[tuple[tuple[float, float], Array]]:
    """Make four images that cannot be told apart after dropping every second sample.

    Half-cycles a pixel f and 1 - f fold onto the same frequency at rate 2; with the phase
    negated, onto the same signal. So do the four combinations across and down.

    Parameters
    ----------
    size : int
        Side in pixels.

    Returns
    -------
    list of ((float, float), ndarray)
        Frequencies across and down, and the image, float32, ``(size, size)``, in [-1, 1].

    Examples
    --------
    >>> (_, first), *others = examples()
    >>> [float(abs(first - other)[::2, ::2].max()) < 1e-5 for _, other in others]
    [True, True, True]
    >>> [float(abs(first - other).max()) > 1 for _, other in others]
    [True, True, True]
    """
    from aliascope.oscillations.images import oscillation

    made = []
    for fast_down in (False, True):
        for fast_across in (False, True):
            turned = [
                (1 - frequency, -phase) if fast else (frequency, phase)
                for frequency, phase, fast in zip(
                    FREQUENCY, PHASE, (fast_across, fast_down), strict=True
                )
            ]
            frequencies = (turned[0][0], turned[1][0])
            image = oscillation(frequencies, (turned[0][1], turned[1][1]), size)
            made.append((frequencies, image.numpy()))
    return made


def oscillations() -> Figure:
    """Draw four oscillations, and beside each what dropping every second sample makes of it.

    Returns
    -------
    Figure
        Images of gid ``image/k`` and ``decimated/k``, k from 1 to 4.

    Examples
    --------
    >>> len(oscillations().axes)
    8
    """
    caption = (
        "Four oscillations, and beside each what is left after dropping every second sample: "
        "four times the same. Frequencies in half-cycles a pixel, across and down."
    )
    height = 2 * (SIDE + 0.3)
    sheet = Page().sheet(height, caption)
    figure, foot, total = sheet.figure, sheet.foot, height + sheet.foot
    for k, (frequencies, image) in enumerate(examples()):
        left = 0.06 + (k % 2) * (COLUMN / 2)
        bottom = foot + 0.08 + (1 - k // 2) * (SIDE + 0.3)
        across, down = frequencies
        _draw(figure, image, left, bottom, SIDE, total, f"image/{k + 1}")
        beside = bottom + SIDE / 4
        _draw(
            figure,
            image[::2, ::2],
            left + SIDE + 0.1,
            beside,
            SIDE / 2,
            total,
            f"decimated/{k + 1}",
        )
        figure.text(
            left / COLUMN,
            (bottom + SIDE + 0.03) / total,
            f"$f_x$ = {across:g}, $f_y$ = {down:g}",
            fontsize=SMALL,
            va="bottom",
        )
        figure.text(
            (left + SIDE + 0.1 + SIDE / 4) / COLUMN,
            (beside + SIDE / 2 + 0.03) / total,
            "every 2nd",
            fontsize=SMALL,
            va="bottom",
            ha="center",
            color="0.3",
        )
    return figure


def bare(image: Array) -> Figure:
    """Draw one image with nothing around it."""
    figure = Figure(figsize=(SIDE, SIDE))
    _draw(figure, image, 0, 0, SIDE, SIDE, "image", width=SIDE)
    return figure


def _draw(
    figure: Figure,
    image: Array,
    left: float,
    bottom: float,
    side: float,
    height: float,
    gid: str,
    width: float = COLUMN,
) -> None:
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest", gid=gid)
    axes.set_axis_off()
