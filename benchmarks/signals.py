"""Signals of which it is known how much lies beyond the new Nyquist rate.

A map is cut out of a signal that goes on beyond its border. The signal has two components: a *slow*
one, all of whose frequencies are below the new Nyquist rate 1 / 2r on every axis, and a *fast* one,
all of whose frequencies are above it on at least one. In each map the two are scaled so that, of
their energies about their means there, the fast one's has exactly the share that is asked for.
So what is known is a statement about the signal that was cut, not about any transform of the map.

With a *gap*, no frequency of an axis is within so much (relatively) of the new Nyquist rate;
without one, the two spectra meet there.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from aliascope.data import sample_files
from aliascope.errors import AliascopeError

GAP = 0.15
"""Of the new Nyquist rate, on either side of it."""

TONES = 3
"""Of each component of a signal of tones."""

OVERSAMPLING = 8
"""Samples of the grid that a field is rectified on, for each of the map's, per axis."""

KINDS = ("tones", "1/f", "flat", "ReLU", "photographs", "zero-padded")


def components(
    kind: str, count: int, size: Sequence[int], rate: int, gap: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Cut maps of the slow and of the fast component out of signals of a kind.

    Parameters
    ----------
    kind : {"tones", "1/f", "flat", "ReLU", "photographs", "zero-padded"}
        ``tones``: sums of plane waves of random frequencies, directions and phases, on no grid.
        ``1/f``, ``flat``: Gaussian fields of that amplitude spectrum. ``ReLU``: 1/f fields,
        rectified on a grid 8 times as fine and brought to the map's grid by an ideal low-pass, so
        that every frequency is known for what it is. ``photographs``: in grey, brought to half
        their size by an ideal low-pass, which aliases nothing. ``zero-padded``: 1/f fields, each
        after a convolution with random weights, 3 an axis, with zeros beyond the map.
    count : int
        Maps.
    size : sequence of int
        Of a map, per axis.
    rate : int
        Of every axis.
    gap : float
        Of the new Nyquist rate, on either side.
    seed : int
        Of the random numbers.

    Returns
    -------
    slow, fast : Tensor of float32, shape (count, *size)
        Each of mean 0 and energy 1 a sample, in every map.

    Examples
    --------
    >>> slow, fast = components("flat", 4, (20, 20), 2, GAP)
    >>> slow.square().mean(dim=(1, 2))
    tensor([1.0000, 1.0000, 1.0000, 1.0000])
    """
    random = torch.Generator().manual_seed(seed)
    if kind == "tones":
        pair = [_tones(count, size, rate, gap, fast, random) for fast in (False, True)]
    else:
        pair = _cut(_fields(kind, size, random), count, size, rate, gap, random)
    if kind == "zero-padded":
        kernels = torch.randn(count, *[3] * len(size), generator=random)
        pair = [zero_padded(part, kernels) for part in pair]
    slow, fast = (_standardised(part) for part in pair)
    return slow, fast


def mixed(slow: Tensor, fast: Tensor, share: float, mean: float) -> Tensor:
    """Add the components so that the fast one has a share, and the map a mean.

    Parameters
    ----------
    slow, fast : Tensor
        As from :func:`components`.
    share : float
        Of the fast one's energy.
    mean : float
        In standard deviations.

    Returns
    -------
    Tensor
    """
    return math.sqrt(1 - share) * slow + math.sqrt(share) * fast + mean


def zero_padded(maps: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each of the maps (count, *size) with a kernel of its own, with zeros beyond."""
    convolution = (nn.functional.conv1d, nn.functional.conv2d, nn.functional.conv3d)[maps.ndim - 2]
    convolved: Tensor = convolution(maps[None], kernels[:, None], padding=1, groups=len(maps))
    return convolved[0]


def _standardised(maps: Tensor) -> Tensor:
    axes = tuple(range(1, maps.ndim))
    maps = maps - maps.mean(dim=axes, keepdim=True)
    return maps / maps.square().mean(dim=axes, keepdim=True).sqrt()


def _tones(
    count: int, size: Sequence[int], rate: int, gap: float, fast: bool, random: torch.Generator
) -> Tensor:
    cut, axes = 0.5 / rate, len(size)
    found: list[Tensor] = []
    while sum(map(len, found)) < count * TONES:
        if fast:
            drawn = torch.rand(4096, axes, generator=random) - 0.5
        else:
            drawn = (torch.rand(4096, axes, generator=random) * 2 - 1) * (1 - gap) * cut
        off = (drawn.abs() - cut).abs().amin(dim=1) >= gap * cut
        found.append(drawn[off & ((drawn.abs() > cut).any(dim=1) == fast)])
    frequency = torch.cat(found)[: count * TONES].view(count, TONES, axes)
    angle = 2 * math.pi * torch.rand(count, TONES, *[1] * axes, generator=random)
    for axis, n in enumerate(size):
        along = [1] * axes
        along[axis] = n
        place = torch.arange(n).view(along)
        angle = angle + 2 * math.pi * frequency[..., axis].view(count, TONES, *[1] * axes) * place
    return angle.cos().sum(dim=1)


def _cut(
    fields: Iterator[Tensor],
    count: int,
    size: Sequence[int],
    rate: int,
    gap: float,
    random: torch.Generator,
) -> list[Tensor]:
    """Split periodic fields by frequency, and cut maps out of them at random places."""
    pairs: list[list[Tensor]] = [[], []]
    for field in fields:
        spectrum = torch.fft.rfftn(field)
        distance = [f / (0.5 / rate) for f in _frequencies(field.shape)]
        slow, clear = (
            functools.reduce(torch.logical_and, each)
            for each in (
                [d < 1 for d in distance],
                [(d - 1).abs() > gap for d in distance],
            )
        )
        both = [
            torch.fft.irfftn(spectrum * (clear & part), s=field.shape) for part in (slow, ~slow)
        ]
        fitting = [p // n for p, n in zip(field.shape, size, strict=True)]
        for _ in range(min(math.prod(fitting), count - len(pairs[0]))):
            corner = [
                int(torch.randint(p - n + 1, (), generator=random))
                for p, n in zip(field.shape, size, strict=True)
            ]
            window = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
            for maps, part in zip(pairs, both, strict=True):
                maps.append(part[window])
        if len(pairs[0]) == count:
            break
    return [torch.stack(maps) for maps in pairs]


def _frequencies(shape: Sequence[int]) -> list[Tensor]:
    """Cycles a sample of each axis of a half spectrum, to be broadcast."""
    each = [torch.fft.fftfreq(p).abs() for p in shape[:-1]] + [torch.fft.rfftfreq(shape[-1])]
    return [
        f.view([-1 if i == axis else 1 for i in range(len(each))]) for axis, f in enumerate(each)
    ]


def _fields(kind: str, size: Sequence[int], random: torch.Generator) -> Iterator[Tensor]:
    """Give periodic fields, much larger than the maps, without end."""
    makers: dict[str, Callable[..., Tensor]] = {
        "1/f": functools.partial(_gaussian, slope=1),
        "zero-padded": functools.partial(_gaussian, slope=1),
        "flat": functools.partial(_gaussian, slope=0),
        "ReLU": _rectified,
    }
    if kind == "photographs":
        yield from itertools.cycle(photographs())
    least = {1: 4096, 2: 256, 3: 64}[len(size)]
    shape = [max(least, 4 * n) for n in size]
    if kind == "ReLU":
        shape = [max(256, 2 * n) for n in size]
    while True:
        yield makers[kind](shape, random)


def _gaussian(shape: Sequence[int], random: torch.Generator, slope: float) -> Tensor:
    """Make a field of amplitude 1 / f ** slope."""
    spectrum = torch.fft.rfftn(torch.randn(*shape, generator=random))
    squared = sum(f.square() for f in _frequencies(shape))
    assert isinstance(squared, Tensor)
    amplitude = squared.clamp(min=1e-12).pow(-slope / 2)
    amplitude[(0,) * len(shape)] = 0
    return torch.fft.irfftn(spectrum * amplitude, s=tuple(shape))


def _rectified(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """Make a field that reaches the map's Nyquist rate, rectified on a grid 8 times as fine."""
    fine = [OVERSAMPLING * p for p in shape]
    spectrum = torch.fft.rfftn(_gaussian(shape, random, slope=1))
    rectified = torch.fft.irfftn(_resized(spectrum, shape, fine), s=tuple(fine)).relu()
    return torch.fft.irfftn(_resized(torch.fft.rfftn(rectified), fine, shape), s=tuple(shape))


def _resized(spectrum: Tensor, size: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Cut a half spectrum down, or fill it up with zeros: what is below both Nyquist rates."""
    out = spectrum
    for axis, (p, q) in enumerate(zip(size, wanted, strict=True)):
        half = (min(p, q) + 1) // 2
        shape = list(out.shape)
        last = axis == len(size) - 1
        shape[axis] = q // 2 + 1 if last else q
        into = torch.zeros(shape, dtype=out.dtype)
        into.narrow(axis, 0, half).copy_(out.narrow(axis, 0, half))
        if not last:
            into.narrow(axis, q - half + 1, half - 1).copy_(
                out.narrow(axis, p - half + 1, half - 1)
            )
        out = into
    return out * (math.prod(wanted) / math.prod(size))


@functools.lru_cache(maxsize=1)
def photographs() -> list[Tensor]:
    """Those that come with foolbox, in grey, 512 × 512 brought to 256 × 256 without aliasing.

    Continued by their mirror images before they are brought to half their size, and given so: the
    field is periodic and has no step. Empty where foolbox is not installed.
    """
    try:
        files = [path for path, _ in sample_files()]
    except AliascopeError:
        return []
    fields = []
    for path in files:
        with Image.open(path) as image:
            grey = torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32) / 255)
        top, left = ((n - 512) // 2 for n in grey.shape)
        grey = grey[top : top + 512, left : left + 512]
        mirrored = torch.cat([grey, grey.flip(0)])
        mirrored = torch.cat([mirrored, mirrored.flip(1)], dim=1)
        half = [512, 512]
        spectrum = _resized(torch.fft.rfftn(mirrored), mirrored.shape, half)
        fields.append(torch.fft.irfftn(spectrum, s=tuple(half)))
    return fields
