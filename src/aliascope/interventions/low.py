"""The control that says whether what varies at a site matters at all."""

from __future__ import annotations

from torch import Tensor

from aliascope.interventions.bands import Bands
from aliascope.interventions.intervention import Intervention
from aliascope.seam.parts import Part
from aliascope.sites import Site


class Low(Intervention):
    """m + H: of the low part only the mean is left.

    A network that does not mind either `Remove` or this reads the mean alone.

    Examples
    --------
    >>> import torch
    >>> x = torch.rand(2, 3, 9, 9)
    >>> part, site = Part.whole(x), Site("pool", 1, "avg_pool", (2, 2))
    >>> changed = Low().take(site, x, part)
    >>> torch.allclose(changed.mean((2, 3)), x.mean((2, 3)), atol=1e-6)
    True
    """

    name = "low"

    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """- dose · (L - m)."""
        return -self.dose * bands.low
