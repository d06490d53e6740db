"""Small pictures of large arrays, as data URLs: category maps, spectra, signals, photographs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image

from aliascope.categories import Category
from aliascope.runs.arrays import Array

LARGEST_MAP = 256
"""Bins a side up to which a category map is drawn bin by bin."""

LARGEST_SIDE = 128
"""Pixels a side of a drawn signal or spectrum."""

LARGEST_PHOTOGRAPH = 320
"""Pixels of the longer side of a photograph."""

GREYS = 64
SPECTRUM_COLOURS = 64
SPECTRUM_MAP = "magma"

DEEPEST_DB = 60.0
"""How far below its strongest frequency a spectrum is drawn."""


def category_picture(category: Array, colours: Sequence[str]) -> str:
    """Draw a category map, low frequencies centred, as an indexed PNG.

    Of a map larger than :data:`LARGEST_MAP` each pixel shows the most frequent category of a block.

    Parameters
    ----------
    category : ndarray of uint8, shape (M_h, M_w)
        Zero frequency first.
    colours : sequence of str
        Colour of each category, in the order of the numbering.

    Returns
    -------
    str
        Data URL.
    """
    centred = np.fft.fftshift(category)
    factor = shrinking(centred.shape, LARGEST_MAP)
    if factor > 1:
        votes = [reduced((centred == c).astype(np.int64), factor, np.add) for c in Category]
        centred = np.argmax(votes, axis=0).astype(np.uint8)
    palette = [round(255 * part) for colour in colours for part in to_rgb(colour)]
    return _indexed_png(centred, palette, bits=2)


def spectrum_picture(spectrum: Array) -> str:
    """Draw a spectrum's power in dB below its strongest frequency, zero frequency centred.

    Of a large spectrum each pixel shows the strongest frequency of a block.

    Parameters
    ----------
    spectrum : ndarray of complex, shape (L_h, L_w)
        Zero frequency first.

    Returns
    -------
    str
        Data URL.
    """
    power = np.fft.fftshift(np.abs(spectrum).astype(np.float64) ** 2)
    power = reduced(power, shrinking(power.shape, LARGEST_SIDE), np.maximum)
    strongest = power.max()
    if strongest > 0:
        floor = 10 ** (-DEEPEST_DB / 10)
        decibels = 10 * np.log10(np.maximum(power / strongest, floor))
    else:
        decibels = np.full(power.shape, -DEEPEST_DB)
    levels = np.rint((1 + decibels / DEEPEST_DB) * (SPECTRUM_COLOURS - 1)).astype(np.uint8)
    steps = colormaps[SPECTRUM_MAP](np.linspace(0, 1, SPECTRUM_COLOURS))[:, :3]
    return _indexed_png(levels, np.rint(255 * steps).astype(int).ravel().tolist(), bits=8)


def signal_picture(signal: Array) -> str:
    """Draw a signal from its smallest value, black, to its largest, white.

    Parameters
    ----------
    signal : ndarray of float, shape (H, W)
        Of a large one each pixel shows the mean of a block.

    Returns
    -------
    str
        Data URL.
    """
    factor = shrinking(signal.shape, LARGEST_SIDE)
    drawn = signal.astype(np.float64)
    if factor > 1:
        drawn = reduced(drawn, factor, np.add) / reduced(np.ones_like(drawn), factor, np.add)
    span = float(drawn.max() - drawn.min())
    levels = (drawn - drawn.min()) / span if span > 0 else np.full(drawn.shape, 0.5)
    greys = np.linspace(0, 255, GREYS).round().astype(int)
    indices = np.rint(levels * (GREYS - 1)).astype(np.uint8)
    return _indexed_png(indices, np.repeat(greys, 3).tolist(), bits=8)


def photograph(picture: Image.Image) -> str:
    """Write a picture as a JPEG that fits into :data:`LARGEST_PHOTOGRAPH`."""
    picture = picture.convert("RGB")
    picture.thumbnail((LARGEST_PHOTOGRAPH, LARGEST_PHOTOGRAPH))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return _data_url("jpeg", buffer.getvalue())


def pixels_picture(pixels: Array) -> Image.Image:
    """Turn pixels (C, H, W) in [0, 1], C of 1 or 3 or more, into a picture."""
    shown = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    levels = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)
    return Image.fromarray(levels.transpose(1, 2, 0))


def shrinking(size: Sequence[int], largest: int) -> int:
    """Tell how many values a side one drawn pixel stands for.

    Examples
    --------
    >>> shrinking((448, 224), 128), shrinking((100, 100), 128)
    (4, 1)
    """
    return max(1, -(-max(size) // largest))


def reduced(values: Array, factor: int, operation: np.ufunc) -> Array:
    """Combine blocks of ``factor`` × ``factor`` values; those at the end may be smaller."""
    if factor == 1:
        return values
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], factor)
        values = operation.reduceat(values, starts, axis=axis)
    return values


def _indexed_png(indices: Array, palette: list[int], bits: int) -> str:
    content = np.ascontiguousarray(indices, dtype=np.uint8)
    indexed = Image.frombytes("P", (content.shape[1], content.shape[0]), content.tobytes())
    indexed.putpalette(palette)
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG", bits=bits, optimize=False, compress_level=9)
    return _data_url("png", buffer.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
