"""What an intervention is: a handler that changes dense signals, and keeps what it really took."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.interventions.bands import Bands, energy_of
from aliascope.seam.handlers import Batch, Columns
from aliascope.seam.parts import Part
from aliascope.seam.signals import Signals
from aliascope.sites import Site


class Intervention(ABC):
    """A change of the dense signal while the model runs.

    Parameters
    ----------
    sites : collection of Site, optional
        Where; everywhere by default.
    dose : float
        How much of it, from 0 (nothing, bit for bit) to 1.

    Attributes
    ----------
    name : str
        As the command line and tables call it.
    everywhere : bool
        Whether the sites are all there are, and need not be named.
    signals : Signals or None
        Who keeps dense signals, where several interventions meet the same ones.

    Raises
    ------
    AliascopeError
        If the dose is outside [0, 1].
    """

    name: str
    whole = False

    def __init__(self, sites: Collection[Site] | None = None, *, dose: float = 1.0) -> None:
        if not 0 <= dose <= 1:
            raise AliascopeError(f"dose is {dose}, but it must be from 0 to 1.")
        self.dose = float(dose)
        self._chosen = sites
        self.everywhere = sites is None
        self.signals: Signals | None = None
        self._batch: Batch | None = None
        self._taken: dict[Site, Tensor] = {}
        self._changed: dict[Site, Tensor] = {}

    @property
    def sites(self) -> Collection[Site] | None:
        """Where it acts; at dose 0 nowhere, so that not even rounding shows."""
        return self._chosen if self.dose > 0 else ()

    @abstractmethod
    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """Give what is to be added to the signal, (n, c, *size), float32 or wider."""

    def begin(self, batch: Batch) -> None:
        """Forget the pass before."""
        self._batch, self._taken, self._changed = batch, {}, {}

    def take(self, site: Site, dense: Tensor, part: Part) -> Tensor | None:
        """Change a dense signal, and keep how much energy that took, map by map."""
        if self.dose == 0 or (self._chosen is not None and site not in self._chosen):
            return None
        bands = self._bands(dense, site)
        change = self.change(bands, site, part)
        after = bands.low + bands.high + change  # of mean 0, as are all three
        before, left = bands.energy.detach(), energy_of(after.detach(), len(site.rate))
        larger = torch.maximum(before, left).masked_fill(~bands.defined, torch.nan)
        self._keep(self._taken, site, part, (before - left) / larger)
        self._keep(self._changed, site, part, energy_of(change.detach(), len(site.rate)) / larger)
        return (dense + change).to(dense.dtype)

    def end(self) -> Columns | None:
        """Give, by sample and site, the share of the varying energy that was taken, and changed.

        ``energy_taken`` is (before - after) / the larger of the two, in [-1, 1]: where energy is
        taken, the share of what there was. ``energy_changed`` is the energy of the difference over
        the same, in [0, 4]. Both of each map, and of these the mean over the channels in which
        something varied.
        """
        if self._batch is None or not self._batch.samples:
            return None
        found = {"energy_taken": self._taken, "energy_changed": self._changed}
        return {
            name: {
                site: self._batch.per_sample(values).flatten(1).nanmean(dim=1)
                for site, values in by_site.items()
            }
            for name, by_site in found.items()
        }

    def describe(self) -> Mapping[str, Any]:
        """Name it, with its dose where that is not 1 and its sites where they are not all."""
        chosen = () if self.everywhere or self._chosen is None else self._chosen
        where = f" {'+'.join(map(str, chosen))}" if chosen else ""
        settings = {} if self.dose == 1 else {"dose": self.dose}
        return {"name": f"{self.name}{where}", **settings}

    def _bands(self, dense: Tensor, site: Site) -> Bands:
        if self.signals is None:
            return Bands.of(dense, site.rate)
        return self.signals.worked_out(dense, lambda: Bands.of(dense, site.rate))

    def _keep(self, where: dict[Site, Tensor], site: Site, part: Part, values: Tensor) -> None:
        kept = where.get(site)
        if kept is None:
            kept = where[site] = torch.empty(
                part.shape[:2], dtype=values.dtype, device=values.device
            )
        kept[part.index] = values.flatten(1)
