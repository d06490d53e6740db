"""What the figures share: a paper's widths, text that can be read there, titles and captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator

from aliascope.categories import LABELS
from aliascope.errors import AliascopeError
from aliascope.palette import palette
from aliascope.runs.conditions import CLEAN
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted, drawing

if TYPE_CHECKING:
    from typing import Unpack

WIDTHS = {"one": 3.5, "two": 7.16}
"""Inches of one and of two columns of an IEEE journal's page (21 and 43 picas), the widths that its
instructions for graphics ask for."""

COLUMN = WIDTHS["one"]

SMALL, MEDIUM = 6.5, 7.5
"""Points of ticks, names and captions, and of labels and legends, unless a size is asked for."""

SMALLEST, LARGEST = 5.0, 12.0
"""Points that may be asked for: below they cannot be read, beyond they do not fit one column."""

LINE = 0.109
"""Inches from one line of small text to the next."""

MARGIN = 0.06
"""Inches left free on either side of a caption."""

LONGEST_NAME = 0.62
"""Share of the width that a site's name may take in a caption."""

FRONTS = (0.5, 0.7, 0.3, 0.9, 0.1)
"""Where long names may have their gap, the more welcome first."""

THIN = 0.6
"""Points of frames and ticks."""

LEGEND = {"handlelength": 1.4, "handletextpad": 0.45, "columnspacing": 1.2}
"""In font sizes: of a sample of what is named, from it to its name, and to the next."""


class Look(TypedDict, total=False):
    """How a figure is laid out; keyword options of every figure.

    Attributes
    ----------
    width : {"one", "two"}
        Columns of a paper that it fills: 3.5 or 7.16 inches. Default one.
    font_size : float
        Points of all text, from 5 to 12. By default labels have 7.5, and ticks, names and the
        caption 6.5.
    title : str
        Written above; by default nothing.
    caption : bool
        Whether what is drawn is said below; by default it is.
    """

    width: str
    font_size: float | None
    title: str
    caption: bool


@dataclass(frozen=True)
class Page:
    """The width that a figure is laid out for, and the sizes of its text.

    Attributes
    ----------
    width : float
        Inches.
    small, medium : float
        Points of ticks, names and captions, and of labels and legends.
    title : str
        Written above.
    captioned : bool
        Whether there is a caption.
    """

    width: float = COLUMN
    small: float = SMALL
    medium: float = MEDIUM
    title: str = ""
    captioned: bool = True

    @classmethod
    def of(cls, **look: Unpack[Look]) -> Page:
        """Make a page by the options of a figure.

        Raises
        ------
        AliascopeError
            If there is no such width, or the text would be too small or too large.

        Examples
        --------
        >>> Page.of(width="two", font_size=8).width
        7.16
        >>> Page.of(font_size=3)
        Traceback (most recent call last):
        aliascope.errors.AliascopeError: font_size is 3, but it must be from 5 to 12 points.
        """
        width, size = look.get("width", "one"), look.get("font_size")
        if width not in WIDTHS:
            raise AliascopeError(f"width is {width!r}, but it must be one of {tuple(WIDTHS)}.")
        if size is not None and not SMALLEST <= size <= LARGEST:
            raise AliascopeError(
                f"font_size is {size:g}, but it must be from {SMALLEST:g} to {LARGEST:g} points."
            )
        return cls(
            WIDTHS[width],
            size or SMALL,
            size or MEDIUM,
            look.get("title", ""),
            look.get("caption", True),
        )

    @property
    def wide(self) -> bool:
        """Whether there is room for things beside each other."""
        return self.width > COLUMN

    def tall(self, inches: float) -> float:
        """Scale what text of the usual size takes to text of this page's size.

        Examples
        --------
        >>> Page(small=13).tall(0.1)
        0.2
        """
        return inches * self.small / SMALL

    @property
    def line(self) -> float:
        """Inches from one line of small text to the next."""
        return self.tall(LINE)

    def label(self, words: str, length: float) -> tuple[str, float]:
        r"""Break an axis' label where it is longer than so many inches.

        Returns
        -------
        str, float
            The label, and the inches that its lines take.

        Examples
        --------
        >>> Page().label("aliased energy (%)", 0.8)[0]
        'aliased energy\n(%)'
        """
        lines = wrapped(words, length, self.medium)
        return "\n".join(lines), len(lines) * 1.2 * self.medium / 72

    def named(self, site: str) -> str:
        """Shorten a site's name for a caption.

        Examples
        --------
        >>> Page().named("layer1.0.conv1")
        'layer1.0.conv1'
        """
        return shortened(site, LONGEST_NAME * self.width, size=self.small)

    def ticks(self, length: float, most: int = 9) -> MaxNLocator:
        """Choose round ticks whose labels have room on an axis that is so many inches long.

        Examples
        --------
        >>> Page().ticks(1.0).tick_values(0, 100).tolist()
        [0.0, 50.0, 100.0]
        """
        room = int(length / (1.5 * text_width("−0.00", self.small)))
        return MaxNLocator(max(1, min(room, most)), steps=[1, 2, 2.5, 5, 10])

    def legend_rows(self, *groups: Sequence[Artist]) -> list[list[Artist]]:
        """Share handles out over rows that are no wider than the page, each group on its own.

        Examples
        --------
        >>> handles = [Patch(label="a rather long name of something") for _ in range(4)]
        >>> [len(row) for row in Page().legend_rows(handles)]
        [1, 1, 1, 1]
        >>> [len(row) for row in Page(width=7.16).legend_rows(handles)]
        [2, 2]
        """
        rows: list[list[Artist]] = []
        for group in groups:
            for count in range(1, len(group) + 1):
                size = math.ceil(len(group) / count)
                parts = [list(group[k : k + size]) for k in range(0, len(group), size)]
                if all(self._legend_width(part) <= self.width for part in parts):
                    break
            rows += parts if group else []
        return rows

    def _legend_width(self, handles: Sequence[Artist]) -> float:
        texts = sum(text_width(str(each.get_label()), self.medium) for each in handles)
        each = LEGEND["handlelength"] + LEGEND["handletextpad"]
        spaces = each * len(handles) + LEGEND["columnspacing"] * (len(handles) - 1) + 0.4
        return texts + spaces * self.medium / 72

    def legend_height(self, rows: Sequence[object]) -> float:
        """Inches that so many rows of a legend take."""
        return 0.155 * self.medium / MEDIUM * len(rows) + (0.05 if rows else 0.0)

    def sheet(self, height: float, caption: str = "") -> Sheet:
        """Begin a figure that is so many inches high between its title and its caption.

        Examples
        --------
        >>> Page(width=7.16).sheet(2.0).figure.get_size_inches().tolist()
        [7.16, 2.0]
        """
        return Sheet(self, height, caption)


class Sheet:
    """A figure with its title above and its caption below; in between, places are in inches.

    Parameters
    ----------
    page : Page
        Width and text.
    height : float
        Inches between title and caption.
    caption : str
        Wrapped to the page's width; gid ``caption`` (of the title: ``title``).

    Examples
    --------
    >>> sheet = Sheet(Page(title="A network"), 2.0, "two words " * 10)
    >>> sheet.figure.get_size_inches().tolist() == [COLUMN, sheet.head + 2.0 + sheet.foot]
    True
    """

    def __init__(self, page: Page, height: float, caption: str = "") -> None:
        self.page, self.height = page, height
        room = 0.99 * (page.width - 2 * MARGIN)  # hinting at some resolutions widens letters
        lines = wrapped(caption, room, page.small) if page.captioned else []
        above = wrapped(page.title, room, page.medium)
        self.foot = 0.07 + page.line * len(lines) if lines else 0.0
        self.head = 0.05 + 1.2 * page.medium / 72 * len(above) if above else 0.0
        total = self.head + height + self.foot
        self.figure = Figure(figsize=(page.width, total))
        if lines:
            self.text(
                MARGIN,
                0.02 - self.foot,
                "\n".join(lines),
                va="bottom",
                linespacing=1.2,
                color="0.2",
                gid="caption",
            )
        if above:
            top = height + self.head - 0.03
            words = "\n".join(above)
            self.text(MARGIN, top, words, fontsize=page.medium, va="top", gid="title")

    def text(self, x: float, y: float, words: str, **settings: Any) -> Text:
        """Write small text, so many inches from the left and above the caption."""
        across, up = self._share(x, y)
        return self.figure.text(across, up, words, **{"fontsize": self.page.small, **settings})

    def patch(
        self, x: float, y: float, width: float, height: float, colour: str, *, gid: str
    ) -> None:
        """Fill a rectangle, so many inches from the left and above the caption."""
        (left, bottom), (right, top) = self._share(x, y), self._share(x + width, y + height)
        corner = (left, bottom)
        filled = Rectangle(corner, right - left, top - bottom, color=colour, lw=0, gid=gid)
        filled.set_transform(self.figure.transFigure)
        self.figure.add_artist(filled)

    def _share(self, x: float, y: float) -> tuple[float, float]:
        """Turn inches from the left and above the caption into shares of the figure."""
        width, height = (float(size) for size in self.figure.get_size_inches())
        return x / width, (y + self.foot) / height

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        """Add axes that leave these margins, in inches.

        Examples
        --------
        >>> place = Sheet(Page(), 2).axes(0.35, 0.5, 0.7, 0.5).get_position().bounds
        >>> [round(float(share), 2) for share in place]
        [0.1, 0.25, 0.7, 0.5]
        """
        x, y = self._share(left, bottom)
        right_x, right_y = self._share(self.page.width - right, self.height - top)
        axes = self.figure.add_axes((x, y, right_x - x, right_y - y))
        pad = self.page.tall(2)
        axes.tick_params(labelsize=self.page.small, width=THIN, length=2.5, pad=pad)
        axes.tick_params(which="minor", width=0.8 * THIN, length=1.5)
        for spine in axes.spines.values():
            spine.set_linewidth(THIN)
        return axes

    def label(self, axes: Axes, x: str = "", y: str = "", **settings: Any) -> None:
        """Label the axes."""
        look: dict[str, Any] = {"fontsize": self.page.medium, "labelpad": 1.5, "linespacing": 1.05}
        if x:
            axes.set_xlabel(x, **look, **settings)
        if y:
            axes.set_ylabel(y, **look, **settings)

    def legend(self, rows: Sequence[Sequence[Artist]]) -> None:
        """Name what is drawn, below the title."""
        total = float(self.figure.get_size_inches()[1])
        for place, handles in enumerate(rows):
            down = self.head + self.page.legend_height([None] * place) - (0.05 if place else 0.0)
            self.figure.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, 1 - down / total),
                ncols=len(handles),
                fontsize=self.page.medium,
                frameon=False,
                handleheight=0.8,
                borderaxespad=0.0,
                borderpad=0.2,
                **LEGEND,
            )


def category_handles(order: Sequence[str], colours: str) -> list[Artist]:
    """Make samples of the categories' colours, for a legend.

    Examples
    --------
    >>> [handle.get_label() for handle in category_handles(["aliased", "tangled"], "paper")]
    ['aliased', 'tangled']
    """
    colour = palette(colours)
    return [Patch(color=colour[name], label=LABELS[name]) for name in order]


def frequency_edges(length: int) -> tuple[float, float]:
    """Outer edges of the first and last of so many centred bins, in cycles per sample.

    Examples
    --------
    >>> frequency_edges(2), frequency_edges(5)
    ((-0.75, 0.25), (-0.5, 0.5))
    """
    return (-(length // 2) - 0.5) / length, (length - length // 2 - 0.5) / length


def frequency_ticks(page: Page, length: float) -> tuple[list[float], list[str]]:
    """Ticks of an axis of frequency that is so many inches long, in cycles a sample.

    Examples
    --------
    >>> frequency_ticks(Page(), 3.0)[1], frequency_ticks(Page(), 1.0)[1]
    (['−0.5', '−0.25', '0', '0.25', '0.5'], ['−0.5', '0', '0.5'])
    """
    names = ["−0.5", "−0.25", "0", "0.25", "0.5"]
    every = 1 if length > 6 * text_width(names[1], page.small) else 2
    return [-0.5, -0.25, 0.0, 0.25, 0.5][::every], names[::every]


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
    words += filter(None, [drawing(measurement)])
    if accounting == "published":
        words.append("published accounting")
    return ", ".join(words)


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


def wrapped(text: str, width: float, size: float = SMALL) -> list[str]:
    """Break text of so many points into lines of at most so many inches, between words.

    Examples
    --------
    >>> wrapped("mean over 10 images", 0.6)
    ['mean over', '10 images']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shortened(name: str, width: float, front: float = 0.5, size: float = SMALL) -> str:
    """Leave out the middle of a name that is wider than so many inches.

    Parameters
    ----------
    name : str
        Such as a site's.
    width : float
        Inches.
    front : float
        Share of what is kept that stands before the gap.
    size : float
        Points.

    Returns
    -------
    str

    Examples
    --------
    >>> shortened("encoder.stages.3.downsample", 1.0)
    'encoder.…ownsample'
    """
    kept, short = len(name), name
    while text_width(short, size) > width and kept > 2:
        kept -= 1
        first = round(front * kept)
        short = name[:first] + "…" + name[len(name) - (kept - first) :]
    return short


def fitted(names: Sequence[str], width: float, size: float = SMALL) -> list[str]:
    """Shorten names of so many points to so many inches, but keep what tells them apart.

    Where one is too wide, the modules that all have in front are left out of all.

    Examples
    --------
    >>> fitted(["net.body.0", "net.body.1"], 2.0), fitted(["net.body.0", "net.body.1"], 0.4)
    (['net.body.0', 'net.body.1'], ['…0', '…1'])
    """
    if all(text_width(name, size) <= width for name in names):
        return list(names)
    paths = [name.split(".") for name in names]
    front = 0
    while all(len(path) > front + 1 and path[front] == paths[0][front] for path in paths):
        front += 1
    if front and len(names) > 1:
        names = ["…" + ".".join(path[front:]) for path in paths]
    tried = [[shortened(name, width, front, size) for name in names] for front in FRONTS]
    return max(tried, key=lambda short: len(set(short)))
