"""The handler that measures: from dense signals to counts per sample, written part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aliascope.categories import COLUMNS, Category
from aliascope.errors import AliascopeError
from aliascope.measures.engines import NOT_FINITE, check_engine, count_categories
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.part import PartWriter
from aliascope.sites import Site
from aliascope.spectrum import Criterion, classify_folds, folds, peak_exponents

DETAILS = ("site", "channel", "pixel", "folds")
"""What is kept of each sample, each including those before it."""


class Recorder:
    """Count the categories at each site of one pass, and write them as one part.

    Counts stay on the device until the pass is committed; categories and folds, where asked for,
    are written as they come.

    Parameters
    ----------
    criterion : Criterion
        Threshold, reference level, grid and fold scale.
    detail : {"site", "channel", "pixel", "folds"}
        What is kept.
    engine, workspace
        See :func:`aliascope.measures.engines.count_categories`.

    Examples
    --------
    >>> Recorder(Criterion(), "site").open
    False
    """

    def __init__(
        self,
        criterion: Criterion,
        detail: str,
        *,
        engine: str = "auto",
        workspace: int | None = None,
    ) -> None:
        check_engine(engine, workspace)
        self.criterion = criterion
        self.detail = detail
        self._engine, self.workspace = engine, workspace
        self._parts: Tensor | None = None
        self._n: int | None = None
        self._writer: PartWriter | None = None
        self._sites: list[Site] = []
        self._counts: list[Tensor] = []

    @property
    def open(self) -> bool:
        """Whether a pass is under way."""
        return self._writer is not None

    @property
    def n_samples(self) -> int:
        """Number of samples of the pass; 0 until a site told, where the inputs did not."""
        return self._n or 0

    def begin(self, n_samples: int | None, writer: PartWriter) -> None:
        """Start a pass of ``n_samples`` samples; None takes it from the first site."""
        self.abort()
        self._n, self._writer = n_samples, writer

    def abort(self) -> None:
        """Forget the pass under way; nothing of it is kept."""
        if self._writer is not None:
            self._writer.discard()
        self._writer = None
        self._sites, self._counts = [], []

    @torch.no_grad()
    def __call__(self, site: Site, dense: Tensor) -> None:
        """Count one site's dense signal, (N * k, C, *size)."""
        dense = dense.detach()
        if not self._divides(site, len(dense)):
            return
        if self.detail in ("pixel", "folds"):
            counts = self._count_and_keep(site, dense)
        else:
            counts = self._count(site, dense)
        self._take(site, counts)

    def _divides(self, site: Site, rows: int) -> bool:
        assert self._writer is not None
        if self._n is None:
            self._n = rows
        if self._n == 0 or rows % self._n:
            site.supported = False
            site.reason = f"its batch of {rows} does not divide into {self._n} samples"
            return False
        return True

    def _count(self, site: Site, dense: Tensor) -> Tensor:
        return count_categories(
            dense, site.rate, self.criterion, engine=self._engine, workspace=self.workspace
        )

    def _take(self, site: Site, counts: Tensor) -> None:
        """Keep the counts of a whole dense signal, (N * k, C, 4)."""
        assert self._n is not None
        # A sample seen through k windows or frames counts as one, with k times as many bins.
        counts = counts.view(self._n, -1, *counts.shape[1:])
        not_finite = (counts == NOT_FINITE).any(dim=1)
        counts = counts.sum(dim=1).masked_fill_(not_finite, NOT_FINITE)
        if self.detail == "site":
            not_finite = counts == NOT_FINITE
            # Which channel it was is not lost with the sum: NOT_FINITE is channel 0.
            first = NOT_FINITE - not_finite.long().argmax(dim=1)
            counts = torch.where(not_finite.any(dim=1), first, counts.sum(dim=1))
        self._sites.append(site)
        self._counts.append(counts)

    # -- dense signals that come part by part --------------------------------------------------

    @property
    def takes_parts(self) -> bool:
        """Whether parts are enough: for counts they are, for maps of the bins they are not."""
        return self.detail not in ("pixel", "folds")

    def begin_parts(self, site: Site, shape: tuple[int, ...]) -> None:
        """Expect the parts of a dense signal of this shape, (N * k, C, *size)."""
        self._parts = None
        if self._divides(site, shape[0]):
            self._parts = torch.empty((*shape[:2], 4), dtype=torch.int64)

    @torch.no_grad()
    def add_part(self, site: Site, dense: Tensor, samples: slice, channels: slice) -> None:
        """Count a part."""
        if self._parts is not None:
            self._parts = self._parts.to(dense.device)
            self._parts[samples, channels] = self._count(site, dense.detach())

    def end_parts(self, site: Site) -> None:
        """Keep the counts of all parts."""
        if self._parts is not None:
            self._take(site, self._parts)
        self._parts = None

    def _count_and_keep(self, site: Site, dense: Tensor) -> Tensor:
        """Classify every bin, sample by sample, and write the categories (and folds) at once."""
        assert self._writer is not None
        axes = len(site.rate)
        grid = self.criterion.grid_for(site.rate)
        position = len(self._sites)
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
            self._writer.write_sample("category", position, i, len(dense), category.cpu().numpy())
            if self.detail == "folds":
                scale = torch.ldexp(torch.ones_like(exponents, dtype=signal.dtype), exponents)
                split = split * scale.reshape(len(signal), *[1] * (2 * axes))
                split = split.to(torch.complex64)
                self._writer.write_sample("folds", position, i, len(dense), split.cpu().numpy())
        return counts

    def commit(
        self,
        samples: pd.DataFrame,
        unsupported: Sequence[Site] = (),
        unreadable: Sequence[Any] = (),
        arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
        condition: Condition = CLEAN,
    ) -> None:
        """End the pass: fetch the counts from the device, check them, and write the part.

        Raises
        ------
        AliascopeError
            If an activation was NaN or infinite, naming the site, sample and channel.
        """
        assert self._writer is not None
        try:
            counts = self._fetched()
            self._check_finite(counts, samples)
            for kind, array in (arrays or {}).items():
                self._writer.write(kind, 0, array)
            sites = self._site_table([*self._sites, *unsupported])
            self._writer.commit(
                samples, self._count_table(counts, samples), sites, unreadable, condition
            )
            self._writer = None
        finally:
            self.abort()

    def _fetched(self) -> list[np.ndarray[Any, Any]]:
        """Bring the counts to the host in a single transfer."""
        if not self._counts:
            return []
        flat = torch.cat([counts.flatten() for counts in self._counts]).cpu().numpy()
        ends = np.cumsum([counts.numel() for counts in self._counts])
        return [
            part.reshape(counts.shape)
            for part, counts in zip(np.split(flat, ends[:-1]), self._counts, strict=True)
        ]

    def _check_finite(self, counts: list[np.ndarray[Any, Any]], samples: pd.DataFrame) -> None:
        for site, count in zip(self._sites, counts, strict=True):
            bad = np.argwhere(count[..., 0] < 0)
            if len(bad):
                place = tuple(bad[0])
                sample = samples["sample"].iloc[int(place[0])]
                channel = place[1] if len(place) > 1 else NOT_FINITE - count[place][0]
                raise AliascopeError(
                    f"Site {site.name} has NaN or infinite values (sample {sample}, channel "
                    f"{channel}); its spectrum is not defined, so check the weights, the inputs "
                    "and the dtype."
                )

    def _site_table(self, sites: Sequence[Site]) -> list[dict[str, Any]]:
        """Describe the sites: first those measured in this pass, by position, then the others."""
        return [
            {**asdict(site), "grid": self.criterion.grid_for(site.rate) if site.supported else ""}
            for site in sites
        ]

    def _count_table(
        self, counts: list[np.ndarray[Any, Any]], samples: pd.DataFrame
    ) -> pd.DataFrame:
        """One row per sample and site; at finer detail the channels' counts are written beside."""
        assert self._writer is not None
        tables = []
        for position, count in enumerate(counts):
            if count.ndim == 3:
                self._writer.write("channel", position, count)
                count = count.sum(axis=1)
            table = pd.DataFrame(count, columns=COLUMNS)
            table.insert(0, "site", position)
            table.insert(0, "sample", samples["sample"].to_numpy())
            tables.append(table)
        if not tables:
            return pd.DataFrame(
                {"sample": [], "site": [], **{c: [] for c in COLUMNS}}, dtype="int64"
            )
        return pd.concat(tables, ignore_index=True)
