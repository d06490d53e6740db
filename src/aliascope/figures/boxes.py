"""Correctly and incorrectly classified images: their fractions side by side, and a test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from aliascope.categories import COLUMNS, LABELS
from aliascope.figures.layout import Page, Sheet, images, text_width
from aliascope.figures.shades import ink_on, mixed_with_white
from aliascope.palette import palette
from aliascope.runs.arrays import Array
from aliascope.runs.comparisons import FEWEST_TESTED, GROUPS, comparison, per_image
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

MARKS = {"correct": "✓", "incorrect": "✗"}
STRENGTH = {"correct": 0.5, "incorrect": 1.0}
"""Of the categories' colours: correctly classified images have the lighter boxes, as published."""

FEWEST_BOXED = 5
"""Images that a box needs; fewer are drawn as points with their median."""

MOST_POINTS = 40
"""Images up to which each is drawn; of more only those beyond the whiskers are."""

TICKS = (
    *(0.5, 0.1, 0.9, 0.01, 0.99, 0.2, 0.8, 0.001, 0.999, 0.05, 0.95, 0.3, 0.7, 0.02, 0.98),
    *(0.005, 0.995, 0.4, 0.6, 1e-4, 1e-5, 0.9999),
)
"""Where the logit axis may have a label, the more welcome first."""

ROW = 0.125
"""Inches from one line of the numbers below the boxes to the next."""


def boxes(
    measurement: Measurement,
    *,
    site: str | None = None,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw each category's fraction per image as box plots, correct beside incorrect.

    Boxes reach from the first to the third quartile, whiskers to the farthest image within 1.5
    times that range, and images beyond are drawn one by one; of a few images each is drawn. The
    axis is a logit. Below stand the medians and what :func:`comparison` says of them: nothing where
    a group has fewer than 3 images. After the box plots of Ribeiro and Schön (2021).

    Parameters
    ----------
    measurement : Measurement
        Of images with labels.
    site : str, optional
        One site; by default the unweighted mean over sites.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        Its boxes have gids such as ``box/tangled/correct``, their medians ``median/...``, images
        ``points/...``, and the numbers below ``number/tangled/p``; the caption, ``caption``.

    Raises
    ------
    AliascopeError
        If there are no labels, or a site or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=2), torch.nn.Flatten())
    >>> m = al.measure(model, [(torch.rand(9, 3, 8, 8), torch.arange(9))])
    >>> len(boxes(m).axes)
    1
    """
    colour, page = palette(colours), Page.of(**look)
    fractions = per_image(measurement, site, accounting)
    table = comparison(measurement, site=site, accounting=accounting)
    drawn = [group for group in GROUPS if (fractions["group"] == group).any()]
    values = fractions[COLUMNS].to_numpy()
    low, high = _ends(values)
    lines = _lines(table, drawn)
    left = 0.1 + max(page.tall(0.46), *(text_width(line[1], page.small) for line in lines))
    titles, head = _titles(page, (page.width - left - 0.06) / len(COLUMNS))
    below = page.tall(0.22 + ROW * len(lines))
    sheet = page.sheet(
        head + page.tall(1.62 if not page.wide else 2.2) + below,
        caption(
            table,
            measurement,
            site,
            accounting,
            off_the_axis=bool((values <= 0).any()),
            page=page,
        ),
    )
    axes = sheet.axes(left, below, 0.06, head)
    for i, name in enumerate(COLUMNS):
        for position, group in zip(_positions(i, len(drawn)), drawn, strict=True):
            of_group = fractions.loc[fractions["group"] == group, name].to_numpy()
            shade = mixed_with_white(colour[name], STRENGTH[group])
            _box(axes, of_group, position, shade, (low, high), f"{name}/{group}")
    _scale(axes, low, high)
    axes.set_xlim(-0.85, 10.85)
    axes.set_xticks(
        [position for i in range(4) for position in _positions(i, len(drawn))],
        [MARKS[group] for group in drawn] * 4,
        fontsize=page.medium if page.small == page.medium else 1.2 * page.medium,
    )
    axes.tick_params(axis="x", length=0)
    sheet.label(axes, y="bins of an image (%)")
    across = axes.get_xaxis_transform()
    for i, title in enumerate(titles):
        axes.annotate(
            title,
            (3 * i + 0.5, 1),
            xycoords=across,
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=page.medium,
            linespacing=1.0,
        )
    _write_numbers(sheet, axes, lines)
    return sheet.figure


def caption(
    table: pd.DataFrame,
    measurement: Measurement,
    site: str | None = None,
    accounting: str = "exact",
    *,
    off_the_axis: bool = False,
    page: Page | None = None,
) -> str:
    """Say what is compared, and how.

    Parameters
    ----------
    table : DataFrame
        From :func:`comparison`.
    measurement, site, accounting
        As for :func:`boxes`.
    off_the_axis : bool
        Whether there are fractions of 0, which have no logit.
    page : Page, optional
        That the site's name has to fit; by default one column.

    Returns
    -------
    str
    """
    correct, incorrect = (int(table[f"n_{group}"].iloc[0]) for group in GROUPS)
    where = f"At {(page or Page()).named(site)}" if site else "Mean over sites"
    conditions = images(measurement, accounting).split(", ", 1)[1:]
    text = ", ".join([where, *conditions]) + "; "
    if correct and incorrect:
        text += f"✓ {counted(correct, 'image')} classified correctly, ✗ {incorrect:,} incorrectly. "
        if min(correct, incorrect) < FEWEST_TESTED:
            text += f"No test: a group has fewer than {FEWEST_TESTED} images."
        else:
            text += (
                "p: two-sided Mann-Whitney U test, uncorrected; r: rank-biserial correlation, "
                "positive where ✗ has more."
            )
    else:
        n, how = (correct, "correctly") if correct else (incorrect, "incorrectly")
        which = "the only image is" if n == 1 else f"all {n:,} images are"
        text += f"{which} classified {how}, so there is nothing to compare."
    return text + (" Images at 0 are drawn at the lower edge." if off_the_axis else "")


def _titles(page: Page, room: float) -> tuple[list[str], float]:
    """Name the categories in so many inches each, and give the height that it takes."""
    titles = [LABELS[name] for name in COLUMNS]
    if max(text_width(title, page.medium) for title in titles) > 0.95 * room:
        titles = [title.replace("-", "-\n").replace(" ", "\n") for title in titles]
    lines = 1 + max(title.count("\n") for title in titles)
    return titles, 0.08 + 1.2 * page.medium / 72 * lines


def _positions(i: int, groups: int) -> list[float]:
    """Where the boxes of the i-th category stand."""
    return [3.0 * i, 3.0 * i + 1] if groups == 2 else [3 * i + 0.5]


def _ends(values: Array) -> tuple[float, float]:
    """Give 0 and 1, which have no logit, places half as near the ends as the nearest others."""
    inside = values[(values > 0) & (values < 1)]
    if not len(inside):
        return 0.005, 0.995
    low, high = float(inside.min()), float(inside.max())
    return (
        low / 2 if (values <= 0).any() else low,
        1 - (1 - high) / 2 if (values >= 1).any() else high,
    )


def _box(
    axes: Axes,
    values: Array,
    position: float,
    shade: tuple[float, float, float],
    ends: tuple[float, float],
    gid: str,
) -> None:
    """Draw one box, with statistics of the fractions themselves, not of their logits."""
    inside = np.clip(values, *ends)
    ink = {"color": "black", "linewidth": 0.6}
    if len(values) >= FEWEST_BOXED:
        found = boxplot_stats(values)[0]
        drawn = axes.bxp(
            [{key: np.clip(value, *ends) for key, value in found.items() if key != "label"}],
            positions=[position],
            widths=0.74,
            patch_artist=True,
            showfliers=len(values) > MOST_POINTS,
            boxprops={"facecolor": shade, "edgecolor": "black", "linewidth": 0.5},
            whiskerprops=ink,
            capprops=ink,
            medianprops={"color": ink_on(shade), "linewidth": 0.9},
            flierprops={
                "marker": "o",
                "markersize": 1.6,
                "markeredgewidth": 0.35,
                "markeredgecolor": mixed_with_white("#000000", 0.75),
                "markerfacecolor": shade,
                "rasterized": len(values) > 2000,
            },
            manage_ticks=False,
        )
        drawn["boxes"][0].set_gid(f"box/{gid}")
        drawn["medians"][0].set_gid(f"median/{gid}")
        for flier in drawn["fliers"]:
            flier.set_gid(f"points/{gid}")
    else:
        middle = float(np.clip(np.median(values), *ends))
        axes.plot(
            [position - 0.37, position + 0.37],
            [middle] * 2,
            color="black",
            lw=0.9,
            gid=f"median/{gid}",
        )
    if len(values) <= MOST_POINTS:
        # Spread by a golden section, so that neighbours in the table do not touch.
        spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.5
        axes.plot(
            position + spread,
            inside,
            "o",
            ms=1.9,
            mew=0.3,
            mec="black",
            mfc=shade,
            zorder=3,
            clip_on=False,
            gid=f"points/{gid}",
        )


def _logit(share: float) -> float:
    """Give the logarithm of the odds."""
    return math.log(share / (1 - share))


def _scale(axes: Axes, low: float, high: float) -> None:
    """Make the axis a logit, with labels in percent that keep clear of each other."""
    margin = max(0.06 * (_logit(high) - _logit(low)), 0.15)
    bottom, top = (
        1 / (1 + math.exp(-end)) for end in (_logit(low) - margin, _logit(high) + margin)
    )
    axes.set_yscale("logit")
    axes.set_ylim(bottom, top)
    apart = 0.075 * (_logit(top) - _logit(bottom))
    chosen: list[float] = []
    few = [tick for tick in TICKS if bottom <= tick <= top]
    if len(few) < 3:
        few = [float(tick) for tick in MaxNLocator(5).tick_values(bottom, top)]
        few = [tick for tick in few if bottom <= tick <= top]
    for tick in few:
        if all(abs(_logit(tick) - _logit(other)) >= apart for other in chosen):
            chosen.append(tick)
    axes.yaxis.set_major_locator(FixedLocator(sorted(chosen)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def _lines(table: pd.DataFrame, groups: list[str]) -> list[tuple[str, str, list[str]]]:
    """Write the numbers: of each line its key, its title, and one text a category."""
    lines = [
        (
            f"median_{group}",
            f"median {MARKS[group]}",
            [_percent(value) for value in table[f"median_{group}"]],
        )
        for group in groups
    ]
    if len(groups) == 2 and table["p"].notna().all():
        lines.append(("p", "p", [_p_value(value) for value in table["p"]]))
        effects = [f"{value:+.2f}".replace("-", "−") for value in table["rank_biserial"]]
        lines.append(("rank_biserial", "r", effects))
    return lines


def _write_numbers(sheet: Sheet, axes: Axes, lines: list[tuple[str, str, list[str]]]) -> None:
    """Write a line of numbers for each statistic, each number under its category."""
    width = sheet.page.width
    box = axes.get_position()
    for k, (key, title, texts) in enumerate(lines):
        y = sheet.page.tall(ROW * (len(lines) - k - 0.5) + 0.03)
        sheet.text(width * box.x0 - 0.04, y, title, ha="right", va="center")
        for i, (name, text) in enumerate(zip(COLUMNS, texts, strict=True)):
            x = width * (box.x0 + box.width * (3 * i + 0.5 + 0.85) / 11.7)
            sheet.text(x, y, text, ha="center", va="center", gid=f"number/{name}/{key}")


def _percent(fraction: float) -> str:
    """Write a fraction in percent, to three digits."""
    return f"{100 * fraction:.1f} %" if fraction >= 0.01 else f"{100 * fraction:.2g} %"


def _p_value(p: float) -> str:
    """Write a p value to two digits, tiny ones as a bound."""
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.2g}" if p < 0.995 else "1"
