"""Accuracy of the oscillation networks over their size, one panel per noise level."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from aliascope.figures.layout import COLUMN, MEDIUM, Page, Sheet
from aliascope.runs.shown import counted

LOOKS: dict[str, dict[str, Any]] = {
    "fc-1h": {"color": "#1f77b4", "ls": ":", "marker": "d"},
    "fc-2h": {"color": "#ff7f0e", "ls": ":", "marker": "^"},
    "resnet-c": {"color": "#2ca02c", "ls": "-", "marker": "o"},
    "resnet-w": {"color": "#d62728", "ls": "-", "marker": "x"},
    "resnet-d": {"color": "#9467bd", "ls": "--", "marker": "*"},
}
"""Of each family, as published."""

TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)

PANEL = 1.02
"""Inches of a panel's height."""

LEFT = 0.46
"""Inches left of the panels."""

FAINT = 0.4


def oscillation_accuracy(results: pd.DataFrame) -> Figure:
    """Draw accuracy (logit) over parameters (log), a panel per noise level, a line per family.

    Published accuracies stand behind as faint marks, where the runs are of the published grid.
    After the figure of Ribeiro and Schön (2021).

    Parameters
    ----------
    results : DataFrame
        Of :func:`aliascope.oscillations.results.results_of`.

    Returns
    -------
    Figure
        With lines of gid ``FAMILY/A`` and ``published/FAMILY/A`` (fractions over parameters), and
        of several seeds bars ``seeds/FAMILY/A`` from the lowest to the highest.
    """
    from aliascope.oscillations.networks import FAMILIES, NETWORKS
    from aliascope.oscillations.results import (
        beside_published,
        is_published_grid,
        published_accuracies,
    )

    table = beside_published(results)
    families = {network.name: network.families for network in NETWORKS}
    comparable = is_published_grid(results)
    published = published_accuracies()
    least = 1 / float(2 * results["validation_images"].iloc[0])  # of a logit, 0 and 1 are infinite
    shown = pd.concat([table["lowest"], table["highest"]]).clip(least, 1 - least)
    noises = sorted(results["noise"].unique())
    rows = -(-len(noises) // 2)
    sheet = Page().sheet(0.44 + rows * (PANEL + 0.2), _caption(table, comparable))
    parameters = pd.concat([table["parameters"], published["parameters"]])
    for k, noise in enumerate(noises):
        axes = _panel(sheet, k, rows, (parameters.min(), parameters.max()))
        axes.set_title(f"$A$ = {noise:g}", fontsize=MEDIUM, pad=2)
        for family in FAMILIES:
            here = table[(table["noise"] == noise)]
            here = here[[family in families[name] for name in here["network"]]]
            here = here.sort_values("parameters")
            known = published[(published["family"] == family) & (published["noise"] == noise)]
            if comparable and len(known):
                axes.plot(
                    known["parameters"],
                    known["accuracy"].clip(least, 1 - least),
                    gid=f"published/{family}/{noise:g}",
                    **{**LOOKS[family], "ls": "", "alpha": FAINT},
                    ms=5.5,
                    markerfacecolor="none",
                    mew=0.7,
                )
            if len(here):
                _line(axes, here, family, noise, least)
        axes.set_ylim(min(0.001, shown.min()) * 0.8, 1 - (1 - max(0.999, shown.max())) * 0.8)
        if k >= len(noises) - 2:
            axes.set_xlabel("parameters", fontsize=MEDIUM, labelpad=1)
        else:
            axes.xaxis.set_major_formatter(NullFormatter())
        if k % 2 == 0:
            axes.set_ylabel("accuracy", fontsize=MEDIUM, labelpad=1)
        else:
            axes.yaxis.set_major_formatter(NullFormatter())
    sheet.legend(sheet.page.legend_rows(_samples()))
    return sheet.figure


def _panel(sheet: Sheet, k: int, rows: int, parameters: tuple[float, float]) -> Axes:
    width = (COLUMN - LEFT - 0.08 - 0.1) / 2
    left = LEFT + (k % 2) * (width + 0.1)
    bottom = 0.32 + (rows - 1 - k // 2) * (PANEL + 0.2)
    axes = sheet.axes(left, bottom, COLUMN - left - width, sheet.height - bottom - PANEL)
    axes.set_xscale("log")
    axes.set_yscale("logit")
    axes.set_xlim(parameters[0] * 0.8, parameters[1] * 1.25)
    axes.xaxis.set_major_locator(LogLocator(numticks=10))
    axes.xaxis.set_minor_locator(LogLocator(subs=[float(k) for k in range(2, 10)], numticks=100))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.grid(which="both", lw=0.4, color="0.88")
    axes.set_axisbelow(True)
    return axes


def _line(axes: Axes, here: pd.DataFrame, family: str, noise: float, least: float) -> None:
    lowest, middle, highest = (
        here[name].clip(least, 1 - least) for name in ("lowest", "accuracy", "highest")
    )
    axes.plot(here["parameters"], middle, gid=f"{family}/{noise:g}", ms=3.2, lw=1, **LOOKS[family])
    if (here["runs"] > 1).any():
        axes.vlines(
            here["parameters"],
            lowest,
            highest,
            color=LOOKS[family]["color"],
            lw=0.8,
            gid=f"seeds/{family}/{noise:g}",
        )


def _samples() -> list[Line2D]:
    """Make samples of the families' lines."""
    return [Line2D([], [], label=family, ms=3.2, lw=1, **look) for family, look in LOOKS.items()]


def _caption(table: pd.DataFrame, comparable: bool) -> str:
    said = f"Best epoch's validation accuracy of {counted(int(table['runs'].sum()), 'run')}"
    if (table["runs"] > 1).any():
        said += "; mean over seeds, bars from the lowest to the highest"
    return said + ("; large faint marks: as published." if comparable else ".")
