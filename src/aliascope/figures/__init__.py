"""Figures, most of a measurement, one file each; every function returns a matplotlib Figure.

Each is one column wide (3.4 inches), with text that can be read at that size.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from aliascope.errors import AliascopeError
from aliascope.figures.ablation import ablation
from aliascope.figures.adversarial import adversarial
from aliascope.figures.bars import channels, sites
from aliascope.figures.boxes import boxes
from aliascope.figures.colorbar import colorbar
from aliascope.figures.comparison import comparison
from aliascope.figures.dose import dose
from aliascope.figures.energy import energy
from aliascope.figures.pie import pie
from aliascope.figures.pixels import pixels
from aliascope.figures.shift import shift
from aliascope.figures.spectrum import spectrum
from aliascope.figures.thresholds import thresholds
from aliascope.figures.tracking import tracking
from aliascope.files import replacing, writing

__all__ = [
    "ablation",
    "adversarial",
    "boxes",
    "channels",
    "colorbar",
    "comparison",
    "dose",
    "energy",
    "pie",
    "pixels",
    "save",
    "save_table",
    "shift",
    "sites",
    "spectrum",
    "thresholds",
    "tracking",
]

FOR_PAPERS: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "aliascope"}
"""TrueType in PDF, since publishers refuse Type 3 fonts; text in SVG stays text, and can be
searched and edited; the same figure is the same file."""

UNDATED: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""A file that says when it was made differs each time."""

FORMATS = (".png", ".svg", ".pdf")

ELSEWHERE = "name another place with -o"


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 300) -> Path:
    """Save a figure, whole or not at all, as PNG, SVG or PDF by its ending.

    Parameters
    ----------
    figure : Figure
        Any matplotlib figure.
    path : path
        File to write; its folder is made where missing.
    dpi : int
        Dots per inch of a PNG.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    AliascopeError
        If the ending is another, or the file cannot be written.

    Examples
    --------
    >>> save(Figure(), "figure.bmp")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: figure.bmp ends in .bmp, but figures are written as .png, ...
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise AliascopeError(
            f"{path} ends in {path.suffix or 'nothing'}, but figures are written as "
            f"{', '.join(FORMATS)}; name it so."
        )
    kind = path.suffix[1:].lower()
    with writing(path, ELSEWHERE), replacing(path) as draft, rc_context(FOR_PAPERS):
        figure.savefig(draft, dpi=dpi, facecolor="white", format=kind, metadata=UNDATED.get(kind))
    return path


def save_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Save the table behind a figure as CSV, whole or not at all.

    Parameters
    ----------
    table : DataFrame
        With its index.
    path : path
        File to write; its folder is made where missing.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    AliascopeError
        If the file cannot be written.

    Examples
    --------
    >>> save_table(pd.DataFrame(), "/proc/table.csv")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: /proc/table.csv cannot be written ...
    """
    path = Path(path)
    with writing(path, ELSEWHERE), replacing(path) as draft:
        table.to_csv(draft)
    return path
