"""Activations that are NaN or infinite have no spectrum; which one it was is said at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.sites import Site


def refuse_not_finite(
    site: Site, values: Tensor, samples: Sequence[int], *, drawn: Tensor | None = None
) -> None:
    """Refuse a site where something computed from a map is NaN or infinite.

    Parameters
    ----------
    site : Site
        Which it is.
    values : Tensor, shape (samples, channels)
        On the CPU.
    samples : sequence of int
        Numbers of the samples.
    drawn : Tensor, shape (samples, channels), optional
        Which channels these are, where not all were measured.

    Raises
    ------
    AliascopeError
        Naming the site, sample and channel.

    Examples
    --------
    >>> import torch
    >>> refuse_not_finite(Site("stem"), torch.tensor([[1.0, torch.nan]]), [7])
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: Site stem has NaN or infinite values (sample 7, channel 1); ...
    """
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        row, channel = bad[0].tolist()
        named = channel if drawn is None else int(drawn[row, channel])
        say_not_finite(site, samples[row], named)


def say_not_finite(site: Site, sample: int, channel: int) -> NoReturn:
    """Say where a value is not finite."""
    raise AliascopeError(
        f"Site {site} has NaN or infinite values (sample {sample}, channel {channel}); its "
        "spectrum is not defined, so check the weights, the inputs and the dtype."
    )
