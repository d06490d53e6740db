"""Correctly and incorrectly classified images: their fractions side by side, and a test."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.figures.palette import LABELS, palette
from aliascope.measurement import Measurement

GROUPS = ("correct", "incorrect")
SMALLEST_SHARE = 1e-4
"""Fractions of 0 and 1 have no logit; they are drawn this far from the ends."""


def boxes(
    measurement: Measurement,
    *,
    site: str | None = None,
    accounting: str = "exact",
    colours: str = "paper",
) -> Figure:
    """Draw each category's fraction per image as box plots, correct beside incorrect.

    Boxes reach from the first to the third quartile, whiskers to the farthest image within 1.5
    times that range, and images beyond are drawn one by one; the axis is a logit. After the box
    plots of Ribeiro and Schön (2021).

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

    Returns
    -------
    Figure
        Its boxes have gids such as ``box/tangled/correct``; the caption has the gid ``caption``.

    Raises
    ------
    AliascopeError
        If there are no labels.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=2), torch.nn.Flatten())
    >>> m = al.measure(model, [(torch.rand(9, 3, 8, 8), torch.arange(9))])
    >>> len(boxes(m).axes)
    1
    """
    fractions = per_image(measurement, site, accounting)
    colour = palette(colours)
    figure = Figure(figsize=(3.4, 2.5))
    axes = figure.add_axes((0.13, 0.27, 0.85, 0.62))
    for i, name in enumerate(COLUMNS):
        for j, group in enumerate(GROUPS):
            values = fractions.loc[fractions["group"] == group, name].to_numpy()
            if len(values):
                clipped = np.clip(values, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
                drawn = axes.boxplot(
                    [clipped],
                    positions=[3 * i + j],
                    widths=0.72,
                    patch_artist=True,
                    flierprops={"marker": "o", "markersize": 1.8, "markeredgewidth": 0.4},
                )
                _style(drawn, colour[name], filled=group == "incorrect", gid=f"box/{name}/{group}")
    axes.set_yscale("logit")
    axes.set_xlim(-0.8, 10.8)
    ticks = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    low, high = axes.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, [f"{100 * tick:g} %" for tick in shown])
    axes.minorticks_off()
    axes.set_xticks(
        [3 * i + j for i in range(4) for j in range(2)], ["✓", "✗"] * 4, family="DejaVu Sans"
    )
    axes.tick_params(labelsize=6.5, width=0.6)
    axes.tick_params(axis="x", labelsize=8)
    for i, name in enumerate(COLUMNS):
        axes.text(
            3 * i + 0.5,
            1.02,
            LABELS[name],
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=7.5,
        )
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    table = comparison(measurement, site=site, accounting=accounting)
    figure.text(0.02, 0.005, caption(table, site), fontsize=6, va="bottom", gid="caption")
    return figure


def comparison(
    measurement: Measurement, *, site: str | None = None, accounting: str = "exact"
) -> pd.DataFrame:
    """Compare correctly and incorrectly classified images, category by category.

    Parameters
    ----------
    measurement, site, accounting
        As for :func:`boxes`.

    Returns
    -------
    DataFrame
        One row per category: n_correct, n_incorrect, median_correct, median_incorrect (fractions),
        p (Mann-Whitney U, two-sided) and effect: the rank-biserial correlation, in [-1, 1],
        positive where correct images tend to have more. NaN where a group is empty.
    """
    fractions = per_image(measurement, site, accounting)
    rows = {}
    for name in COLUMNS:
        right, wrong = (
            fractions.loc[fractions["group"] == group, name].to_numpy() for group in GROUPS
        )
        p = effect = float("nan")
        if len(right) and len(wrong):
            test = stats.mannwhitneyu(right, wrong, alternative="two-sided")
            p = float(test.pvalue)
            effect = 2 * float(test.statistic) / (len(right) * len(wrong)) - 1
        medians = [
            float(np.median(group)) if len(group) else float("nan") for group in (right, wrong)
        ]
        rows[name] = (len(right), len(wrong), *medians, p, effect)
    columns = ["n_correct", "n_incorrect", "median_correct", "median_incorrect", "p", "effect"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "category"
    return table


def caption(table: pd.DataFrame, site: str | None) -> str:
    """Say the comparison in words."""
    first = table.iloc[0]
    where = f"site {site}" if site else "mean over sites"
    text = (
        f"{first['n_correct']:.0f} correct (✓), {first['n_incorrect']:.0f} incorrect (✗); {where}. "
    )
    if 0 in (first["n_correct"], first["n_incorrect"]):
        text += "One group is empty, so there is nothing to compare."
    else:
        text += "Medians, Mann-Whitney p, rank-biserial effect: " + "; ".join(
            f"{LABELS[str(name)]} {100 * row['median_correct']:.1f} / "
            f"{100 * row['median_incorrect']:.1f} %, p {row['p']:.2g}, {row['effect']:+.2f}"
            for name, row in table.iterrows()
        )
    return "\n".join(textwrap.wrap(text, 84))


def per_image(measurement: Measurement, site: str | None, accounting: str) -> pd.DataFrame:
    """Fractions of each labelled image, with its group, "correct" or "incorrect"."""
    if "top1" not in measurement.samples or measurement.samples["top1"].isna().all():
        raise AliascopeError(
            "The run has no labels, so images cannot be told into correct and incorrect; "
            "evaluate on class folders."
        )
    fractions = measurement.fractions(by="sample", accounting=accounting, site=site)
    known = measurement.samples.dropna(subset=["top1"]).set_index("sample")["top1"].astype(bool)
    fractions = fractions.loc[known.index]
    return fractions.assign(group=np.where(known, *GROUPS))


def _style(drawn: dict[str, Any], colour: str, *, filled: bool, gid: str) -> None:
    drawn["boxes"][0].set(
        facecolor=colour, alpha=1.0 if filled else 0.55, edgecolor="black", linewidth=0.5, gid=gid
    )
    for line in (*drawn["whiskers"], *drawn["caps"], *drawn["medians"]):
        line.set(color="black", linewidth=0.6)
    for flier in drawn["fliers"]:
        flier.set(markeredgecolor=colour, markerfacecolor="none")
