"""Accuracy and aliasing over the size of an adversarial disturbance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter
from matplotlib.transforms import ScaledTranslation

from aliascope.figures.layout import THIN, Page
from aliascope.palette import palette
from aliascope.runs.accuracy import ACCURACIES
from aliascope.runs.comparisons import over_epsilon
from aliascope.runs.measurement import Measurement
from aliascope.runs.shown import counted, drawing

if TYPE_CHECKING:
    from typing import Unpack

    from aliascope.figures.layout import Look

ZERO = 0.8
"""Decades from epsilon 0 to the smallest positive one, across the break of the axis."""

LOOKS: dict[str, dict[str, Any]] = {
    "top1": {"label": "top-1", "color": "black", "marker": "s"},
    "top5": {"label": "top-5", "color": "0.5", "marker": "o"},
}
"""Black and grey, for the categories' colours mean categories."""

BESIDE = {"top1": -1.6, "top5": 1.6}
"""Points by which each stands beside its epsilon, so that their intervals can be told apart."""


def adversarial(
    measurement: Measurement,
    *,
    accounting: str = "exact",
    colours: str = "paper",
    **look: Unpack[Look],
) -> Figure:
    """Draw top-1 and top-5 accuracy, and the fraction of bins that alias, over epsilon.

    Aliasing is aliased plus tangled, averaged over sites: its median over images, and the band from
    the 1st to the 99th percentile. After the figure of Ribeiro and Schön (2021).

    Parameters
    ----------
    measurement : Measurement
        Of an attacked run with at least two epsilons.
    accounting : {"exact", "published"}
        See :meth:`Measurement.fractions`.
    colours : {"paper", "colour-blind"}
        Palette.
    **look
        Width, size of text, title, caption: :class:`aliascope.figures.layout.Look`.

    Returns
    -------
    Figure
        With lines of gid ``top1``, ``top5`` and ``aliasing`` and the area ``band``, in percent over
        epsilon; epsilon 0 stands left of a break of the axis.

    Raises
    ------
    AliascopeError
        If the run has fewer than two epsilons, or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> adversarial(al.measure(torch.nn.AvgPool2d(2), [torch.rand(1, 3, 8, 8)]))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: The run was not attacked, ...
    """
    red, page = palette(colours)["tangled"], Page.of(**look)
    table = over_epsilon(measurement, accounting=accounting)
    head = page.legend_height(page.legend_rows(_samples(table, red)))
    side, high = page.tall(0.45), page.tall(1.65 if not page.wide else 2.2)
    words, below = page.label("largest change ε of a pixel in [0, 1]", page.width - 2 * side)
    below += page.tall(0.22)
    sheet = page.sheet(head + high + below, _caption(measurement, table, accounting))
    figure, axes = sheet.figure, sheet.axes(side, below, side, head)
    eps = table.index.to_numpy()
    axes.fill_between(
        eps,
        100 * table["low"],
        100 * table["high"],
        color=red,
        alpha=0.25,
        lw=0,
        gid="band",
    )
    axes.plot(
        eps, 100 * table["aliasing"], color=red, lw=1.2, label="aliased + tangled", gid="aliasing"
    )
    for name, mark in LOOKS.items():
        if table[name].notna().any():
            beside = axes.transData + ScaledTranslation(
                BESIDE[name] / 72, 0, figure.dpi_scale_trans
            )
            axes.plot(eps, 100 * table[name], lw=1.1, ms=3, gid=name, transform=beside, **mark)
            axes.vlines(
                eps,
                100 * table[f"{name}_low"],
                100 * table[f"{name}_high"],
                color=mark["color"],
                lw=0.6,
                transform=beside,
                gid=f"interval/{name}",
            )
    axes.set_ylim(-2, 102)
    _scale(axes, eps, page.medium)
    sheet.label(axes, words, "accuracy (%)")
    right = axes.secondary_yaxis("right")
    right.tick_params(
        labelsize=page.small, width=THIN, length=2.5, pad=2, labelcolor=red, color=red
    )
    right.set_ylabel("aliased + tangled (%)", fontsize=page.medium, color=red, labelpad=1.5)
    lines = {str(line.get_gid()): line for line in axes.lines}
    there = [lines[name] for name in (*ACCURACIES, "aliasing") if name in lines]
    sheet.legend(page.legend_rows(there))
    return figure


def _samples(table: pd.DataFrame, red: str) -> list[Line2D]:
    """Make samples of what is drawn."""
    there = [Line2D([], [], **LOOKS[name]) for name in LOOKS if table[name].notna().any()]
    return [*there, Line2D([], [], color=red, label="aliased + tangled")]


def _caption(measurement: Measurement, table: pd.DataFrame, accounting: str) -> str:
    n = table["n"].astype(int)
    some = counted(n.max(), "image") if n.nunique() == 1 else f"{n.min():,} to {n.max():,} images"
    options = measurement.run.get("options") or {}
    attack = options.get("attack")
    by = f", {str(attack).upper() if attack in ('pgd', 'fgsm') else attack}" if attack else ""
    if attack == "pgd" and options.get("attack_steps"):
        by += f" with {options['attack_steps']} steps"
    if drawn := drawing(measurement):
        by += f", {drawn}"
    bars = "; bars: 95 % intervals" if table[list(ACCURACIES)].notna().any(axis=None) else ""
    caption = (
        f"{some}{by}{bars}. Aliasing, mean over sites: median over images, and band from the 1st "
        "to the 99th percentile"
    )
    return f"{caption}; published accounting." if accounting == "published" else f"{caption}."


def _scale(axes: Axes, eps: np.ndarray[Any, Any], size: float) -> None:
    """Scale epsilon logarithmically; where there is a zero, break the axis to show it."""
    smallest, largest = float(eps[eps > 0].min()), float(eps.max())
    decades = np.log10(largest / smallest)
    margin = 0.05 * (decades + ZERO)
    shown = range(int(np.floor(np.log10(smallest))) - 1, int(np.ceil(np.log10(largest))) + 1)
    powers = [10.0**k for k in shown]
    minor = [k * power for power in powers for k in range(2, 10)]
    left, right = smallest * 10**-margin, largest * 10**margin
    if eps.min() == 0:
        # Linear up to the smallest epsilon and logarithmic beyond: its stretch is the break.
        axes.set_xscale("symlog", linthresh=smallest, linscale=ZERO * 0.9)
        axes.set_xlim(-smallest * margin / ZERO, right)
        left = smallest * 0.999
        _break(axes, 0.45 * smallest, size)
    else:
        axes.set_xscale("log")
        axes.set_xlim(left, right)
    ticks = [power for power in powers if left <= power <= right]
    if len(ticks) < 2:  # less than two decades
        ticks = [float(value) for value in eps if value > 0]
    axes.xaxis.set_major_locator(FixedLocator([*([0.0] if eps.min() == 0 else []), *ticks]))
    axes.xaxis.set_minor_locator(FixedLocator([tick for tick in minor if left <= tick <= right]))
    axes.xaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _power_of_ten(value: float, _: Any) -> str:
    """Write 0 as it is, powers of ten as such, other values in short."""
    if value == 0:
        return "0"
    exponent = np.log10(value)
    if abs(exponent - round(exponent)) < 1e-6:
        return f"$10^{{{round(exponent)}}}$"
    return f"{value:g}"


def _break(axes: Axes, where: float, size: float) -> None:
    """Draw the two strokes that say that the axis is interrupted, below."""
    axes.text(
        where,
        0.0,
        "//",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="center",
        fontsize=size,
        bbox={"boxstyle": "square,pad=-0.12", "facecolor": "white", "edgecolor": "none"},
        gid="break",
    )
