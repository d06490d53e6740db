"""The sites that were found: what each is, and what stands beside that."""

from __future__ import annotations

import copy
import math
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from aliascope.seam.layouts import Layout
from aliascope.sites import ListedSite, Site, SiteList, Split, Unsupported
from aliascope.sites.listing import names_of, times

Key = tuple[str, str, tuple[int, ...]]
"""Path, kind of operation and rate."""


@dataclass
class Entry:
    """A site and its status.

    Attributes
    ----------
    site : Site
        Its identity.
    supported : bool
        Whether it is opened.
    reason : str
        Why not.
    error : float
        See :attr:`aliascope.sites.ListedSite.recomposition_error`.
    orders : dict
        Memory order of its output by the layout of its inputs; once there, it was compared.
    listed : bool
        False for all but the first slice of a lossless group.
    lossless : bool
        Whether it is the first slice of one.
    """

    site: Site
    supported: bool = True
    reason: str = ""
    error: float = math.nan
    orders: dict[Layout, tuple[int, ...] | None] = field(default_factory=dict)
    listed: bool = True
    lossless: bool = False

    def refuse(self, reason: str) -> None:
        """Run it as it is from now on."""
        self.supported, self.reason = False, reason

    def compare(self, error: float, reason: str) -> None:
        """Note how far what its split gives is from what the operation gives."""
        self.error = error if math.isnan(self.error) else max(self.error, error)
        if reason:
            self.refuse(reason)


@dataclass(frozen=True)
class Counted:
    """How far the sites of a pass were counted."""

    ordinals: Counter[str]
    slices: tuple[_Slices, ...]


class Found:
    """The sites of a model, in the order in which they first ran.

    A site is known by its path, its place among the calls of that module in one pass, its operation
    and rate: a module that does one thing in one pass and another in the next has two.

    Attributes
    ----------
    latest : Entry or None
        What :meth:`at` gave last; whoever asks sets it to None beforehand.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int, str, tuple[int, ...]], Entry] = {}
        self._ordinals: Counter[str] = Counter()
        self._slices: list[_Slices] = []
        self.latest: Entry | None = None

    def begin(self) -> None:
        """Count the sites of each module anew."""
        self._ordinals.clear()
        self._slices.clear()

    def end(self) -> None:
        """Judge the pass's slices: those that together keep every sample drop nothing."""
        for group in self._slices:
            if group.is_lossless():
                for entry in group.entries.values():
                    entry.refuse(group.reason())
                    entry.listed = entry.lossless = entry is group.first
        self._slices.clear()

    def at(self, path: str, split: Split, shape: Sequence[int], rate: tuple[int, ...]) -> Entry:
        """Look a site up, or note a new one."""
        entry = self.latest = self._entry(path, split.op, rate, tuple(shape[1:]))
        if split.source is not None and split.phase and entry.supported:
            for group in self._slices:
                if group.holds(split):
                    break
            else:
                group = _Slices(split)
                self._slices.append(group)
            group.entries.setdefault(split.phase, entry)
        return entry

    def counted(self) -> Counted:
        """Say how far the sites of this pass were counted."""
        return Counted(self._ordinals.copy(), tuple(each.copy() for each in self._slices))

    def go_on_from(self, counted: Counted) -> None:
        """Count on from there."""
        self._ordinals = counted.ordinals.copy()
        self._slices = [each.copy() for each in counted.slices]

    def unsupported(self, path: str, what: Unsupported) -> None:
        """Note a place that cannot be opened."""
        entry = self._entry(path, what.op, what.rate)
        if entry.supported:
            entry.refuse(what.reason)

    def upcoming(self, path: str, op: str, rate: tuple[int, ...]) -> Site:
        """Say which site comes next, if it is one of this kind; it does not count as come."""
        entry = self._entries.get((path, self._ordinals[path] + 1, op, rate))
        if entry is not None:
            return entry.site
        number = 1 + sum(entry.site.path == path for entry in self._entries.values())
        return Site(path, number, op, rate)

    def known(self, key: Key) -> Entry | None:
        """Look up what was found in a first run; the number may be another in the second."""
        for (path, _, op, rate), entry in self._entries.items():
            if (path, op, rate) == key:
                return entry
        return None

    def entry_of(self, site: Site) -> Entry:
        """Give what stands beside a site."""
        return next(entry for entry in self._entries.values() if entry.site == site)

    def note(self, site: Site, reason: str) -> None:
        """List something that was found otherwise than by running it."""
        key = (site.path, 0, site.op, site.rate)
        self._entries.setdefault(key, Entry(site, False, reason))

    def lossless(self) -> list[Site]:
        """Give the slices that together drop nothing, those that are not listed too."""
        entries = self._entries.values()
        return [each.site for each in entries if each.lossless or not each.listed]

    def listing(self) -> SiteList:
        """List the sites, with names."""
        entries = [entry for entry in self._entries.values() if entry.listed]
        names = names_of((entry.site.path, entry.site.number) for entry in entries)
        return SiteList(
            ListedSite(entry.site, name, entry.supported, entry.reason, entry.error, entry.lossless)
            for name, entry in zip(names, entries, strict=True)
        )

    def _entry(
        self, path: str, op: str, rate: tuple[int, ...], dense_shape: tuple[int, ...] = ()
    ) -> Entry:
        site = self.upcoming(path, op, rate)
        self._ordinals[path] += 1
        key = (path, self._ordinals[path], op, rate)
        if key not in self._entries:
            self._entries[key] = Entry(replace(site, dense_shape=dense_shape))
        return self._entries[key]


class _Slices:
    """Slices of one tensor at one rate, by where they begin."""

    def __init__(self, split: Split) -> None:
        assert split.source is not None
        self._source = weakref.ref(split.source)
        self._version = split.source._version if not split.source.is_inference() else 0
        self._rate = split.rate
        self.entries: dict[tuple[int, ...], Entry] = {}

    def copy(self) -> _Slices:
        other = copy.copy(self)
        other.entries = dict(self.entries)
        return other

    @property
    def first(self) -> Entry:
        return next(iter(self.entries.values()))

    def holds(self, split: Split) -> bool:
        source: Tensor | None = self._source()
        if source is None or source is not split.source or self._rate != split.rate:
            return False
        return source.is_inference() or source._version == self._version

    def is_lossless(self) -> bool:
        return len(self.entries) == math.prod(self._rate)

    def reason(self) -> str:
        return (
            f"drops nothing: its {len(self.entries)} slices of one tensor cover every phase of "
            f"the rate {times(self._rate)}"
        )
