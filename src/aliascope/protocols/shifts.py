"""Moving images: whole pixels and fractions, around the edge or inside a margin.

A move (dy, dx) is that of what is seen: positive moves it down and to the right. Every image of a
batch has its own, in units of 1/u pixel, so that a third of a pixel is exact.

Fractions come from ideal upsampling by u: zeros are put between the samples, an ideal low-pass
(the bin at the cut-off halved on either side) fills them, the gain makes up for them, the result
is rolled, and every u-th sample kept. Done bin by bin of the image's own spectrum this is a phase,
exp(-2πi·k·m/(u·N)) for |k| < N/2, and cos(π·m/u) for the bin at k = N/2, where both halves meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliascope.errors import AliascopeError

Moves = np.ndarray[Any, np.dtype[np.int64]]
"""Moves (dy, dx) of N images, (N, 2), in units of 1/u pixel."""


def roll_images(images: Tensor, moves: Moves, fraction: int = 1) -> Tensor:
    """Move each image around its edge: what leaves on one side comes in on the other.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Images of any floating dtype.
    moves : ndarray of int, shape (N, 2)
        Down and to the right, in units of 1/fraction pixel.
    fraction : int
        The u of 1/u pixel, 1 or more.

    Returns
    -------
    Tensor, shape (N, C, H, W)
        Of the images' dtype. Whole moves are exact; others may leave the images' range, as ideal
        interpolation does at edges, and nothing is clipped.

    Examples
    --------
    >>> row = torch.tensor([0.0, 1.0, 0.0, -1.0]).expand(1, 1, 4, 4)  # a tone of four samples
    >>> roll_images(row, np.array([[0, 1]]))[0, 0, 0].tolist()
    [-1.0, 0.0, 1.0, 0.0]
    >>> roll_images(row, np.array([[0, 1]]), 2)[0, 0, 0]  # half a sample later
    tensor([-0.7071,  0.7071,  0.7071, -0.7071])
    """
    if (moves % fraction == 0).all():
        return _rolled(images, moves // fraction)
    wide = images if images.dtype == torch.float64 else images.float()
    height, width = images.shape[-2:]
    spectrum = torch.fft.rfft2(wide)
    down = _phases(height, moves[:, 0], fraction)[:, None, :, None]
    right = _phases(width, moves[:, 1], fraction)[:, None, None, : width // 2 + 1]
    spectrum = spectrum * _like(down, spectrum) * _like(right, spectrum)
    return torch.fft.irfft2(spectrum, s=(height, width)).to(images.dtype)


def cut_images(frames: Tensor, moves: Moves, size: tuple[int, int], fraction: int = 1) -> Tensor:
    """Move what is seen through a window, which cuts each image from its larger frame.

    Real pixels come in at the edges. A fraction of a pixel is interpolated in the whole frame,
    continued as in a mirror, so that neither wraps around nor stops short.

    Parameters
    ----------
    frames : Tensor, shape (N, C, H, W)
        Larger than what is cut.
    moves : ndarray of int, shape (N, 2)
        As for :func:`roll_images`. (0, 0) is the window in the centre.
    size : (int, int)
        Height and width of the window.
    fraction : int
        The u of 1/u pixel.

    Returns
    -------
    Tensor, shape (N, C, *size)

    Raises
    ------
    AliascopeError
        If a window would leave its frame.

    Examples
    --------
    >>> frame = torch.arange(36.0).view(1, 1, 6, 6)
    >>> cut_images(frame, np.array([[0, 0]]), (2, 2))[0, 0].tolist()
    [[14.0, 15.0], [20.0, 21.0]]
    >>> cut_images(frame, np.array([[-1, 2]]), (2, 2))[0, 0].tolist()  # moved up, and right by two
    [[18.0, 19.0], [24.0, 25.0]]
    """
    whole = moves // fraction
    rest = moves - whole * fraction
    if rest.any():
        frames = _mirrored_shift(frames, rest, fraction)
    frame = (int(frames.shape[-2]), int(frames.shape[-1]))
    centre = np.array([(frame[axis] - size[axis]) // 2 for axis in (0, 1)])
    corners = centre - whole
    # A fraction of a pixel to the right needs one more real pixel on the left, which the window
    # one pixel to the left of this one has.
    outside = (corners - (rest > 0) < 0) | (corners + np.array(size) > np.array(frame))
    if outside.any():
        raise AliascopeError(
            f"Images of {frame[0]} × {frame[1]} pixels have no room to move a window of "
            f"{size[0]} × {size[1]} by {_most(moves, fraction)} pixels: give larger images or a "
            "smaller size."
        )
    windows = [
        image[:, top : top + size[0], left : left + size[1]]
        for image, (top, left) in zip(frames, corners.tolist(), strict=True)
    ]
    return torch.stack(windows)


def embed_images(images: Tensor, moves: Moves) -> Tensor:
    """Move each image, at half its size, on a black field of its own size.

    Azulay and Weiss (2019) embed small images on black; how small is ours: half of each side,
    reduced with antialiasing.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        With 0 for black.
    moves : ndarray of int, shape (N, 2)
        In whole pixels.

    Returns
    -------
    Tensor, shape (N, C, H, W)

    Raises
    ------
    AliascopeError
        If an image would leave its field.

    Examples
    --------
    >>> moved = embed_images(torch.ones(1, 1, 8, 8), np.array([[1, -1]]))[0, 0]
    >>> moved.nonzero().amin(dim=0).tolist(), int(moved.sum())
    ([3, 1], 16)
    """
    height, width = images.shape[-2:]
    size = (max(1, height // 2), max(1, width // 2))
    small = torch.nn.functional.interpolate(
        images.float(), size, mode="bilinear", antialias=True
    ).to(images.dtype)
    room = np.array([(height - size[0]) // 2, (width - size[1]) // 2])
    if (abs(moves) > room).any():
        raise AliascopeError(
            f"Images of {height} × {width} pixels are too small to move half of one by "
            f"{_most(moves, 1)} pixels on a black field: give larger images."
        )
    field = torch.zeros_like(images)
    for n, (top, left) in enumerate((room + moves).tolist()):
        field[n, :, top : top + size[0], left : left + size[1]] = small[n]
    return field


def _rolled(images: Tensor, moves: Moves) -> Tensor:
    if (moves == moves[:1]).all():
        return torch.roll(images, tuple(moves[0].tolist()), (-2, -1)) if len(moves) else images
    pairs = zip(images, moves.tolist(), strict=True)
    return torch.stack([torch.roll(image, tuple(move), (-2, -1)) for image, move in pairs])


def _mirrored_shift(frames: Tensor, moves: Moves, fraction: int) -> Tensor:
    """Shift by a fraction of a pixel what is continued as in a mirror."""
    height, width = frames.shape[-2:]
    tall = torch.cat([frames, frames.flip(-2)], dim=-2)
    doubled = torch.cat([tall, tall.flip(-1)], dim=-1)
    return roll_images(doubled, moves, fraction)[..., :height, :width]


def _phases(samples: int, moves: Moves, fraction: int) -> np.ndarray[Any, Any]:
    """Factor of each bin of an axis, for each image: (N, samples)."""
    bins = np.fft.fftfreq(samples, 1 / samples)
    angle = -2 * np.pi * bins[None] * moves[:, None] / (fraction * samples)
    factors = np.exp(1j * angle)
    if samples % 2 == 0:
        factors[:, samples // 2] = np.cos(np.pi * moves / fraction)
    return factors


def _like(factors: np.ndarray[Any, Any], spectrum: Tensor) -> Tensor:
    return torch.from_numpy(factors).to(device=spectrum.device, dtype=spectrum.dtype)


def _most(moves: Moves, fraction: int) -> str:
    return f"{np.abs(np.asarray(moves)).max() / fraction:g}"
