"""Remove what aliases."""

from __future__ import annotations

from torch import Tensor

from aliascope.interventions.bands import Bands
from aliascope.interventions.intervention import Intervention
from aliascope.seam.parts import Part
from aliascope.sites import Site


class Remove(Intervention):
    """L + (1 - dose) · H: what aliases is removed, or weakened.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.MaxPool2d(2)
    >>> noise = torch.rand(1, 1, 16, 16)
    >>> with al.Opening(model, [Remove()]):
    ...     smooth = model(noise)
    >>> bool(smooth.std() < model(noise).std())
    True
    """

    name = "remove"

    def change(self, bands: Bands, site: Site, part: Part) -> Tensor:
        """- dose · H."""
        return -self.dose * bands.high
