"""What a handler is: told of a pass, of each dense signal in it, and of its end.

This is where Aliascope is extended. Measures record, interventions return a changed signal, filters
replace the decimation; all have the one life of :class:`Handler`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.seam.parts import Part
from aliascope.sites import Site, SiteList

Columns = Mapping[str, Mapping[Site, Any]]
"""Values by column and site: arrays or tensors of shape (samples,), which become columns of a
run's table, or (samples, ...), which are kept as arrays of that name; or `PerChannel`."""


@dataclass(frozen=True)
class PerChannel:
    """Values of a site's channels, summed over the samples of the pass.

    Attributes
    ----------
    of_channels : array, shape (channels,)
        Which become a column of the table of channels.
    """

    of_channels: Any


Keep = Callable[[str, Site, int, int, Any], None]
"""Keeps an array of one sample: kind, site, place of the row, number of rows, array."""


@dataclass(frozen=True)
class Batch:
    """The samples of one pass, as handlers are told of them before its first site.

    Attributes
    ----------
    samples : tuple of int or None
        Number of each sample, in the order of the batch; None where the inputs do not tell how many
        there are.
    device : torch.device
        Where the dense signals are.
    keep : callable or None
        Writes an array of one sample at once, where there is a run to write to; see :data:`Keep`.

    Examples
    --------
    >>> batch = Batch((4, 5), torch.device("cpu"))
    >>> batch.per_sample(torch.arange(6.0)).tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """

    samples: tuple[int, ...] | None
    device: torch.device
    keep: Keep | None = None

    def divides(self, rows: int) -> bool:
        """Whether so many rows of a dense signal are as many for each sample."""
        return bool(self.samples) and rows % len(self.samples or ()) == 0

    def per_sample(self, values: Tensor) -> Tensor:
        """View values of (N, ...), N = samples × windows, as (samples, windows, ...).

        A model may look at each sample through several windows, or frames, put into the batch.
        """
        return values.view(len(self.samples or ()), -1, *values.shape[1:])


class Handler(Protocol):
    """What an opening calls while the model runs.

    Of each pass: ``begin`` once, before its first site; ``take`` at each site, once for each part
    of its dense signal; ``end`` when the pass is over. Of several handlers each takes what the one
    before gave. A pass that fails has no ``end``: what it left is forgotten at the next ``begin``.

    None is called again while autograd runs a checkpointed module anew: what they gave in the
    forward pass is remembered for it.

    Attributes
    ----------
    whole : bool
        Whether it needs dense signals whole. A large one otherwise comes part by part: some
        samples, or some channels of one, at a time, but always all of space.
    sites : container of Site, or None
        Those it wants; None, or no such attribute, are all. It is asked at each site of each pass,
        so it may change between passes. A site that no handler wants runs as it is: it costs what
        it costs plainly, keeps its number and is listed, but is not compared with its split. A pass
        without any that is wanted has neither ``begin`` nor ``end``.
    """

    @property
    def whole(self) -> bool: ...  # noqa: D102

    def begin(self, batch: Batch) -> None:
        """Expect a pass."""

    def take(self, site: Site, dense: Tensor, part: Part) -> Tensor | None:
        """Take a dense signal, and perhaps change it.

        Parameters
        ----------
        site : Site
            Where: path and number say which, and make it a key.
        dense : Tensor, shape (n, c, *size)
            The part of the dense signal, on the model's device and in the dtype that it has there,
            in any memory format; it may be a view, so it is not to be written to. N of the whole is
            samples × windows.
        part : Part
            Which samples and channels these are, of how many.

        Returns
        -------
        Tensor or None
            What is to be decimated in its place, of the same shape, dtype and device; None changes
            nothing.
        """

    def end(self) -> Columns | None:
        """Give what was found in the pass: see :data:`Columns`."""

    def describe(self) -> Mapping[str, Any]:
        """Say what this is and with which settings, fit for JSON; it goes into run.json.

        A ``name`` names the condition of the passes it changes; its class's does otherwise.
        """


def wanted_by(handler: Handler, site: Site) -> bool:
    """Say whether a handler wants a site.

    Examples
    --------
    >>> class Everywhere: ...
    >>> class AtTheStem:
    ...     sites = {Site("stem")}
    >>> [wanted_by(each, Site("pool")) for each in (Everywhere(), AtTheStem())]
    [True, False]
    """
    sites: Container[Site] | None = getattr(handler, "sites", None)
    return sites is None or site in sites


def check_handler(handler: Any) -> None:
    """Refuse what is no handler before anything runs.

    Raises
    ------
    AliascopeError
        If a part of its life is missing, or ``sites`` can hold no `Site`.
    """
    kind = type(handler).__name__
    for name in ("begin", "take", "end", "describe", "whole"):
        if not hasattr(handler, name):
            raise AliascopeError(
                f"A handler is of type {kind}, which has no {name!r}; give an "
                "object with whole, begin, take, end and describe (docs/how-to.md has examples)."
            )
    sites = getattr(handler, "sites", None)
    if sites is not None and (
        isinstance(sites, str | SiteList) or not isinstance(sites, Container)
    ):
        raise AliascopeError(
            f"The sites that a handler ({kind}) wants are a {type(sites).__name__}; give a set of "
            "Site (of what is listed, its .site), or None for all."
        )
