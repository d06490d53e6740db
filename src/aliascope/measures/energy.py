"""The measure that weighs: aliased energy, per sample and site.

A faster way to compute what :mod:`aliascope.energy` defines. What is within is a small corner of
the coefficients: so only that is computed, by two thin matrix products in the memory format that
the signal has, and what is beyond is what is left of the signal's energy. Maps of two axes on
a CPU are weighed by compiled code (:mod:`aliascope.measures.engines.weighing`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from aliascope.energy import cosines, least_varying, within
from aliascope.measures.drawn import Drawn
from aliascope.measures.engines import compiled_weighing
from aliascope.measures.finite import refuse_not_finite
from aliascope.runs.values import CHANNEL_SUMS, DRAWN
from aliascope.seam.handlers import Batch, Columns, PerChannel
from aliascope.seam.parts import Part
from aliascope.sites import Site

SUMS = tuple(CHANNEL_SUMS)
"""Energies of a map: of all but the constant coefficient; of the coefficients beyond; and of those
beyond a cut that is one coefficient higher, and one lower."""

SHIFTS = (0, 1, -1)
"""Of the cut, in the order of `SUMS`."""

HIDDEN = 0.2
"""Share of a map's energy that varies, below which its mean is taken away first."""

COPIED_BYTES = 16 << 20
"""Most that each thread copies at once of a signal whose channels do not lie next to each other."""

BLOCK_BYTES = {"cpu": 3 << 22}
"""Of the signals that are worked on at once, on a CPU: they should stay in the cache."""


class Energy:
    """Weigh what is beyond the new Nyquist rate at each site.

    Parameters
    ----------
    detail : {"site", "channel", "pixel", "folds"}
        Whether the energies of each sample and channel are kept as well.
    drawn : Drawn, optional
        Measures some channels instead of all.
    engine : {"auto", "torch", "numba"}
        What weighs; see `energies`.

    Examples
    --------
    >>> import aliascope as al
    >>> weighing = Energy()
    >>> model = torch.nn.AvgPool2d(2)
    >>> with al.Scope(model, measures=["energy"]) as scope:
    ...     _ = model(torch.randn(2, 3, 16, 16))
    >>> list(scope.measurement().values.columns)
    ['sample', 'site', 'aliased_energy']
    """

    whole = False

    def __init__(
        self, detail: str = "site", drawn: Drawn | None = None, *, engine: str = "auto"
    ) -> None:
        self._by_channel = detail != "site"
        self._engine = engine
        self._drawn = drawn or Drawn()
        self._batch = Batch(None, torch.device("cpu"))
        self._sums: dict[Site, Tensor] = {}
        self._varying: dict[Site, Tensor] = {}

    def begin(self, batch: Batch) -> None:
        """Expect a pass."""
        self._batch = batch
        self._sums = {}
        self._varying = {}
        self._drawn.begin(batch)

    @torch.no_grad()
    def take(self, site: Site, dense: Tensor, part: Part) -> None:
        """Weigh a dense signal, or a part of one."""
        if self._batch.samples is None:
            return
        if self._drawn.draws(part):
            if site not in self._varying:
                shape = part.shape[:2]
                self._varying[site] = torch.empty(shape, dtype=torch.float64, device=dense.device)
            self._varying[site][part.index] = varying(dense.detach(), site.rate, self._engine)
        picked = self._drawn.pick(site, dense, part)
        if picked is None:
            return
        dense, part = picked
        if site not in self._sums:
            shape = (*part.shape[:2], len(SUMS))
            self._sums[site] = torch.empty(shape, dtype=torch.float64, device=dense.device)
        self._sums[site][part.index] = energies(dense.detach(), site.rate, self._engine)

    def end(self) -> Columns | None:
        """Give each sample's ratio, and the channels' sums.

        Raises
        ------
        AliascopeError
            If an activation was NaN or infinite, naming the site, sample and channel.
        """
        if not self._sums:
            return None
        columns: dict[str, dict[Site, Any]] = {"aliased_energy": {}}
        for name in SUMS:
            columns[name] = {}
        for site, sums in self._sums.items():
            each = self._batch.per_sample(sums).sum(dim=1).cpu()
            of_channels = self._drawn.channels(site)
            refuse_not_finite(site, each[..., 0], self._batch.samples or (), drawn=of_channels)
            share = (each[..., 1] / each[..., 0]).clamp(0, 1)  # 0 / 0 is NaN: not defined
            columns["aliased_energy"][site] = share.nanmean(dim=1).numpy()
            added = each.sum(dim=0)
            if of_channels is not None:  # each of which was measured of some samples only
                of_all = self._batch.per_sample(self._varying[site]).sum(dim=1).cpu()
                refuse_not_finite(site, of_all, self._batch.samples or ())
                whole = of_all.sum(dim=0)
                some = each.new_zeros((len(whole), len(SUMS)))
                some.index_add_(0, of_channels.flatten(), each.flatten(0, 1))
                added = torch.cat([whole[:, None], some[:, 1:]], dim=1)
                columns.setdefault(DRAWN, {})[site] = PerChannel(some[:, 0].numpy())
                kept = torch.stack([of_channels, each[..., 0], each[..., 1]], dim=-1)
                columns.setdefault("drawn", {})[site] = kept.numpy()
            for k, name in enumerate(SUMS):
                columns[name][site] = PerChannel(added[:, k].numpy())
            if self._by_channel:
                columns.setdefault("energy", {})[site] = each.float().numpy()
        return columns

    def describe(self) -> Mapping[str, Any]:
        """Say what it is."""
        return {"name": "energy"}


def varying(dense: Tensor, rate: tuple[int, ...], engine: str = "auto") -> Tensor:
    """Sum the squares of what varies around the mean of each map: the first of its `energies`.

    Parameters
    ----------
    dense : Tensor, shape (N, C, *size)
        Real dense signal, in any memory format.
    rate : tuple of int
        Decimation rate per spatial axis.
    engine : {"auto", "torch", "numba"}
        As of `energies`.

    Returns
    -------
    Tensor of float64, shape (N, C)
        0 where aliased energy is not defined.

    Examples
    --------
    >>> varying(torch.tensor([[[1.0, 2.0, 3.0]]]), (2,))
    tensor([[2.]], dtype=torch.float64)
    """
    size = dense.shape[2:]
    if _nothing_defined(size, rate):
        return torch.zeros(dense.shape[:2], dtype=torch.float64, device=dense.device)
    wide = dense.to(torch.promote_types(dense.dtype, torch.float32))
    weighing = _weighing_for(dense, engine) if _channels_last(dense) else None
    if weighing is not None:
        found = weighing.vary(wide.movedim(1, -1).detach().numpy(), torch.get_num_threads())
        varies, mean = (torch.from_numpy(each) for each in found)
    else:
        space = tuple(range(2, dense.ndim))
        mean = wide.mean(dim=space)
        apart = wide - mean.view(*mean.shape, *[1] * len(space))
        varies, mean = apart.square().sum(dim=space).double(), mean.double()
    whole = varies + math.prod(size) * mean.square()
    return varies.masked_fill(varies <= least_varying(dense.dtype) * whole, 0.0)


def energies(dense: Tensor, rate: tuple[int, ...], engine: str = "auto") -> Tensor:
    """Weigh each map of a dense signal.

    Parameters
    ----------
    dense : Tensor, shape (N, C, *size)
        Real dense signal, in any memory format. Half precision is converted to float32.
    rate : tuple of int
        Decimation rate per spatial axis.
    engine : {"auto", "torch", "numba"}
        ``torch`` does without compiled code, which takes maps of two axes on a CPU.

    Returns
    -------
    Tensor of float64, shape (N, C, 4)
        See `SUMS`. All zero where aliased energy is not defined.

    Examples
    --------
    >>> from aliascope.energy import aliased_energy
    >>> x = torch.randn(2, 3, 14, 9)
    >>> sums = energies(x, (2, 3))
    >>> share = (sums[..., 1] / sums[..., 0]).float()
    >>> torch.allclose(share, aliased_energy(x, (2, 3)), atol=1e-6)
    True
    """
    size = dense.shape[2:]
    sums = torch.zeros((*dense.shape[:2], len(SUMS)), dtype=torch.float64, device=dense.device)
    if _nothing_defined(size, rate) or not dense.numel():
        return sums
    least = least_varying(dense.dtype)
    wide = torch.promote_types(dense.dtype, torch.float32)
    weighing = _weighing_for(dense, engine)
    if weighing is not None and min(rate) > 1:
        return _weighed_compiled(dense.to(wide), rate, least, weighing)
    bases = [_basis(n, r, dense.device, wide) for n, r in zip(size, rate, strict=True)]
    last = _channels_last(dense)
    for samples, channels in _blocks(dense, last):
        block = dense[samples, channels]
        block = block.to(wide)
        block = block.movedim(1, -1) if last else block
        sums[samples, channels] = _weighed(block, bases, least, last)
    return sums


Shares = dict[int, Tensor]
"""How much of each coefficient along an axis is within, (cuts, coefficients), by axis."""


class _Basis:
    """The coefficients of an axis that are within a cut, or might be: and how much of each is.

    Coefficients of even number are those of the signal added to its mirror image, and those of odd
    number of the difference: with half the samples each, the products take half as long.
    """

    def __init__(self, n: int, rate: int, device: torch.device, dtype: torch.dtype) -> None:
        shares = torch.stack([within(n, rate, shift) for shift in SHIFTS])
        rows = int((shares > 0).any(dim=0).sum())
        half = -(-n // 2)
        cut = cosines(n)[:rows, :half].clone()
        if n % 2:
            cut[:, -1] /= 2  # the sample in the middle is its own mirror image
        self.whole = rate == 1
        """Whether all is within, so that the axis need not be transformed."""
        self.half = half
        self.rows = [cut[parity::2].to(device, dtype) for parity in (0, 1)]
        self.shares = [shares[:, parity:rows:2].to(device, dtype) for parity in (0, 1)]


@functools.lru_cache(maxsize=32)
def _basis(n: int, rate: int, device: torch.device, dtype: torch.dtype) -> _Basis:
    """Make a basis, or give the one that the part before had."""
    with torch.inference_mode(False):
        return _Basis(n, rate, device, dtype)


def _weighed(block: Tensor, bases: list[_Basis], least: float, last: bool) -> Tensor:
    """Weigh maps of (N, C, *size), or with channels last of (N, *size, C): (N, C, 4)."""
    if block.device.type != "cpu":
        return _weighed_apart(block, bases, least, last)
    sums, varies = _sums(block, bases, last)
    # Where the mean dwarfs what varies around it, it is taken away first: rounding, at 1e-7 of the
    # whole energy, would be seen.
    hidden = varies < HIDDEN
    if bool(hidden.any()):
        maps = block.movedim(-1, 1)[hidden] if last else block[hidden]
        sums = sums.double()
        sums[hidden] = _weighed_apart(maps.unsqueeze(1), bases, least, False)[:, 0]
    return sums.double()


def _weighed_apart(block: Tensor, bases: list[_Basis], least: float, last: bool) -> Tensor:
    """Weigh maps whose mean is taken away first; which never waits for the device."""
    first = 1 if last else 2
    space = tuple(range(first, first + len(bases)))
    mean = block.mean(dim=space, keepdim=True)
    sums = _sums(block - mean, bases, last)[0].double()
    size = math.prod(block.shape[axis] for axis in space)
    whole = sums[..., 0] + size * mean.squeeze(space).double().square()
    return sums.masked_fill((sums[..., 0] <= least * whole)[..., None], 0.0)


def _sums(block: Tensor, bases: list[_Basis], last: bool) -> tuple[Tensor, Tensor]:
    """Give the sums as they come, and the share of the whole energy that varies."""
    first = 1 if last else 2
    space = tuple(range(first, first + len(bases)))
    whole = block.square().sum(dim=space)
    along = {axis: basis for axis, basis in zip(space, bases, strict=True) if not basis.whole}
    pieces: list[tuple[Tensor, Shares]] = [(block, {})]
    for axis in along if last else reversed(along):  # as memory lies
        pieces = [piece for each in pieces for piece in _halves(*each, axis, along[axis])]
    constant = pieces[0][0]  # whose first coefficient along every axis is that of the mean
    for axis in space:
        length = 1 if axis in along else constant.shape[axis]
        constant = constant.narrow(axis, 0, length).sum(dim=axis, keepdim=True) / math.sqrt(length)
    varying = (whole - constant.flatten(1).square()).clamp(min=0)
    kept = whole[..., None].expand(*whole.shape, len(SHIFTS))  # at rate 1 all is
    if along:
        kept = torch.stack([_kept(low, shares, space) for low, shares in pieces]).sum(dim=0)
    beyond = (whole[..., None] - kept).clamp(min=0)
    beyond = torch.minimum(beyond, varying[..., None])
    sums = torch.cat([varying[..., None], beyond], dim=-1)
    return sums, torch.where(whole > 0, varying / whole, 1.0)


def _halves(
    signal: Tensor, shares: Shares, axis: int, basis: _Basis
) -> Iterator[tuple[Tensor, Shares]]:
    """Transform one axis: its coefficients of even, then of odd number, and how much of each is."""
    n = signal.shape[axis]
    front = signal.narrow(axis, 0, basis.half)
    back = signal.narrow(axis, n - basis.half, basis.half).flip(axis)
    for parity, half in enumerate((front + back, front - back)):
        if len(basis.rows[parity]):
            own = {**shares, axis: basis.shares[parity]}
            yield _product(half, axis, basis.rows[parity]), own


def _product(signal: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Multiply an axis by the rows of a basis, without moving it where that would copy."""
    if axis == signal.ndim - 1:
        return signal @ rows.T
    after = signal.shape[axis + 1 :]
    product = torch.matmul(rows, signal.flatten(axis + 1))
    return product.view(*product.shape[:-1], *after)


def _kept(low: Tensor, shares: Shares, space: tuple[int, ...]) -> Tensor:
    """Sum squared coefficients by how much of each is within, for each cut: (N, C, cuts)."""
    squares = low.square()
    for axis in space:
        if axis not in shares:
            squares = squares.sum(dim=axis, keepdim=True)
    *others, cuts = shares
    squares = _product(squares, cuts, shares[cuts])  # an axis of cuts in its place
    for axis in others:
        shape = [1] * squares.ndim
        shape[axis], shape[cuts] = shares[axis].shape[1], len(SHIFTS)
        weights = (shares[axis].T if axis < cuts else shares[axis]).reshape(shape)
        squares = (squares * weights).sum(dim=axis, keepdim=True)
    return squares.movedim(cuts, -1).flatten(1, -2)


def _nothing_defined(size: Sequence[int], rate: Sequence[int]) -> bool:
    """Whether one sample of an axis is kept at most, and no frequency but zero."""
    return any(r > 1 and n <= r for n, r in zip(size, rate, strict=True))


def _weighing_for(dense: Tensor, engine: str) -> Any:
    """Give what is compiled, for maps on a CPU; None for other signals, and without numba."""
    if dense.device.type != "cpu" or dense.ndim != 4 or engine == "torch":
        return None
    weighing = compiled_weighing()
    if weighing is None or _channels_last(dense):
        return weighing
    copied = math.prod(dense.shape[2:]) * weighing.LANES * max(4, dense.element_size())
    return weighing if copied <= COPIED_BYTES else None


def _weighed_compiled(dense: Tensor, rate: tuple[int, ...], least: float, weighing: Any) -> Tensor:
    """Weigh maps of (N, C, H, W): (N, C, 4)."""
    how = (dense.dtype, weighing.ROWS)
    axes = [_filled(n, r, *how) for n, r in zip(dense.shape[2:], rate, strict=True)]
    sums = weighing.weigh(dense, *zip(*axes, strict=True), least, torch.get_num_threads())
    return torch.from_numpy(sums)


@functools.lru_cache(maxsize=32)
def _filled(n: int, rate: int, dtype: torch.dtype, rows: int) -> tuple[Any, Any, int]:
    """Give rows of a basis, their shares, and how many are of even number, filled up with zeros."""
    basis = _basis(n, rate, torch.device("cpu"), dtype)
    missing = [-len(each) % rows for each in basis.rows]
    pad = torch.nn.functional.pad
    filled = [pad(r, (0, 0, 0, m)) for r, m in zip(basis.rows, missing, strict=True)]
    shares = [pad(s.double(), (0, m)) for s, m in zip(basis.shares, missing, strict=True)]
    return torch.cat(filled).numpy(), torch.cat(shares, dim=1).numpy(), len(filled[0])


def _channels_last(dense: Tensor) -> bool:
    """Whether channels lie next to each other in memory."""
    return dense.shape[1] > 1 and dense.stride(1) == 1


def _blocks(dense: Tensor, last: bool) -> Iterator[tuple[slice, slice]]:
    """Cut a signal so that what is worked on at once stays in the cache; on a GPU not at all."""
    n, c = dense.shape[:2]
    limit = BLOCK_BYTES.get(dense.device.type)
    if limit is None:
        yield slice(0, n), slice(0, c)
        return
    map_bytes = 4 * math.prod(dense.shape[2:])
    samples = max(1, limit // (map_bytes * c))
    channels = c if samples > 1 or last else max(1, limit // map_bytes)
    for i in range(0, n, samples):
        for k in range(0, c, channels):
            yield slice(i, min(n, i + samples)), slice(k, min(c, k + channels))
