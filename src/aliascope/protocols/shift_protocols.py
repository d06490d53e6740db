"""How shift consistency has been measured: which views of an image are compared, by name.

``shift`` is ours. The others repeat published evaluations, quirks included, so that a number can
stand beside the published one; each says what its quirk is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from aliascope.draws import below, bits_of
from aliascope.errors import AliascopeError
from aliascope.protocols.shifts import Moves

MODES = ("crop", "circular")
"""Shifts inside a margin of real pixels, or around the edge."""

FRACTIONS = {1: "integer", 2: "half", 3: "third", 4: "quarter"}
"""Names of shifts by whole pixels and by fractions of one."""

ALL = "all"
"""In place of a number of shifts."""

DISTANCE = 8
"""Largest shift of the default protocol, in pixels."""

REACH = 32
"""Pixels by which the published protocols shift at most: 0…31 in crops, -32…31 around."""


@dataclass(frozen=True)
class Views:
    """Where the images of a batch are moved to, and which views are compared.

    Attributes
    ----------
    moves : ndarray of int, shape (N, V, 2)
        Of each image, by view, in units of 1/u pixel; (0, 0) is the image as it is.
    fractions : tuple of int, length V
        The u of each view.
    pairs : tuple of (int, int, str)
        First view, second view, and the kind of shift between them.
    """

    moves: Moves
    fractions: tuple[int, ...]
    pairs: tuple[tuple[int, int, str], ...]

    def between(self, first: int, second: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Give the shift from one view to another, (N, 2), in pixels."""
        u, v = self.fractions[first], self.fractions[second]
        return (self.moves[:, second] * u - self.moves[:, first] * v) / (u * v)


@dataclass(frozen=True)
class ShiftProtocol:
    """A way to measure shift consistency.

    Attributes
    ----------
    name : str
        Such as ``zhang2019``.
    mode : {"crop", "circular", "black"}
        How images are moved: through a window in a larger frame, around their edge, or small on a
        black field.
    margin : int
        Pixels by which the frame is larger than what the network sees, on both sides together.
    grown : bool
        Whether the network sees the frame itself, larger than its own crop.
    drawn : str
        What a draw of shifts is for, in words.
    shifts : str
        Which shifts there are, in words.
    views : callable
        Takes the keys of a batch's images (their names or numbers) and the batch's number.
    """

    name: str
    mode: str
    margin: int
    grown: bool
    drawn: str
    shifts: str
    views: Callable[[Sequence[str], int], Views]

    def describe(self) -> dict[str, Any]:
        """Say what decides the shifts, fit for JSON."""
        return {
            "name": self.name,
            "mode": self.mode,
            "margin": self.margin,
            "grown": self.grown,
            "drawn": self.drawn,
            "shifts": self.shifts,
        }


def make_protocol(
    name: str = "shift",
    *,
    seed: int = 0,
    mode: str | None = None,
    max_shift: int | None = None,
    shifts: int | str | None = None,
    fraction: int | Sequence[int] | None = None,
) -> ShiftProtocol:
    """Make a protocol by name.

    Parameters
    ----------
    name : str
        ``"shift"`` (ours) or one of the published: ``"zhang2019"``, ``"aps2021"``, ``"lps2022"``,
        ``"lps2022-circular"``, ``"afc2023"``, ``"afc2023-adversarial"``, ``"azulay2019"``.
    seed : int
        Of all draws.
    mode : {"crop", "circular"}, optional
        Of ``shift`` ("crop" by default); of ``azulay2019`` "crop" or "black".
    max_shift : int, optional
        Of ``shift``: the largest, in pixels; 8 by default.
    shifts : int or "all", optional
        Of ``shift``: how many an image; 8 by default.
    fraction : int or sequence of int, optional
        Of ``shift`` and ``afc2023-adversarial``: the u of shifts by 1/u pixel, or several; 1 by
        default.

    Returns
    -------
    ShiftProtocol

    Raises
    ------
    AliascopeError
        If the name is unknown, or an option is out of range or prescribed by the protocol.

    Examples
    --------
    >>> views = make_protocol("shift", seed=0).views(["cat.png", "dog.png"], 0)
    >>> views.moves.shape, int(abs(views.moves).max()), len(views.pairs)
    ((2, 9, 2), 8, 8)
    """
    if name not in PROTOCOLS:
        raise AliascopeError(f"protocol is {name!r}, but it must be one of {', '.join(PROTOCOLS)}.")
    if isinstance(fraction, Sequence):
        fraction = tuple(fraction)
    given: dict[str, Any] = {
        "mode": mode,
        "max_shift": max_shift,
        "shifts": shifts,
        "fraction": fraction,
    }
    make, free = PROTOCOLS[name]
    for option, value in given.items():
        if value is not None and option not in free:
            raise AliascopeError(
                f"{option} is {value!r}, but the protocol {name} prescribes it; leave it out, or "
                "use the protocol shift."
            )
    return make(seed, **{key: value for key, value in given.items() if value is not None})


def our_shift(
    seed: int,
    mode: str = "crop",
    max_shift: int = DISTANCE,
    shifts: int | str = DISTANCE,
    fraction: int | tuple[int, ...] = 1,
) -> ShiftProtocol:
    """Make the default protocol: the image as it is against shifts of its own.

    Distances, the larger of abs(dy) and abs(dx), from 1/u to ``max_shift`` pixels take turns, from
    one that is the image's own; within a distance all shifts are equally likely, none comes twice.
    They follow from seed and key of the image alone. No shift by nothing is among them, and among
    those by fractions none by whole pixels.
    """
    if mode not in MODES:
        raise AliascopeError(f"mode is {mode!r}, but it must be one of {MODES}.")
    if max_shift < 1:
        raise AliascopeError(f"max_shift is {max_shift}, but it must be 1 or more.")
    several = _fractions(fraction)
    cells = {u: _rings(max_shift, u) for u in several}
    most = 8 * max_shift * min(several)
    every = shifts == ALL
    if not every and not (isinstance(shifts, int) and 1 <= shifts <= most):
        raise AliascopeError(
            f"shifts is {shifts!r}, but with shifts of up to {max_shift} pixels it must be from 1 "
            f"to {most}, or 'all'."
        )
    counts = {u: sum(map(len, rings)) if every else int(shifts) for u, rings in cells.items()}

    def views(keys: Sequence[str], batch: int) -> Views:
        moves = [np.zeros((len(keys), 1, 2), dtype=np.int64)]
        for u, rings in cells.items():
            own = [_own_shifts(seed, f"{key}\n{u}", rings, counts[u]) for key in keys]
            moves.append(np.stack(own) if own else np.zeros((0, counts[u], 2), dtype=np.int64))
        return _against_original(np.concatenate(moves, axis=1), counts)

    number = "all" if every else f"{shifts}"
    return ShiftProtocol(
        name="shift",
        mode=mode,
        margin=2 * max_shift if mode == "crop" else 0,
        grown=False,
        drawn="for each image" if not every else "not drawn",
        shifts=f"{number} shifts of up to {max_shift} pixels{_in_words(several)}",
        views=views,
    )


def zhang2019(seed: int) -> ShiftProtocol:
    """Zhang (2019), antialiased-cnns: two crops of 224 pixels out of 256, five times.

    Quirks: both offsets are drawn once a batch, so they depend on the batch size, and images of a
    batch share them; the two may be equal, which agrees for certain; offsets are 0…31, so that the
    last of the 33 places a crop can have never comes.
    """
    return _two_crops("zhang2019", seed, passes=5)


def lps2022(seed: int) -> ShiftProtocol:
    """Rojas-Gomez et al. (2022), learnable polyphase sampling: two crops of 224 pixels out of 256.

    Read as: an image counts where its two shifted crops agree with one another. Quirks as of
    `zhang2019`, with one pair in place of five.
    """
    return _two_crops("lps2022", seed, passes=1)


def aps2021(seed: int) -> ShiftProtocol:
    """Chaman and Dokmanić (2021), truly shift-invariant CNNs: two circular shifts, -32…31 an axis.

    Quirk: both are drawn once a batch, and may be equal.
    """
    return _two_circular("aps2021", seed, grown=False)


def lps2022_circular(seed: int) -> ShiftProtocol:
    """Rojas-Gomez et al. (2022), circular: as `aps2021`, on images of 256 pixels in place of 224.

    Quirk: the network sees more than the size it was made for, so that the number does not compare
    with that of `aps2021`.
    """
    return _two_circular("lps2022-circular", seed, grown=True)


def afc2023(seed: int) -> ShiftProtocol:
    """Michaeli et al. (2023), alias-free convnets: the image against one circular shift.

    Integer, each axis -32…31, and the same plus half a pixel on both axes. Quirk: one draw for the
    whole set, so that it says how one shift fares, not shifts.
    """

    def views(keys: Sequence[str], batch: int) -> Views:
        (move,) = _drawn(seed, "afc2023", 1, 2 * REACH) - REACH
        moves = np.stack([np.zeros(2, dtype=np.int64), move, 2 * move + 1])
        return Views(
            np.tile(moves, (len(keys), 1, 1)), (1, 1, 2), ((0, 1, "integer"), (0, 2, "half"))
        )

    return ShiftProtocol(
        "afc2023",
        "circular",
        0,
        False,
        "once for the whole set",
        "one of -32 to 31 pixels an axis, and the same plus 1/2",
        views,
    )


def afc2023_adversarial(seed: int, fraction: int | tuple[int, ...] = 1) -> ShiftProtocol:
    """Michaeli et al. (2023), worst of 961 circular shifts: 1…31 on each axis.

    With a fraction u, 1/u…31/u pixels. Nothing is drawn. What was published is the share of images
    that are classified correctly under all (``accuracy_worst``); `worst` is those that agree with
    the original under all, which needs no labels.
    """
    several = _fractions(fraction)
    steps = np.arange(1, REACH, dtype=np.int64)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)

    def views(keys: Sequence[str], batch: int) -> Views:
        moves = np.concatenate([np.zeros((1, 2), dtype=np.int64), *[grid for _ in several]])
        counts = {u: len(grid) for u in several}
        return _against_original(np.broadcast_to(moves, (len(keys), *moves.shape)), counts)

    return ShiftProtocol(
        "afc2023-adversarial",
        "circular",
        0,
        False,
        "not drawn",
        f"all 961 of 1 to 31 steps an axis{_in_words(several)}",
        views,
    )


def azulay2019(seed: int, mode: str = "crop") -> ShiftProtocol:
    """Azulay and Weiss (2019): eight successive steps of one pixel along the diagonal.

    Each view is compared with the next, so that every shift is by one pixel: the published P(top-1
    changes) is 1 - consistency. The mean absolute change is that of the probability of the class
    predicted before the step. With mode "black" the image stands on a black field, half as large
    (see `aliascope.protocols.shifts.embed_images`); the published sizes are the authors' own. Not
    drawn: all images take the same path, centred on the middle.
    """
    if mode not in ("crop", "black"):
        raise AliascopeError(f"mode is {mode!r}, but of azulay2019 it must be 'crop' or 'black'.")
    places = np.arange(-4, 5, dtype=np.int64)
    path = np.stack([places, places], axis=-1)

    def views(keys: Sequence[str], batch: int) -> Views:
        pairs = tuple((k, k + 1, "step") for k in range(8))
        return Views(np.broadcast_to(path, (len(keys), 9, 2)), (1,) * 9, pairs)

    return ShiftProtocol(
        "azulay2019",
        mode,
        8 if mode == "crop" else 0,
        False,
        "not drawn",
        "eight successive steps of one pixel along the diagonal",
        views,
    )


PROTOCOLS: dict[str, tuple[Callable[..., ShiftProtocol], tuple[str, ...]]] = {
    "shift": (our_shift, ("mode", "max_shift", "shifts", "fraction")),
    "zhang2019": (zhang2019, ()),
    "aps2021": (aps2021, ()),
    "lps2022": (lps2022, ()),
    "lps2022-circular": (lps2022_circular, ()),
    "afc2023": (afc2023, ()),
    "afc2023-adversarial": (afc2023_adversarial, ("fraction",)),
    "azulay2019": (azulay2019, ("mode",)),
}
"""What makes each protocol, and the options that it leaves free."""


def _two_crops(name: str, seed: int, passes: int) -> ShiftProtocol:
    def views(keys: Sequence[str], batch: int) -> Views:
        offsets = _drawn(seed, f"{name}\n{batch}", 2 * passes, REACH)
        # An offset of 16 is the centre; a window further down shows what is seen further up.
        moves = REACH // 2 - offsets
        pairs = tuple((2 * k, 2 * k + 1, "integer") for k in range(passes))
        return Views(np.tile(moves, (len(keys), 1, 1)), (1,) * 2 * passes, pairs)

    words = "two crops at offsets of 0 to 31 pixels an axis"
    return ShiftProtocol(
        name,
        "crop",
        REACH,
        False,
        "once a batch",
        words if passes == 1 else f"{words}, {passes} times",
        views,
    )


def _two_circular(name: str, seed: int, *, grown: bool) -> ShiftProtocol:
    def views(keys: Sequence[str], batch: int) -> Views:
        moves = _drawn(seed, f"{name}\n{batch}", 2, 2 * REACH) - REACH
        return Views(np.tile(moves, (len(keys), 1, 1)), (1, 1), ((0, 1, "integer"),))

    return ShiftProtocol(
        name,
        "circular",
        REACH if grown else 0,
        grown,
        "once a batch",
        "two of -32 to 31 pixels an axis",
        views,
    )


def _drawn(seed: int, key: str, count: int, bound: int) -> Moves:
    return below(bound, bits_of(seed, key, 2 * count)).reshape(count, 2)


def _against_original(moves: Moves, counts: dict[int, int]) -> Views:
    """Compare the first view with all others, so many of each fraction."""
    fractions = [1]
    pairs: list[tuple[int, int, str]] = []
    for u, count in counts.items():
        pairs += [(0, len(fractions) + k, FRACTIONS.get(u, f"1/{u}")) for k in range(count)]
        fractions += [u] * count
    return Views(moves, tuple(fractions), tuple(pairs))


def _rings(max_shift: int, u: int) -> list[Moves]:
    """List the shifts at each distance, in units of 1/u pixel; none by whole pixels if u > 1."""
    steps = np.arange(-max_shift * u, max_shift * u + 1, dtype=np.int64)
    grid = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.abs(grid).max(axis=1)
    if u > 1:
        grid, distance = (each[(grid % u != 0).any(axis=1)] for each in (grid, distance))
    return [grid[distance == d] for d in range(1, max_shift * u + 1)]


def _own_shifts(seed: int, key: str, rings: Sequence[Moves], count: int) -> Moves:
    """Draw an image's shifts, the distances taking turns."""
    sizes = [len(ring) for ring in rings]
    if count == sum(sizes):
        return np.concatenate(rings)
    bits = bits_of(seed, key, 1 + sum(sizes))
    start = int(below(len(rings), bits[:1])[0])
    ends = np.cumsum([1, *sizes])
    orders = [np.argsort(bits[a:b]) for a, b in pairwise(ends)]
    turns = [((start + k) % len(rings), k // len(rings)) for k in range(count)]
    return np.stack([rings[ring][orders[ring][round_]] for ring, round_ in turns])


def _fractions(fraction: int | tuple[int, ...]) -> tuple[int, ...]:
    several = (fraction,) if isinstance(fraction, int) else fraction
    if not several or len(set(several)) < len(several) or not set(several) <= set(FRACTIONS):
        raise AliascopeError(
            f"fraction is {fraction!r}, but it must be of 1, 2, 3 and 4, each once."
        )
    return several


def _in_words(several: Sequence[int]) -> str:
    if tuple(several) == (1,):
        return ""
    return f", in steps of {' and '.join('1' if u == 1 else f'1/{u}' for u in several)}"
