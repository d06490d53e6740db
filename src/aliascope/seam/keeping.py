"""Tensors kept as they are before a site, though the pass goes on and may change them.

Nothing is copied unless it has to be: a memory that is about to be written to is copied once, for
all sites that keep something in it, and its views are made anew of a copy of that copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aliascope.seam.found import Counted
from aliascope.seam.written import Untold
from aliascope.sites import Site


@dataclass(frozen=True)
class _View:
    """A tensor in a copied memory."""

    memory: torch.UntypedStorage
    dtype: torch.dtype
    device: torch.device
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def on(self, base: Tensor) -> Tensor:
        """Make it anew, in a memory given as bytes."""
        return base.view(self.dtype).as_strided(self.size, self.stride, self.offset)


@dataclass(eq=False)
class Start:
    """A place from which a pass can be run again: just before a site.

    Attributes
    ----------
    site : Site
        That comes next.
    index : int
        Of its call in the pass.
    counted : Counted
        How the sites were counted up to here.
    before : list of Site
        Those that came before it.
    live : dict of int to Tensor
        Alive here, by number: the tensors themselves, unchanged since.
    """

    site: Site
    index: int
    counted: Counted
    before: list[Site]
    live: dict[int, Tensor]
    spoilt: bool = False
    _versions: dict[int, int] = field(default_factory=dict)
    _copied: dict[int, _View] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._versions = {number: version_of(tensor) for number, tensor in self.live.items()}

    def holds(self) -> bool:
        """Say whether all it keeps is still what it was."""
        if self.spoilt:
            return False
        return all(version_of(tensor) == self._versions[n] for n, tensor in self.live.items())

    def tensors(self) -> dict[int, Tensor]:
        """Give what was alive here, by number; what will be changed as a copy of its own."""
        given, bases = dict(self.live), {}
        for number, view in self._copied.items():
            memory = id(view.memory)
            if memory not in bases:
                empty = torch.empty(0, dtype=torch.uint8, device=view.device)
                bases[memory] = empty.set_(_copy_of(view.memory))
            given[number] = view.on(bases[memory])
        return given

    def memories(self) -> Iterable[torch.UntypedStorage]:
        """Give the memories that it keeps."""
        yield from (tensor.untyped_storage() for tensor in self.live.values())
        yield from (view.memory for view in self._copied.values())

    def copy(self, place: int, memory: torch.UntypedStorage) -> None:
        """Keep what lies in one memory as views of its copy."""
        here = [number for number, tensor in self.live.items() if place_of(tensor) == place]
        for number in here:
            tensor = self.live.pop(number)
            self._copied[number] = _View(
                memory,
                tensor.dtype,
                tensor.device,
                tensor.size(),
                tensor.stride(),
                int(tensor.storage_offset()),
            )


class Keeping:
    """The starts of one pass.

    Examples
    --------
    >>> keeping, x = Keeping(), torch.zeros(2)
    >>> keeping.keep(start := Start(Site("pool"), 3, None, [], {0: x}))
    >>> keeping.before_writing([x])
    >>> _ = x.add_(1)
    >>> start.tensors()[0], start.holds()
    (tensor([0., 0.]), True)
    """

    def __init__(self) -> None:
        self.starts: dict[Site, Start] = {}
        self._keepers: dict[int, list[Start]] = {}

    def memories(self) -> Iterator[torch.UntypedStorage]:
        """Give the memories that are kept, some of them several times."""
        for start in self.starts.values():
            yield from start.memories()

    def keep(self, start: Start) -> None:
        """Keep a start.

        Raises
        ------
        Untold
            If a tensor has no memory that could be copied.
        """
        for tensor in start.live.values():
            if tensor.is_conj() or tensor.is_neg():
                raise Untold("a tensor stands for others' values, to be conjugated or negated")
        self.starts[start.site] = start
        for place in {place_of(tensor) for tensor in start.live.values()}:
            self._keepers.setdefault(place, []).append(start)

    def before_writing(self, tensors: Iterable[Tensor]) -> None:
        """Copy what lies in the memories of tensors that are about to be changed."""
        for tensor in tensors:
            place = place_of(tensor)
            keepers = self._keepers.pop(place, ())
            memory = _copy_of(tensor.untyped_storage()) if keepers else None
            for start in keepers:
                assert memory is not None
                start.copy(place, memory)

    def wrote(self, tensor: Tensor) -> bool:
        """Give up the starts that kept what was changed unannounced; say whether any did."""
        keepers = self._keepers.pop(place_of(tensor), ())
        for start in keepers:
            start.spoilt = True
        return bool(keepers)


def version_of(tensor: Tensor) -> int:
    """Count the changes in place; of what was made in inference mode there can be none outside."""
    return -1 if tensor.is_inference() else tensor._version


def _copy_of(memory: torch.UntypedStorage) -> torch.UntypedStorage:
    copy: torch.UntypedStorage = memory.clone()  # type: ignore[no-untyped-call]
    return copy


def place_of(tensor: Tensor) -> int:
    """Tell memories apart: views of one are in the same."""
    storage: Any = tensor.untyped_storage()
    return storage._cdata
