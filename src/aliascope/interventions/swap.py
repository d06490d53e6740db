"""Put another sample's aliasing in the place of one's own."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.interventions.bands import Bands
from aliascope.interventions.intervention import Intervention
from aliascope.seam.handlers import Batch
from aliascope.seam.parts import Part
from aliascope.sites import Site


class EnoughSeen(Exception):  # noqa: N818
    """A pass is over for whoever looked: all that was wanted of it has been seen."""


class HighParts:
    """Keeps the high parts of a clean pass, for `Swap` to put into another's.

    Parameters
    ----------
    sites : collection of Site
        Of which.

    Attributes
    ----------
    high : dict of Site to Tensor, (N, C, *size)
        Of the last pass.
    """

    whole = False

    def __init__(self, sites: Collection[Site]) -> None:
        self.sites = sites
        self.high: dict[Site, Tensor] = {}
        self._complete = 0

    def begin(self, batch: Batch) -> None:
        """Forget the pass before."""
        self.high, self._complete = {}, 0

    def take(self, site: Site, dense: Tensor, part: Part) -> None:
        """Keep a high part; end the pass when there are all.

        Raises
        ------
        EnoughSeen
            When the last site's last part has come.
        """
        if site not in self.sites:
            return
        high = Bands.of(dense.detach(), site.rate).high
        if site not in self.high:
            size = (*part.shape[:2], *dense.shape[2:])
            self.high[site] = torch.empty(size, dtype=high.dtype, device=high.device)
        self.high[site][part.index] = high
        self._complete += part.last
        if self._complete == len(self.sites):
            raise EnoughSeen

    def end(self) -> None:
        """Give nothing: what was seen stays in ``high``."""

    def describe(self) -> dict[str, str]:
        """Name it."""
        return {"name": "high_parts"}


class Swap(Intervention):
    """L + H of a donor: the low part is one's own, what aliases is another's.

    Parameters
    ----------
    within : bool
        Whether donors are of the same class, for the name alone: who the donors are is for whoever
        runs the pass to say, by :attr:`high`.
    sites, dose
        As for `Intervention`.

    Attributes
    ----------
    high : dict of Site to Tensor, (N, C, *size)
        High parts of the donors, in the order of the batch.

    Examples
    --------
    >>> x = torch.rand(2, 3, 9, 9)
    >>> part, site = Part.whole(x), Site("pool", 1, "avg_pool", (2, 2))
    >>> swap = Swap(within=False)
    >>> swap.high = {site: Bands.of(x, (2, 2)).high}
    >>> torch.equal(swap.take(site, x, part), x)  # with oneself
    True
    """

    def __init__(
        self, sites: Collection[Site] | None = None, *, within: bool, dose: float = 1.0
    ) -> None:
        super().__init__(sites, dose=dose)
        self.name = f"swap-{'within' if within else 'between'}"
        self.high: dict[Site, Tensor] = {}

    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """Dose · (H of the donor - H).

        Raises
        ------
        AliascopeError
            If the donors' signals are of another size.
        """
        donors = self.high.get(site)
        if donors is None or donors.shape[:2] != part.shape[:2]:
            raise AliascopeError(
                f"{self.name} at {site} has no donors for this batch; name an intervention that "
                "needs no other images, such as remove, or ablate."
            )
        high = donors[part.index]
        if high.shape != bands.high.shape:
            raise AliascopeError(
                f"{self.name} at {site} meets maps of {tuple(bands.high.shape[2:])} and of "
                f"{tuple(high.shape[2:])}; make all images one size, as with --crop."
            )
        return self.dose * (high - bands.high)
