"""Remove what aliases, and give its energy to what does not."""

from __future__ import annotations

import torch
from torch import Tensor

from aliascope.interventions.bands import Bands, energy_of
from aliascope.interventions.intervention import Intervention
from aliascope.seam.parts import Part
from aliascope.sites import Site

ROUNDING = 64
"""Times eps and the amplitude of what varies: a low part below that is rounding, not scaled."""


class Restore(Intervention):
    """Remove, then L - m scaled up to the varying energy there was.

    Where all that varies is high there is nothing to scale, and the map is left at its mean.

    Examples
    --------
    >>> import torch
    >>> x = torch.rand(2, 3, 9, 9)
    >>> part, site = Part.whole(x), Site("pool", 1, "avg_pool", (2, 2))
    >>> torch.allclose(Restore().take(site, x, part).var((2, 3)), x.var((2, 3)), rtol=1e-4)
    True
    """

    name = "restore"

    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """(scale - 1) · (L - m) - dose · H, with what is left of H counted in."""
        low = energy_of(bands.low, bands.low.ndim - 2)
        left = bands.energy - (1 - self.dose) ** 2 * energy_of(bands.high, bands.high.ndim - 2)
        scale = (left / low).clamp(min=0).sqrt()
        rounding = (ROUNDING * torch.finfo(bands.low.dtype).eps) ** 2
        there = bands.defined & (low > rounding * bands.energy)
        scale = scale.masked_fill(~there, 1).to(bands.low)
        return (scale - 1) * bands.low - self.dose * bands.high
