"""Shift consistency: a map over shifts, and a curve over their distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aliascope.errors import AliascopeError
from aliascope.figures.layout import THIN, Page
from aliascope.runs.consistency import Consistency
from aliascope.runs.shown import between, counted, percent

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

SIDE = 1.2
"""Inches of the map's side."""

HEAD = 0.12
"""Inches above the panels."""

BAND = "0.84"
"""Grey of the interval, as of edges elsewhere: the categories' colours mean categories."""

SHADES: Colormap = LinearSegmentedColormap.from_list("agreeing", ["#1a1a1a", "#dedede"])
"""From few images that agree to all of them."""

NOT_SHIFTED = "#9cc3ea"
"""Where no image was shifted to."""


def shift(consistency: Consistency, *, kind: str | None = None, **look: Unpack[Look]) -> Figure:
    """Draw the share of images that agree: by shift, and over the distance of the shift.

    Parameters
    ----------
    consistency : Consistency
        Of at least one image.
    kind : str, optional
        Kind of shift; the first by default.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        In percent. Left an image ``map`` over pixels to the right and down, right the line
        ``consistency``, the area ``interval`` and the line ``mean``, over the larger of both.

    Raises
    ------
    AliascopeError
        If there is no such kind, or nothing was shifted.

    Examples
    --------
    >>> row = {"sample": [0], "dy": [1], "dx": [0], "agree": [1], "change": [0.0]}
    >>> drawn = shift(Consistency(pd.DataFrame(row)))
    >>> [axes.get_xlabel() for axes in drawn.axes[::2]]
    ['right (pixels)', 'distance (pixels)']
    """
    if not len(consistency.rows):
        raise AliascopeError("Nothing was shifted, so there is no consistency to draw.")
    shifts, curve = consistency.map(kind), consistency.by_distance(kind)
    row = consistency.table().loc[[kind or consistency.kinds[0]]].iloc[0]
    shown = min(1.0, float(np.nanmin(shifts["consistency"])))
    lowest = 100 * min(0.95, np.floor(20 * shown) / 20)
    page = Page.of(**look)
    side, left, bar = page.tall(1.9 if page.wide else SIDE), page.tall(0.46), 0.07
    scale = 0.05 + bar + page.tall(0.27)
    words, thick = page.label("images that agree (%)", side)
    at = left + side + scale + page.tall(0.29) + thick
    stacked = page.width - at - 0.1 < page.tall(0.8)
    if stacked:  # large text in one column leaves the curve no room beside the map
        side, at = page.width - left - scale - 0.06, page.tall(0.29) + thick
    across, deep = page.label("distance (pixels)", page.width - at - 0.1)
    foot = page.tall(0.19) + deep
    over = page.tall(1.2) + foot if stacked else 0.0
    sheet = page.sheet(
        HEAD + side + foot + (over + HEAD if stacked else 0.0), _caption(consistency, row)
    )
    below = foot + (over + HEAD if stacked else 0.0)
    where = sheet.axes(left, below, page.width - left - side, HEAD)
    picture = _draw_map(where, shifts, lowest, every=1 if side > page.tall(1.5) else 2)
    sheet.label(where, "right (pixels)", "down (pixels)")
    beside = left + side + 0.05
    cax = sheet.axes(beside, below, page.width - beside - bar, HEAD)
    scale_bar = sheet.figure.colorbar(picture, cax=cax)
    scale_bar.outline.set_linewidth(THIN)
    cax.tick_params(labelsize=page.small, width=THIN, length=2, pad=1.5)
    curve_axes = sheet.axes(at, foot, 0.1, sheet.height - over if stacked else HEAD)
    _draw_curve(curve_axes, curve, row)
    sheet.label(curve_axes, across, words)
    return sheet.figure


def _draw_map(axes: Axes, shifts: pd.DataFrame, lowest: float, *, every: int) -> Any:
    """Paint each shift's share of images; the image as it is lies in the middle."""
    steps = np.unique(np.abs(shifts[["dy", "dx"]].to_numpy()))
    gaps = np.diff(np.unique(np.concatenate([[0.0], steps])))
    step = float(gaps[gaps > 1e-6].min()) if (gaps > 1e-6).any() else 1.0
    reach = max(1, round(float(steps.max()) / step))
    grid = np.full((2 * reach + 1, 2 * reach + 1), np.nan)
    rows, columns = (np.rint(shifts[a] / step).astype(int) + reach for a in ("dy", "dx"))
    grid[rows, columns] = 100 * shifts["consistency"]
    end = (reach + 0.5) * step
    colours = SHADES.with_extremes(bad=NOT_SHIFTED)
    picture = axes.imshow(
        np.ma.masked_invalid(grid),
        cmap=colours,
        vmin=lowest,
        vmax=100,
        extent=(-end, end, end, -end),
        interpolation="nearest",
        gid="map",
    )
    axes.plot(0, 0, "+", ms=4, mew=0.8, color="black")
    ticks = _ticks(reach * step)[::every]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    return picture


def _draw_curve(axes: Axes, curve: pd.DataFrame, row: pd.Series[float]) -> None:
    distance = curve.index.to_numpy(dtype=float)
    value, low, high = (100 * curve[f"consistency{end}"] for end in ("", "_low", "_high"))
    if len(curve) > 1:
        axes.fill_between(distance, low, high, color=BAND, lw=0, gid="interval")
    else:
        axes.vlines(distance, low, high, color=BAND, lw=4, gid="interval")
    axes.axhline(100 * row["consistency"], color="0.45", lw=0.8, ls=(0, (3, 2)), gid="mean")
    axes.plot(distance, value, "-o", ms=2.2, lw=0.9, color="black", gid="consistency")
    lowest = np.nanmin([value.min(), low.min()])
    axes.set_ylim(max(0.0, 5 * np.floor((lowest - 1) / 5)), 100.5)
    axes.set_xlim(0, 1.05 * max(1.0, distance.max()))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _ticks(reach: float) -> list[float]:
    half = reach / 2 if reach < 2 else float(int(reach / 2))
    return [-2 * half, -half, 0, half, 2 * half]


def _caption(consistency: Consistency, row: pd.Series[float]) -> str:
    protocol = consistency.description.get("protocol") or {}
    what = "pixels" if consistency.dense else "images"
    words = f"Share of {what} of which the same is said after a shift: by shift, and over the "
    words += f"larger of both axes, of {counted(int(row['images']), 'image')}"
    if protocol:
        words += f" (protocol {protocol['name']}, {protocol['mode']}; {protocol['shifts']}"
        drawn = protocol["drawn"]
        words += ")" if drawn == "not drawn" else f", drawn {drawn})"
    for under in consistency.description.get("under") or ():
        words += f", under {under}"
    ends = [between(row[f"{name}_low"], row[f"{name}_high"]) for name in ("consistency", "worst")]
    words += (
        f". Dashed: the mean, {percent(row['consistency'])} % ({ends[0]}); under the worst of its "
        f"shifts {percent(row['worst'])} % ({ends[1]}). Band: 95 % intervals over images. Pale "
        "blue: no shift of that kind."
    )
    return words
