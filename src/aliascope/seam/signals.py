"""Dense signals kept, for passes that come to a site with the same tensors again and again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from aliascope.seam.keeping import version_of
from aliascope.seam.written import Name, Untold, written

Made = TypeVar("Made")


@dataclass(eq=False)
class _Call:
    """A call that decimates, and its dense signal, in parts perhaps."""

    function: Any
    arguments: Any
    tensors: list[Tensor]
    versions: list[int] = field(init=False)
    signals: dict[Hashable, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.versions = [version_of(each) for each in self.tensors]

    def is_again(self, other: _Call) -> bool:
        """Whether another call is of the same tensors, unchanged, and the same in all else."""
        return (
            self.function == other.function
            and self.arguments == other.arguments
            and len(self.tensors) == len(other.tensors)
            and all(a is b for a, b in zip(self.tensors, other.tensors, strict=True))
            and self.versions == other.versions
        )


class Signals:
    """Keeps the dense signals of calls, and what was worked out of them, for the same calls again.

    Interventions at one site differ in what they do to its dense signal, not in the signal. A call
    is the same if its function and arguments are, its tensors the very ones and not written to
    since; so what it gives is bit for bit what it would compute. Where a module's call turns out
    another one the second time, nothing of it is kept from then on.

    Parameters
    ----------
    limit : int
        Bytes of dense signals to keep; what is worked out of them comes on top, some two times
        that for `aliascope.interventions.Bands`.

    Attributes
    ----------
    bytes : int
        Kept dense signals.
    given : int
        How many were given instead of computed.

    Examples
    --------
    >>> import torch
    >>> signals, x = Signals(1 << 20), torch.ones(4)
    >>> double = lambda: x * 2
    >>> first = signals.of("layer", torch.mul, (x, 2), {}, None, double)
    >>> signals.of("layer", torch.mul, (x, 2), {}, None, double) is first
    True
    >>> signals.of("layer", torch.mul, (x.add_(1), 2), {}, None, double)
    tensor([4., 4., 4., 4.])
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = self.given = 0
        self._calls: dict[str, _Call] = {}
        self._worked_out: dict[int, tuple[Tensor, int, Any]] = {}
        self._subject: Hashable = None
        self._differing: set[tuple[Hashable, str]] = set()

    def about(self, subject: Hashable) -> None:
        """Expect passes that change something else from now on; forget what was for others."""
        if subject != self._subject:
            self.forget()
            self._subject = subject

    def forget(self) -> None:
        """Let go of all signals."""
        self._calls, self._worked_out, self.bytes = {}, {}, 0

    def of(
        self,
        path: str,
        function: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        part: Hashable,
        make: Callable[[], Tensor],
    ) -> Tensor:
        """Give a call's dense signal.

        Parameters
        ----------
        path : str
            Of the module that calls.
        function, args, kwargs
            Of the call.
        part : hashable
            Which part of the signal.
        make : callable
            Computes it.
        """
        if (self._subject, path) in self._differing:
            return make()
        call = _told(function, args, kwargs)
        if call is None:
            return make()
        known = self._calls.get(path)
        if known is None:
            known = self._calls[path] = call
        elif not known.is_again(call):
            self._differing.add((self._subject, path))
            self._drop(path)
            return make()
        signal = known.signals.get(part)
        if signal is not None and version_of(signal) == self._worked_out[id(signal)][1]:
            self.given += 1
            return signal
        signal = make()
        size = signal.nbytes
        if part not in known.signals and self.bytes + size <= self.limit:
            known.signals[part] = signal
            self._worked_out[id(signal)] = (signal, version_of(signal), None)
            self.bytes += size
        return signal

    def worked_out(self, signal: Tensor, make: Callable[[], Made]) -> Made:
        """Give what is worked out of a signal; of one that is kept, only once.

        Examples
        --------
        >>> import torch
        >>> Signals(0).worked_out(torch.ones(2), lambda: 3)
        3
        """
        kept = self._worked_out.get(id(signal))
        if kept is None or kept[0] is not signal or version_of(signal) != kept[1]:
            return make()
        made: Made = make() if kept[2] is None else kept[2]
        self._worked_out[id(signal)] = (signal, kept[1], made)
        return made

    def _drop(self, path: str) -> None:
        for signal in self._calls.pop(path).signals.values():
            del self._worked_out[id(signal)]
            self.bytes -= signal.nbytes


def _told(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Call | None:
    """Write a call down; None where that cannot be done."""
    tensors: list[Tensor] = []

    def name(tensor: Tensor) -> Name:
        tensors.append(tensor)
        return Name("made", len(tensors) - 1)

    try:
        return _Call(function, written((args, kwargs), name), tensors)
    except Untold:
        return None
