"""Counting on half the spectrum, in blocks that stay in cache.

The dense signal is real, so its spectrum X has a conjugate twin, ``|X[k]| = |X[-k]|``: a real FFT
gives half of it and decides everything. Bin m_w of the last axis is looked at for 0 <= m_w <= M_w/2
only; every other bin is the twin of one of these, and is counted through it.

Two things follow for a fold j of the last axis, whose frequencies are ``k = j * M_w + m_w``:

* for ``j < rate / 2`` they lie in the half that the real FFT gives;
* for the others the twin ``L_w - k = (rate - j) * M_w - m_w`` does, with all other axes negated.

A bin and its twin have the same number of passing folds, but not always the same home fold: bin M/2
of an axis with an even M is at home in fold ``rate - 1``, while its twin's home, seen from here, is
fold 0.

All of it is done by torch's functions, on any device and with any number of axes. On a CPU
:mod:`aliascope.measures.engines.lanes` does the same several times faster.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from aliascope.spectrum import Criterion, bin_counts

NOT_FINITE = -1
"""Count given to every category of a signal with NaN or infinite values."""

BLOCK_BYTES = {"cpu": 3 << 20, "cuda": 256 << 20}
"""Size of the spectra that are worked on at once, on a CPU by each thread. There they should stay
in the cache: page faults and memory traffic, not arithmetic, dominate otherwise."""

BUFFERS = 4
"""Arrays of about the size of a spectrum that are there at once: padded signals, spectra of the
last axis, spectra, powers and passes."""

CHUNK_BYTES = 16 << 20
"""Most that is copied at once of a dense signal that is not contiguous or not float32."""


def count(
    dense: Tensor,
    rate: Sequence[int],
    criterion: Criterion,
    ratios: Sequence[float],
    workspace: int | None = None,
) -> Tensor:
    """Count the bins of each category, at several thresholds.

    Parameters
    ----------
    dense, rate, criterion, workspace
        See :func:`aliascope.measures.engines.count_categories`.
    ratios : sequence of float
        Thresholds over the reference level, in place of the criterion's.

    Returns
    -------
    Tensor of int64, shape (N * C, len(ratios), 4)

    Examples
    --------
    >>> count(torch.zeros(1, 2, 6), (3,), Criterion(grid="seed"), [0.01])
    tensor([[[6, 0, 0, 0]],
    <BLANKLINE>
            [[6, 0, 0, 0]]])
    """
    shape = (dense.shape[0] * dense.shape[1], len(ratios), 4)
    counts = torch.empty(shape, dtype=torch.int64, device=dense.device)
    counter = _counter(dense, tuple(rate), criterion, workspace)
    done = 0
    for signals in _contiguous(dense, workspace):
        for block in torch.split(signals, counter.capacity):
            counts[done : done + len(block)] = counter(block, ratios)
            done += len(block)
    return counts


class _LastCounter(threading.local):
    """The counter that this thread used last, on a CPU: parts of one signal come in a row."""

    key: Any = None
    counter: _BlockCounter | None = None


_last = _LastCounter()


def _counter(
    dense: Tensor, rate: tuple[int, ...], criterion: Criterion, workspace: int | None
) -> _BlockCounter:
    """Give the last counter where it fits, and otherwise make one."""
    if dense.device.type != "cpu":  # a GPU's memory is for others to use
        return _BlockCounter(dense, rate, criterion, workspace)
    how = (workspace, torch.get_num_threads(), BLOCK_BYTES["cpu"])
    # Tensors made in inference mode are not to be written outside of it.
    what = (dense.shape[2:], rate, working_dtype(dense.dtype), torch.is_inference_mode_enabled())
    key = (criterion, *what, *how)
    if _last.key != key or _last.counter is None or not _last.counter.suits(dense):
        _last.key, _last.counter = None, None  # let its buffers go before others are made
        _last.counter = _BlockCounter(dense, rate, criterion, workspace)
        _last.key = key
    return _last.counter


def _contiguous(dense: Tensor, workspace: int | None) -> Iterator[Tensor]:
    """Yield the signals as contiguous (signals, *size), a few at a time if copied."""
    dtype = working_dtype(dense.dtype)
    if dense.is_contiguous() and dense.dtype == dtype:
        yield dense.flatten(0, 1)
        return
    for part in parts_to_copy(dense, workspace):
        yield part.to(dtype, memory_format=torch.contiguous_format).flatten(0, 1)


def parts_to_copy(dense: Tensor, workspace: int | None) -> Iterator[Tensor]:
    """Cut a signal, in order, so that a part's copy takes `CHUNK_BYTES` and its room at most.

    Parameters
    ----------
    dense : Tensor, shape (N, C, *size)
    workspace : int, optional
        Bytes, of which a copy may take a quarter.
    """
    limit = CHUNK_BYTES if workspace is None else min(CHUNK_BYTES, workspace // 4)
    itemsize = working_dtype(dense.dtype).itemsize
    signal_bytes = max(1, math.prod(dense.shape[2:]) * itemsize)
    channels = max(1, min(dense.shape[1], limit // signal_bytes))
    samples = max(1, limit // (dense.shape[1] * signal_bytes))
    for some in torch.split(dense, samples):
        # Of a sample that is too large, some channels at a time; such a part is of one sample.
        yield from torch.split(some, channels, dim=1)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the kind of number that signals of a kind are transformed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class _BlockCounter:
    """Counts for blocks of signals of one size; holds the buffers that all blocks share.

    Axes of a spectrum here: (signal, half, *rows), "half" being the last spatial axis, of which
    only half is there, and "rows" the others. Rows come last so that their FFTs read memory in
    order.
    """

    def __init__(
        self,
        dense: Tensor,
        rate: tuple[int, ...],
        criterion: Criterion,
        workspace: int | None,
    ) -> None:
        size = tuple(dense.shape[2:])
        self.size, self.rate, self.criterion = size, rate, criterion
        device, dtype = dense.device, dense.dtype
        self.bins = bin_counts(size, rate, criterion.grid_for(rate))
        self.lengths = tuple(r * m for r, m in zip(rate, self.bins, strict=True))
        self.row_dims = tuple(range(2, 1 + len(rate)))
        real = working_dtype(dtype)
        complex_dtype = torch.complex128 if real == torch.float64 else torch.complex64
        half = self.lengths[-1] // 2 + 1
        row_lengths = self.lengths[:-1]

        signal_bytes = half * math.prod(row_lengths) * complex_dtype.itemsize
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        block_bytes = BLOCK_BYTES.get(device.type, BLOCK_BYTES["cuda"])
        # As many for each thread, so that none waits for another.
        capacity = threads * max(1, block_bytes // signal_bytes)
        if workspace is not None:
            capacity = min(capacity, max(1, workspace // (BUFFERS * signal_bytes)))
        self._most = capacity
        self.capacity = min(dense.shape[0] * dense.shape[1], capacity)

        def buffer(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros((self.capacity, *shape), dtype=dtype, device=device)

        # Zero padding is written once, here: each block overwrites only the part with samples.
        self.padded = buffer(*self.size[:-1], self.lengths[-1], dtype=real)
        self.half_transformed = buffer(half, *row_lengths, dtype=complex_dtype)
        self.power = buffer(half, *row_lengths, dtype=real)
        self.passes = buffer(half, *row_lengths, dtype=torch.bool)

    def suits(self, dense: Tensor) -> bool:
        """Whether its blocks would be as large, were it made for this signal."""
        return self.capacity >= min(dense.shape[0] * dense.shape[1], self._most)

    def __call__(self, signals: Tensor, ratios: Sequence[float]) -> Tensor:
        """Count: signals (B, *size), at levels relative to the reference, to (B, levels, 4)."""
        b = len(signals)
        flat = signals.flatten(1)
        # Both propagate NaN; vector_norm(inf), which says the same, took ten times as long.
        peak = torch.maximum(flat.amax(dim=1), -flat.amin(dim=1))
        peak = peak.view(b, *[1] * (signals.ndim - 1))
        exponents = torch.frexp(peak).exponent.clamp(-126, 126)
        padded = self.padded[:b]
        scale = torch.ldexp(torch.ones_like(peak), -exponents)
        scaled = torch.mul(signals, scale, out=padded[..., : self.size[-1]])

        reference = self._reference(scaled)
        power = self._power(self._spectrum(padded, b), b)
        counts = [self._count(self._passing(power, reference * ratio, b)) for ratio in ratios]
        finite = torch.isfinite(peak.view(b, 1, 1))
        return torch.where(finite, torch.stack(counts, dim=1), NOT_FINITE)

    def _spectrum(self, padded: Tensor, b: int) -> Tensor:
        """Half spectrum, (B, half, *L of the rows)."""
        spectrum = torch.fft.rfft(padded, dim=-1)
        if self.row_dims:
            with_samples = (slice(b), slice(None), *(slice(n) for n in self.size[:-1]))
            self.half_transformed[with_samples] = spectrum.movedim(-1, 1)
            spectrum = torch.fft.fftn(self.half_transformed[:b], dim=self.row_dims)
        return spectrum

    def _power(self, spectrum: Tensor, b: int) -> Tensor:
        """Power of every frequency, (B, half, *L of the rows)."""
        power = torch.mul(spectrum.real, spectrum.real, out=self.power[:b])
        return power.addcmul_(spectrum.imag, spectrum.imag)

    def _passing(self, power: Tensor, threshold: Tensor, b: int) -> Tensor:
        """Compare the power of every frequency, (B, half, *L of the rows)."""
        return torch.gt(power, threshold.view(b, *[1] * (power.ndim - 1)), out=self.passes[:b])

    def _reference(self, scaled: Tensor) -> Tensor:
        """Compute the reference level of the decimated signals' spectra, (B,)."""
        decimated = scaled[(slice(None), *(slice(None, None, r) for r in self.rate))]
        spatial = tuple(range(1, scaled.ndim))
        if self.criterion.reference == "mean":
            # Parseval: the mean over M bins of the power is the sum of the squared samples.
            return decimated.square().sum(dim=spatial)
        spectrum = torch.fft.rfftn(decimated, s=self.bins, dim=spatial)
        return (spectrum.real.square() + spectrum.imag.square()).amax(dim=spatial)

    def _count(self, passes: Tensor) -> Tensor:
        """Count from the map of passing frequencies, (B, half, *L of the rows), to (B, 4)."""
        m = self.bins[-1]
        left, twins = slice(0, -(-m // 2)), slice(1, m // 2 + 1)  # 0 <= m < M/2, and 0 < m <= M/2
        dims = tuple(range(1, passes.ndim))

        n_passing = self._passing_folds(passes)
        none, one = n_passing == 0, n_passing == 1
        home = self._at_home(passes, [-(-bins // 2) for bins in self.bins[:-1]])
        twin_home = self._at_home(passes, [bins // 2 + 1 for bins in self.bins[:-1]])

        def both(mask: Tensor) -> Tensor:
            per_half_bin = torch.count_nonzero(mask, dim=dims[1:]) if dims[1:] else mask.long()
            return per_half_bin[:, left].sum(dim=1) + per_half_bin[:, twins].sum(dim=1)

        no_pass, single = both(none), both(one)
        non_aliased = torch.count_nonzero(one[:, left] & home[:, left], dim=dims)
        non_aliased += torch.count_nonzero(one[:, twins] & twin_home[:, twins], dim=dims)
        tangled = math.prod(self.bins) - no_pass - single
        return torch.stack([no_pass, non_aliased, single - non_aliased, tangled], dim=1)

    def _passing_folds(self, passes: Tensor) -> Tensor:
        """Count passing folds at each bin of the half, (B, M_w // 2 + 1, *M of the rows)."""
        folds = math.prod(self.rate)
        enough = torch.uint8 if folds < 2**8 else torch.int16 if folds < 2**15 else torch.int32
        total = passes.view(torch.uint8).to(enough)
        for dim, r, m in zip(self.row_dims, self.rate[:-1], self.bins[:-1], strict=True):
            if r > 1:
                folded = total.narrow(dim, 0, m) + total.narrow(dim, m, m)
                for i in range(2, r):
                    folded += total.narrow(dim, i * m, m)
                total = folded
        r, m = self.rate[-1], self.bins[-1]
        width = m // 2 + 1
        n_passing = total[:, :width].clone()
        for j in range(1, r):
            if 2 * j < r:
                n_passing += total[:, j * m : j * m + width]
            else:
                last = (r - j) * m
                mirrored = total[:, last - width + 1 : last + 1].flip((1, *self.row_dims))
                if self.row_dims:  # negating an axis is flipping it, with bin 0 staying in place
                    mirrored = mirrored.roll([1] * len(self.row_dims), self.row_dims)
                n_passing += mirrored
        return n_passing

    def _at_home(self, passes: Tensor, first_negative: Sequence[int]) -> Tensor:
        """Pick home folds along the rows, whose bins are negative from ``first_negative`` on."""
        home = passes[:, : self.bins[-1] // 2 + 1]
        for dim, split, m in zip(self.row_dims, first_negative, self.bins[:-1], strict=True):
            negative = home.narrow(dim, home.shape[dim] - (m - split), m - split)
            home = torch.cat([home.narrow(dim, 0, split), negative], dim=dim)
        return home
