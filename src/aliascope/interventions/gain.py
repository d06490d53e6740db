"""The control for removing: as much energy, taken from everything."""

from __future__ import annotations

from torch import Tensor

from aliascope.interventions.bands import Bands
from aliascope.interventions.intervention import Intervention
from aliascope.seam.parts import Part
from aliascope.sites import Site


class Gain(Intervention):
    """m + (signal - m) · sqrt(1 - taken · share): takes what `Remove` takes from everything alike.

    Of a map's varying energy `Remove` takes the share that is high times ``taken = 1 - (1 -
    dose)²``, and so does this: the share itself at dose 1.

    Examples
    --------
    >>> import torch
    >>> from aliascope.interventions.remove import Remove
    >>> x = torch.rand(2, 3, 9, 9)
    >>> part, site = Part.whole(x), Site("pool", 1, "avg_pool", (2, 2))
    >>> removed, scaled = (each.take(site, x, part).var((2, 3)) for each in (Remove(), Gain()))
    >>> torch.allclose(removed, scaled, rtol=1e-4)
    True
    """

    name = "gain"

    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """(factor - 1) · (signal - m)."""
        taken = 1 - (1 - self.dose) ** 2
        factor = (1 - taken * bands.share).clamp(min=0).sqrt().to(bands.low)
        return (factor - 1) * (bands.low + bands.high)
