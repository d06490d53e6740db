"""Shades of the palettes' colours that can be seen on white, and text that can be read on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

PALEST = 1.3
"""Least contrast with white, as WCAG 2 defines it (1 to 21), of what is filled with a colour."""

DARKER = 0.9
"""Share of a pale colour's brightness that its darkest shade has."""


def contrast(colour: Any) -> float:
    """Contrast of a colour with white, from 1 to 21, as WCAG 2 defines it.

    Examples
    --------
    >>> contrast("white"), round(contrast("black")), round(contrast("#d5d52a"), 2)
    (1.0, 21, 1.57)
    """
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in to_rgb(colour)]
    return 1.05 / (float(np.dot(parts, (0.2126, 0.7152, 0.0722))) + 0.05)


def shade(colour: str, place: float) -> tuple[float, float, float]:
    """Shade a colour from the palest that can be seen on white (0) to nearly the full colour (1).

    A colour that is pale itself has little room up to there; it goes on to a darker one.

    Examples
    --------
    >>> [round(contrast(shade("#d5d52a", place)), 2) for place in (0.0, 1.0)]
    [1.3, 1.95]
    >>> [round(contrast(shade("#ff0000", place)), 2) for place in (0.0, 1.0)]
    [1.3, 3.78]
    """
    steps = (k / 100 for k in range(12, 101))
    palest = next((k for k in steps if contrast(mixed_with_white(colour, k)) >= PALEST), 1.0)
    if contrast(mixed_with_white(colour, 0.85)) > 1.3 * PALEST:
        return mixed_with_white(colour, palest + place * (0.85 - palest))
    darkened = [DARKER * part for part in to_rgb(colour)]
    ends = zip(mixed_with_white(colour, palest), darkened, strict=True)
    red, green, blue = (pale + place * (dark - pale) for pale, dark in ends)
    return (red, green, blue)


def mixed_with_white(colour: str, strength: float) -> tuple[float, float, float]:
    """Mix a colour with white; strength 1 leaves it as it is.

    Examples
    --------
    >>> mixed_with_white("#ff0000", 0.5)
    (1.0, 0.5, 0.5)
    """
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return (red, green, blue)


def ink_on(background: str | tuple[float, float, float]) -> str:
    """Choose white or black to write on a colour.

    Examples
    --------
    >>> ink_on("#333333"), ink_on("#d5d52a")
    ('white', 'black')
    """
    return "white" if float(np.dot(to_rgb(background), (0.299, 0.587, 0.114))) < 0.5 else "black"
