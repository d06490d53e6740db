"""A clean pass recorded: its calls, and what is alive before its sites."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from aliascope.seam.found import Counted
from aliascope.seam.handlers import wanted_by
from aliascope.seam.interception import Around
from aliascope.seam.keeping import Keeping, Start, version_of
from aliascope.seam.obstacles import tensors_in
from aliascope.seam.opening import Opening, Pass
from aliascope.seam.tracking import generator_frame
from aliascope.seam.written import UNTRACEABLE, Made, Name, Untold, made_of, may_write, written
from aliascope.sites import Site

unseen = torch._C.DisableTorchFunction
"""Context in which the seam sees no call."""


@dataclass(frozen=True)
class Recorded:
    """One call: the function, its arguments as written, and what it gave."""

    function: Any
    arguments: Any
    made: Made


@dataclass
class Outside:
    """What the model has of its own before a pass: its tensors by identity, and its modes.

    Examples
    --------
    >>> model = nn.BatchNorm2d(3)
    >>> before = Outside.of(model)
    >>> before == Outside.of(model), before == Outside.of(model.eval())
    (True, False)
    """

    versions: dict[int, int]
    modes: list[bool]
    tensors: dict[int, Tensor] = field(compare=False)

    @classmethod
    def of(cls, model: nn.Module) -> Outside:
        """Look at a model."""
        tensors = {
            id(tensor): tensor
            for module in model.modules()
            for value in vars(module).values()
            for tensor in tensors_in(value)
        }
        versions = {place: version_of(tensor) for place, tensor in tensors.items()}
        return cls(versions, [module.training for module in model.modules()], tensors)


def settings_of(device: torch.device) -> tuple[Any, ...]:
    """Tell what torch computes the same things with, as far as it can be set."""
    kind = device.type
    autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    return autocast, threads, precision, torch.get_default_dtype(), torch.get_default_device()


class RandomNumbers:
    """Whether any were drawn since, from torch's own generators.

    Examples
    --------
    >>> drawn = RandomNumbers(torch.device("cpu"))
    >>> before, _ = drawn.any(), torch.rand(1)
    >>> before, drawn.any()
    (False, True)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = self._states()

    def any(self) -> bool:
        """Say so."""
        return not all(map(torch.equal, self._before, self._states()))

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        module: Any = getattr(torch, self._device.type, None)
        if self._device.type not in ("cpu", "meta") and hasattr(module, "get_rng_state"):
            states.append(module.get_rng_state(self._device))
        return states


@dataclass
class Record:
    """A recorded pass.

    Attributes
    ----------
    inputs : list of Tensor
        What the model was given.
    outside : Outside
        What it had.
    calls : list of Recorded
        Up to the last start.
    keeping : Keeping
        The starts, and what is alive there.
    forms : list of tuple
        Size, strides and dtype of each tensor that was made, by number.
    """

    inputs: list[Tensor]
    outside: Outside
    calls: list[Recorded] = field(default_factory=list)
    keeping: Keeping = field(default_factory=Keeping)
    forms: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = self.inputs[0].device if self.inputs else torch.device("cpu")
        self._settings = settings_of(self.device)
        self._versions = [version_of(tensor) for tensor in self.inputs]
        self._placeholders: dict[int, Tensor] = {}

    @property
    def bytes(self) -> int:
        """Memory that is kept, the inputs included, the model's own not."""
        own = {tensor.untyped_storage()._cdata for tensor in self.outside.tensors.values()}
        memories = [each.untyped_storage() for each in self.inputs] + [*self.keeping.memories()]
        sizes: dict[Any, int] = {each._cdata: each.nbytes() for each in memories}
        return sum(size for place, size in sizes.items() if place not in own)

    def placeholder(self, number: int) -> Tensor:
        """Give what stands for a tensor that is needed no more: it has a form, and no values."""
        if number not in self._placeholders:
            size, stride, dtype = self.forms[number]
            made = torch.empty_strided(size, stride, dtype=dtype, device="meta")
            self._placeholders[number] = made
        return self._placeholders[number]

    def is_placeholder(self, tensor: Tensor) -> bool:
        """Say whether it is one of these."""
        return tensor.is_meta and any(tensor is each for each in self._placeholders.values())

    def holds(self) -> bool:
        """Say whether the inputs are still what they were."""
        return [version_of(each) for each in self.inputs] == self._versions

    def begins_like(self, inputs: list[Tensor], model: nn.Module) -> bool:
        """Say whether a pass with these inputs begins as this one did."""
        if not self.holds() or self.outside != Outside.of(model):
            return False
        if len(inputs) != len(self.inputs) or self._settings != settings_of(self.device):
            return False
        return all(map(_same, inputs, self.inputs))


class Recorder:
    """Records the pass that runs while it watches an opening.

    Parameters
    ----------
    opening : Opening
        That it watches.
    starts : container of Site, or None
        Before which of them to keep what is alive; None is all.
    writers : set
        Functions that were seen to change what they are given, with no sign of it; more are added.

    Attributes
    ----------
    record : Record or None
        What it has so far.
    reason : str
        Why this is of no use.
    changed : bool
        Whether a handler changed a signal.
    """

    def __init__(self, opening: Opening, starts: Container[Site] | None, writers: set[Any]) -> None:
        self._opening, self._starts, self._writers = opening, starts, writers
        self.record: Record | None = None
        self.reason = ""
        self.changed = False
        self._names: dict[int, Name] = {}
        self._alive: dict[int, weakref.ref[Tensor]] = {}
        self._before: list[Site] = []

    def begins(self, begun: Pass) -> Around | None:
        """Look at what the pass has to work on."""
        self.reason = self._hindrance(begun)
        if self.reason:
            return None
        with unseen():
            inputs = list(tensors_in(begun.call.inputs))
            record = self.record = Record(inputs, Outside.of(self._opening.model))
            self._random = RandomNumbers(record.device)
        self._pass = begun
        self._names = {place: Name("outside", place) for place in record.outside.tensors}
        self._names |= {id(each): Name("input", i) for i, each in enumerate(inputs)}
        return self._call

    def ends(self, output: Any) -> bool:
        """Look at what the pass did to what it works on."""
        record = self.record
        assert record is not None
        self.changed = bool(self._pass.changed_by)
        with unseen():
            if generator_frame(output) is not None:
                self.reason = "its forward is a generator"
            elif not self.reason and self._random.any():
                self.reason = "it draws random numbers"
            elif not self.reason and not record.holds():
                self.reason = "it changes what it is given"
            elif not self.reason and record.outside != Outside.of(self._opening.model):
                self.reason = "it changes weights, buffers or attributes of its own"
        last = max((start.index for start in record.keeping.starts.values()), default=0)
        del record.calls[last:]
        return True

    def _hindrance(self, begun: Pass) -> str:
        if self.reason or self.record is not None:
            return self.reason or "it runs twice"
        return "" if begun.frame is None else "no hook tells of its forward"

    # -- calls ---------------------------------------------------------------------------------

    def _call(
        self,
        run: Callable[..., Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        assert self.record is not None
        given: list[Tensor] = []
        if self.reason or self._pass.changed_by:
            return run(function, args, kwargs)
        try:
            arguments = self._told(function, args, kwargs, given)
        except Untold as untold:
            self.reason = str(untold)
            return run(function, args, kwargs)
        found = self._opening.found
        found.latest, counted = None, found.counted()
        versions = [version_of(each) for each in given]
        output = run(function, args, kwargs)
        if self._pass.changed_by:
            return output
        try:
            if found.latest is not None:
                self._meet(found.latest.site, counted)
                if self._opens(found.latest.site):  # plain passes go on with the operation's own
                    output = function(*args, **kwargs)
            changed = [
                each for each, v in zip(given, versions, strict=True) if v != version_of(each)
            ]
            # A list, so that each is seen to.
            if any([self.record.keeping.wrote(each) for each in changed]):  # noqa: C419
                self._writers.add(function)
            made = made_of(output, self._name_made)
        except Untold as untold:
            self.reason = str(untold)
        else:
            self.record.calls.append(Recorded(function, arguments, made))
        return output

    def _told(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        given: list[Tensor],
    ) -> Any:
        """Write a call that is about to run, and copy what it may change."""
        assert self.record is not None
        if function in UNTRACEABLE:
            raise Untold(f"it uses {getattr(function, '__qualname__', function)}")

        def name(tensor: Tensor) -> Name:
            known = self._known(tensor)
            if known is None:
                raise Untold("it works on a tensor that comes from where the seam sees nothing")
            given.append(tensor)
            return known

        arguments = written((args, kwargs), name)
        if function in self._writers or may_write(function, kwargs):
            self.record.keeping.before_writing(given)
        return arguments

    def _known(self, tensor: Tensor) -> Name | None:
        """Name a tensor by what it was before, if it was anything."""
        name = self._names.get(id(tensor))
        if name is None or name.kind != "made":
            return name
        alive = self._alive.get(name.number)
        return name if alive is not None and alive() is tensor else None

    def _name_made(self, tensor: Tensor) -> Name:
        """Name a tensor that a call gave; it may be one that was there before."""
        assert self.record is not None
        known = self._known(tensor)
        if known is not None:
            return known
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_quantized:
            raise Untold(f"a function gives a {type(tensor).__name__} of layout {tensor.layout}")
        name = Name("made", len(self.record.forms))
        self.record.forms.append((tensor.size(), tensor.stride(), tensor.dtype))
        self._names[id(tensor)] = name
        self._alive[name.number] = weakref.ref(tensor)
        return name

    # -- sites ---------------------------------------------------------------------------------

    def _meet(self, site: Site, counted: Counted) -> None:
        """Keep what is alive before a site, which changed nothing of it."""
        assert self.record is not None
        if self._starts is None or site in self._starts:
            if self._random.any():
                raise Untold("it draws random numbers")
            alive = {
                number: tensor
                for number, ref in self._alive.items()
                if (tensor := ref()) is not None
            }
            self._alive = {number: self._alive[number] for number in alive}
            start = Start(site, len(self.record.calls), counted, list(self._before), alive)
            self.record.keeping.keep(start)
        self._before.append(site)

    def _opens(self, site: Site) -> bool:
        """Whether a site is open in this pass alone, and not in those that will follow."""
        if self._opening.installed:  # a filter: it is the model's, and wants its sites in each
            return False
        handlers = self._opening.handlers
        return not handlers or any(wanted_by(each, site) for each in handlers)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are alike in all that a model could tell by."""
    if one is other:
        return True
    forms = [(type(x), x.shape, x.stride(), x.dtype, x.device, x.layout) for x in (one, other)]
    return forms[0] == forms[1] and torch.equal(one, other)
