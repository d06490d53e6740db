"""What is counted of the first samples only: the categories' floor, and other thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aliascope.categories import COLUMNS
from aliascope.energy import low_pass
from aliascope.measures.counting import Counter
from aliascope.measures.drawn import Drawn
from aliascope.seam.handlers import Batch, Columns
from aliascope.seam.parts import Part
from aliascope.sites import Site

LEVELS = tuple(range(10, 61, 5))
"""Decibels of the thresholds."""


class FirstSamples:
    """Counts of the samples numbered below a limit.

    Parameters
    ----------
    counter : Counter
        What counts.
    below : int
        Number of a sample below which it is counted.
    columns : sequence of str
        Of the counts.
    drawn : Drawn, optional
        Counts some channels instead of all.
    """

    whole = False

    def __init__(
        self, counter: Counter, below: int, columns: list[str], drawn: Drawn | None = None
    ) -> None:
        self._counter, self._below, self._columns = counter, below, columns
        self._drawn = drawn or Drawn()
        self._batch = Batch(None, torch.device("cpu"))
        self._rows: list[int] = []
        self._counts: dict[Site, Tensor] = {}

    def begin(self, batch: Batch) -> None:
        """Expect a pass."""
        self._batch = batch
        self._counts = {}
        self._drawn.begin(batch)
        self._rows = [i for i, n in enumerate(batch.samples or ()) if n < self._below]

    @torch.no_grad()
    def take(self, site: Site, dense: Tensor, part: Part) -> None:
        """Count those samples of a dense signal, or of a part of one."""
        if not self._rows:
            return
        assert self._batch.samples is not None
        picked = self._drawn.pick(site, dense, part)
        if picked is None:
            return
        dense, part = picked
        windows = part.shape[0] // len(self._batch.samples)
        wanted = [i * windows + k for i in self._rows for k in range(windows)]
        place = {row: k for k, row in enumerate(wanted)}
        here = [row for row in range(part.samples.start, part.samples.stop) if row in place]
        if not here:
            return
        chosen = dense.detach()
        if len(here) < len(dense):
            chosen = chosen[[row - part.samples.start for row in here]]
        counts = self._count(chosen, site.rate)
        if site not in self._counts:
            shape = (len(wanted), part.shape[1], len(self._columns))
            self._counts[site] = counts.new_zeros(shape)
        self._counts[site][[place[row] for row in here], part.channels] = counts

    def end(self) -> Columns | None:
        """Give counts by column: NaN for the samples that were not counted."""
        if not self._counts:
            return None
        assert self._batch.samples is not None
        columns: dict[str, dict[Site, Any]] = {column: {} for column in self._columns}
        for site, counts in self._counts.items():
            each = counts.view(len(self._rows), -1, len(self._columns)).sum(dim=1).double()
            table = each.new_full((len(self._batch.samples), len(self._columns)), torch.nan)
            table[self._rows] = each
            for column, values in zip(self._columns, table.T.cpu().numpy(), strict=True):
                columns[column][site] = values
        return columns

    def _count(self, dense: Tensor, rate: tuple[int, ...]) -> Tensor:
        """Count: (n, c, *size) to (n, c, columns)."""
        raise NotImplementedError


class Floor(FirstSamples):
    """Count the categories of the low part alone: what they call aliased or tangled there is none.

    Parameters
    ----------
    counter : Counter
        What counts.
    below : int
        Number of a sample below which it is counted.
    drawn : Drawn, optional
        Counts some channels instead of all.

    Examples
    --------
    >>> from aliascope.spectrum import Criterion
    >>> Floor(Counter(Criterion()), 16).describe()
    {'name': 'floor', 'samples_below': 16}
    """

    def __init__(self, counter: Counter, below: int, drawn: Drawn | None = None) -> None:
        super().__init__(counter, below, [f"floor_{column}" for column in COLUMNS], drawn)

    def describe(self) -> Mapping[str, Any]:
        """Say what it is."""
        return {"name": "floor", "samples_below": self._below}

    def _count(self, dense: Tensor, rate: tuple[int, ...]) -> Tensor:
        return self._counter(low_pass(dense, rate), rate)


class Thresholds(FirstSamples):
    """Count the categories at other thresholds, on one spectrum.

    Parameters
    ----------
    counter : Counter
        What counts.
    below : int
        Number of a sample below which it is counted.
    drawn : Drawn, optional
        Counts some channels instead of all.

    Examples
    --------
    >>> from aliascope.spectrum import Criterion
    >>> Thresholds(Counter(Criterion()), 16).describe()["levels_db"][:3]
    [10, 15, 20]
    """

    def __init__(self, counter: Counter, below: int, drawn: Drawn | None = None) -> None:
        columns = [f"{column}_{level}db" for level in LEVELS for column in COLUMNS]
        super().__init__(counter, below, columns, drawn)

    def describe(self) -> Mapping[str, Any]:
        """Say what it is."""
        return {"name": "thresholds", "samples_below": self._below, "levels_db": list(LEVELS)}

    def _count(self, dense: Tensor, rate: tuple[int, ...]) -> Tensor:
        return self._counter(dense, rate, LEVELS).flatten(2)
