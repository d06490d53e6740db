"""Figures of a measurement, one file each; every function returns a matplotlib Figure."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from aliascope.errors import AliascopeError
from aliascope.figures.adversarial import adversarial
from aliascope.figures.bars import channels, sites
from aliascope.figures.boxes import boxes
from aliascope.figures.colorbar import colorbar
from aliascope.figures.pie import pie
from aliascope.figures.pixels import pixels
from aliascope.figures.spectrum import spectrum

__all__ = [
    "adversarial",
    "boxes",
    "channels",
    "colorbar",
    "pie",
    "pixels",
    "save",
    "sites",
    "spectrum",
]

FORMATS = (".png", ".svg", ".pdf")


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 200) -> Path:
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
    draft = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(draft, dpi=dpi, bbox_inches="tight", facecolor="white")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise AliascopeError(
            f"{path} cannot be written ({error.strerror}); name another place with -o."
        ) from error
    return path
