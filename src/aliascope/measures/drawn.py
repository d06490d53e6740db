"""Measuring some channels of each sample instead of all: drawn without bias, for less time."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliascope.draws import bits_of
from aliascope.errors import AliascopeError
from aliascope.seam.handlers import Batch
from aliascope.seam.parts import Part
from aliascope.sites import Site


class Drawn:
    """Draws channels, anew for each sample at each site, and picks them from dense signals.

    All channels are equally likely, and which ones follows from the seed, the sample's number and
    the site alone. So the mean over a sample's drawn channels is that over all of them without
    bias, and independent of other samples': an interval from how samples differ knows of the draw.
    That a value is not finite is noticed in all channels by energy, and by the other measures in
    those that were drawn.

    Parameters
    ----------
    count : int or None
        Channels of each sample and site, 1 or more; where there are no more than that, all. None
        draws nowhere.
    seed : int
        Of the draws.

    Raises
    ------
    AliascopeError
        If `count` is less than 1.

    Examples
    --------
    >>> drawn = Drawn(2)
    >>> drawn.begin(Batch((0, 1), torch.device("cpu")))
    >>> dense = torch.arange(5.0).expand(2, 5).view(2, 5, 1)  # each value is its channel
    >>> picked, part = drawn.pick(Site("pool"), dense, Part.whole(dense))
    >>> picked.shape, part.shape
    (torch.Size([2, 2, 1]), (2, 2, 1))
    >>> bool((picked[..., 0] == drawn.channels(Site("pool"))).all())
    True
    """

    def __init__(self, count: int | None = None, seed: int = 0) -> None:
        if count is not None and count < 1:
            raise AliascopeError(
                f"channels is {count}, but it must be 1 or more; leave it out to measure all."
            )
        self.count, self.seed = count, seed
        self._batch: Batch | None = None
        self._drawn: dict[Site, Tensor] = {}
        self._picked: Tensor | None = None
        self._from: Any = None

    def begin(self, batch: Batch) -> None:
        """Expect a pass; all measures that share the draws say so."""
        if batch is not self._batch:
            self._batch, self._drawn = batch, {}
            self._picked = self._from = None

    def draws(self, part: Part) -> bool:
        """Whether some channels of such a signal are measured, and not all."""
        known = self._batch is not None and self._batch.samples is not None
        return known and self.count is not None and part.shape[1] > self.count

    def channels(self, site: Site) -> Tensor | None:
        """Channels drawn at a site in this pass, (samples, count), rising; None where all are."""
        return self._drawn.get(site)

    def pick(self, site: Site, dense: Tensor, part: Part) -> tuple[Tensor, Part] | None:
        """Pick the drawn channels of a dense signal, or of a part of one.

        Parameters
        ----------
        site, dense, part
            As a handler takes them.

        Returns
        -------
        (Tensor, Part) or None
            (n, count, *size), and which part it is of the signal that has these channels alone.
            None until the last channels of these samples have come.
        """
        if not self.draws(part):
            return dense, part
        n, channels = part.shape[:2]
        if site not in self._drawn:
            self._drawn[site] = self._draw(site, channels)
        count = self._drawn[site].shape[1]
        if self._from is None or self._from() is not dense:  # not as for the measure before
            self._from = weakref.ref(dense)
            self._copy(site, dense, part)
        if part.channels.stop < channels:
            return None
        assert self._picked is not None
        shape = (n, count, *part.shape[2:])
        return self._picked, Part(shape, part.samples, slice(0, count))

    def _draw(self, site: Site, channels: int) -> Tensor:
        assert self._batch is not None and self._batch.samples is not None
        assert self.count is not None
        rows = []
        for sample in self._batch.samples:
            bits = bits_of(self.seed, f"channels {site} {sample}", channels)
            rows.append(np.sort(np.argpartition(bits, self.count - 1)[: self.count]))
        return torch.from_numpy(np.stack(rows))

    def _copy(self, site: Site, dense: Tensor, part: Part) -> None:
        """Copy those of a part's channels that are drawn to their places."""
        drawn = self._drawn[site]
        windows = part.shape[0] // len(drawn)
        rows = torch.arange(part.samples.start, part.samples.stop) // windows
        wanted = drawn[rows]  # (n, count): each sample's, in all of its windows
        if part.channels.start == 0:
            self._picked = dense.new_empty((*wanted.shape, *part.shape[2:]))
        assert self._picked is not None
        here = (wanted >= part.channels.start) & (wanted < part.channels.stop)
        row, place = (each.to(dense.device) for each in here.nonzero(as_tuple=True))
        source = (wanted[here] - part.channels.start).to(dense.device)
        self._picked[row, place] = dense[row, source]
