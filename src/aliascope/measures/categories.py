"""The measure that counts: bins of each category, per sample and site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliascope.categories import COLUMNS, Category
from aliascope.errors import AliascopeError
from aliascope.measures.counting import Counter
from aliascope.measures.drawn import Drawn
from aliascope.measures.engines import NOT_FINITE
from aliascope.measures.finite import say_not_finite
from aliascope.seam.handlers import Batch, Columns
from aliascope.seam.parts import Part
from aliascope.sites import Site
from aliascope.spectrum import classify_folds, folds, peak_exponents

DETAILS = ("site", "channel", "pixel", "folds")
"""What is kept of each sample, each including those before it."""

Counts = np.ndarray[Any, Any]


class Categories:
    """Count the categories at each site.

    Counts stay on the device until the pass ends; categories and folds, where asked for, are
    written as they come.

    Parameters
    ----------
    counter : Counter
        What counts.
    detail : {"site", "channel", "pixel", "folds"}
        What is kept: counts of each site; of each channel as well; each bin's category as well; the
        complex folds as well.
    drawn : Drawn, optional
        Counts some channels instead of all.

    Examples
    --------
    >>> import aliascope as al
    >>> from aliascope.spectrum import Criterion
    >>> counting = Categories(Counter(Criterion()))
    >>> with al.Opening(torch.nn.AvgPool2d(2), [counting]) as opening:
    ...     _ = opening.model(torch.ones(1, 1, 8, 8))
    >>> {column: count.item() for column, each in counting.end().items() for count in each.values()}
    {'no_pass': 4, 'non_aliased': 16, 'aliased': 20, 'tangled': 9}
    """

    def __init__(self, counter: Counter, detail: str = "site", drawn: Drawn | None = None) -> None:
        if detail not in DETAILS:
            raise AliascopeError(f"detail is {detail!r}, but it must be one of {DETAILS}.")
        self.criterion, self.detail = counter.criterion, detail
        self._counter, self._drawn = counter, drawn or Drawn()
        self._batch = Batch(None, torch.device("cpu"))
        self._counts: dict[Site, Tensor] = {}

    @property
    def whole(self) -> bool:
        """Whether it needs whole signals: for counts parts do, for maps of the bins not."""
        return self.detail in ("pixel", "folds")

    def begin(self, batch: Batch) -> None:
        """Expect a pass."""
        self._batch = batch
        self._counts = {}
        self._drawn.begin(batch)

    @torch.no_grad()
    def take(self, site: Site, dense: Tensor, part: Part) -> None:
        """Count a dense signal, or a part of one."""
        if self._batch.samples is None:
            return
        picked = self._drawn.pick(site, dense, part)
        if picked is None:
            return
        dense, part = picked
        if self.whole:
            counts = self._count_and_keep(site, dense.detach())
        else:
            counts = self._counter(dense.detach(), site.rate)
        if not (part.first and part.last):
            if part.first:
                self._counts[site] = counts.new_empty((*part.shape[:2], 4))
            self._counts[site][part.index] = counts
            counts = self._counts[site]
        if part.last:
            self._counts[site] = self._reduced(counts)

    def end(self) -> Columns | None:
        """Fetch the counts from the device, and check them.

        Raises
        ------
        AliascopeError
            If an activation was NaN or infinite, naming the site, sample and channel.
        """
        counts = self._fetched()
        self._check_finite(counts)
        columns: dict[str, dict[Site, Counts]] = {column: {} for column in COLUMNS}
        if self.detail != "site":
            columns["channel"] = counts
        for site, count in counts.items():
            each = count if count.ndim == 2 else count.sum(axis=1)
            for column, values in zip(COLUMNS, each.T, strict=True):
                columns[column][site] = values
        return columns if counts else None

    def describe(self) -> Mapping[str, Any]:
        """Say what it is."""
        return {"name": "categories", "detail": self.detail, **asdict(self.criterion)}

    def _reduced(self, counts: Tensor) -> Tensor:
        """Sum the counts of a whole dense signal, (N, C, 4), over windows, and perhaps channels."""
        # A sample seen through k windows or frames counts as one, with k times as many bins.
        counts = self._batch.per_sample(counts)
        not_finite = (counts == NOT_FINITE).any(dim=1)
        counts = counts.sum(dim=1).masked_fill_(not_finite, NOT_FINITE)
        if self.detail == "site":
            not_finite = counts == NOT_FINITE
            # Which channel it was is not lost with the sum: NOT_FINITE is channel 0.
            first = NOT_FINITE - not_finite.long().argmax(dim=1)
            counts = torch.where(not_finite.any(dim=1), first, counts.sum(dim=1))
        return counts

    def _count_and_keep(self, site: Site, dense: Tensor) -> Tensor:
        """Classify every bin, sample by sample, and write the categories (and folds) at once."""
        axes = len(site.rate)
        grid = self.criterion.grid_for(site.rate)
        counts = torch.full((*dense.shape[:2], 4), NOT_FINITE, dtype=torch.int64)
        for i, sample in enumerate(dense):
            signal = sample.to(torch.promote_types(dense.dtype, torch.float32))
            exponents = peak_exponents(signal, axes)
            if exponents is None:
                counts[i, torch.isfinite(signal).flatten(1).all(dim=1).cpu()] = 0
                continue
            split = folds(torch.ldexp(signal, -exponents), site.rate, grid=grid)
            category = classify_folds(split, self.criterion, axes)
            for c in Category:
                counts[i, :, c] = (category == c).flatten(1).sum(dim=1).cpu()
            self._keep("category", site, i, len(dense), category)
            if self.detail == "folds":
                scale = torch.ldexp(torch.ones_like(exponents, dtype=signal.dtype), exponents)
                split = split * scale.reshape(len(signal), *[1] * (2 * axes))
                self._keep("folds", site, i, len(dense), split.to(torch.complex64))
        return counts

    def _keep(self, kind: str, site: Site, i: int, n: int, values: Tensor) -> None:
        if self._batch.keep is not None:
            self._batch.keep(kind, site, i, n, values.cpu().numpy())

    def _fetched(self) -> dict[Site, Counts]:
        """Bring the counts to the host in a single transfer."""
        if not self._counts:
            return {}
        each = list(self._counts.values())
        flat = torch.cat([counts.flatten() for counts in each]).cpu().numpy()
        ends = np.cumsum([counts.numel() for counts in each])
        return {
            site: part.reshape(counts.shape)
            for (site, counts), part in zip(
                self._counts.items(), np.split(flat, ends[:-1]), strict=True
            )
        }

    def _check_finite(self, counts: Mapping[Site, Counts]) -> None:
        assert self._batch.samples is not None or not counts
        for site, count in counts.items():
            bad = np.argwhere(count[..., 0] < 0)
            if len(bad):
                place = tuple(bad[0])
                sample = (self._batch.samples or ())[int(place[0])]
                channel = place[1] if len(place) > 1 else NOT_FINITE - count[place][0]
                drawn = self._drawn.channels(site)
                if drawn is not None:
                    channel = drawn[int(place[0]), int(channel)]
                say_not_finite(site, sample, int(channel))
