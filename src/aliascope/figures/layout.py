"""What the figures share: one column's width, text that can be read there, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.textpath import TextToPath

from aliascope.categories import LABELS
from aliascope.palette import palette
from aliascope.runs.conditions import CLEAN
from aliascope.runs.measurement import Measurement

COLUMN = 3.4
"""Inches of one column of a two-column paper; every figure is so wide."""

SMALL, MEDIUM = 6.5, 7.5
"""Points of ticks and captions, and of labels; nothing is printed smaller than 6."""

LINE = 0.109
"""Inches from one line of small text to the next."""

MARGIN = 0.06
"""Inches left free on either side of a caption."""

LONGEST_NAME = 2.2
"""Inches that a site's name may take in a caption."""

FRONTS = (0.5, 0.7, 0.3, 0.9, 0.1)
"""Where long names may have their gap, the more welcome first."""

THIN = 0.6
"""Points of frames and ticks."""


def figure_with_caption(height: float, caption: str) -> tuple[Figure, float]:
    """Make an empty figure one column wide, with a caption at its foot.

    Parameters
    ----------
    height : float
        Inches above the caption.
    caption : str
        Wrapped to the column; gid ``caption``.

    Returns
    -------
    Figure, float
        The figure, and the inches that the caption takes.

    Examples
    --------
    >>> figure, foot = figure_with_caption(2.0, "two words " * 10)
    >>> figure.get_size_inches().tolist() == [COLUMN, 2.0 + foot]
    True
    """
    lines = wrapped(caption, COLUMN - 2 * MARGIN)
    foot = 0.07 + LINE * len(lines)
    figure = Figure(figsize=(COLUMN, height + foot))
    figure.text(
        MARGIN / COLUMN,
        0.02 / (height + foot),
        "\n".join(lines),
        fontsize=SMALL,
        va="bottom",
        linespacing=1.2,
        color="0.2",
        gid="caption",
    )
    return figure, foot


def add_axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Add axes that leave these margins, in inches.

    Examples
    --------
    >>> add_axes(Figure(figsize=(4, 2)), 1, 0.5, 1, 0.5).get_position().bounds
    (...0.25..., ...0.25..., ...0.5..., ...0.5...)
    """
    width, height = (float(size) for size in figure.get_size_inches())
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - bottom - top) / height,
        )
    )
    axes.tick_params(labelsize=SMALL, width=THIN, length=2.5, pad=2)
    axes.tick_params(which="minor", width=0.8 * THIN, length=1.5)
    for spine in axes.spines.values():
        spine.set_linewidth(THIN)
    return axes


def add_legend(figure: Figure, order: tuple[str, ...], colours: str) -> None:
    """Name the colours of the categories in one row at the figure's head, which takes 0.2 inch."""
    colour = palette(colours)
    figure.legend(
        handles=[Patch(color=colour[name], label=LABELS[name]) for name in order],
        loc="upper center",
        ncols=len(order),
        fontsize=MEDIUM,
        frameon=False,
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.45,
        columnspacing=1.4,
        borderaxespad=0.0,
        borderpad=0.2,
    )


def images(
    measurement: Measurement, accounting: str = "exact", *, number: int | None = None
) -> str:
    """Say how many images were measured and, where it matters, under which conditions.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> images(al.measure(torch.nn.AvgPool2d(2), [torch.rand(2, 3, 16, 16)]), "published")
    '2 images, published accounting'
    """
    words = [counted(len(measurement.samples) if number is None else number, "image")]
    eps = measurement.condition.get("eps")
    if eps is not None:
        words.append(f"attacked with ε = {eps:g}" if eps else "not attacked")
    elif measurement.condition != CLEAN:
        words.append(measurement.condition.name)
    if accounting == "published":
        words.append("published accounting")
    return ", ".join(words)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> counted(1, "image"), counted(50000, "image")
    ('1 image', '50,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = SMALL) -> float:
    """Measure a line of text of so many points, in inches.

    Examples
    --------
    >>> text_width("site") < text_width("sites") < text_width("sites", 8)
    True
    """
    width = TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return float(width) / 72


def wrapped(text: str, width: float) -> list[str]:
    """Break small text into lines of at most so many inches, between words.

    Examples
    --------
    >>> wrapped("mean over 10 images", 0.6)
    ['mean over', '10 images']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shortened(name: str, width: float, front: float = 0.5) -> str:
    """Leave out the middle of a name that is wider than so many inches of small text.

    Parameters
    ----------
    name : str
        Such as a site's.
    width : float
        Inches.
    front : float
        Share of what is kept that stands before the gap.

    Returns
    -------
    str

    Examples
    --------
    >>> shortened("encoder.stages.3.downsample", 1.0)
    'encoder.…ownsample'
    """
    kept, short = len(name), name
    while text_width(short) > width and kept > 2:
        kept -= 1
        first = round(front * kept)
        short = name[:first] + "…" + name[len(name) - (kept - first) :]
    return short


def fitted(names: Sequence[str], width: float) -> list[str]:
    """Shorten names to so many inches of small text, but keep what tells them apart.

    Where one is too wide, the modules that all have in front are left out of all.

    Examples
    --------
    >>> fitted(["net.body.0", "net.body.1"], 2.0), fitted(["net.body.0", "net.body.1"], 0.4)
    (['net.body.0', 'net.body.1'], ['…0', '…1'])
    """
    if all(text_width(name) <= width for name in names):
        return list(names)
    paths = [name.split(".") for name in names]
    front = 0
    while all(len(path) > front + 1 and path[front] == paths[0][front] for path in paths):
        front += 1
    if front and len(names) > 1:
        names = ["…" + ".".join(path[front:]) for path in paths]
    tried = [[shortened(name, width, front) for name in names] for front in FRONTS]
    return max(tried, key=lambda short: len(set(short)))


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
