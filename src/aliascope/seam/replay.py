"""Passes that differ from a site on: what was computed before it is given back instead.

The clean pass of a batch is recorded: each call of a torch function that the seam sees, and which
tensors are alive before each site. A changed pass runs the model's own Python code again, and up to
the first site that a handler wants each call is compared with the recorded one (the function, what
it is given, and that its tensors are the ones the recorded call was given) and answered from the
record. What is dead by then is a placeholder without memory. From that site on everything runs.

Whatever does not fit runs plainly, so that the result is the same in any case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.seam.handlers import wanted_by
from aliascope.seam.interception import Around
from aliascope.seam.keeping import Start, version_of
from aliascope.seam.obstacles import short, tensors_in
from aliascope.seam.opening import Opening, Pass
from aliascope.seam.recording import RandomNumbers, Record, Recorder, unseen
from aliascope.seam.written import Name, Untold, written
from aliascope.sites import Site


class Replay:
    """Run a model from its changed site on, after one clean pass of the same batch was recorded.

    It works in ``torch.no_grad()``. What a replayed pass gives is bit for bit what it gives
    plainly. A model that cannot be replayed, because it draws random numbers, say, or does other
    things from pass to pass, runs plainly.

    Parameters
    ----------
    opening : Opening
        The model opened, with handlers whose ``sites`` say where they change something; these may
        be set anew for each pass.

    Attributes
    ----------
    reason : str
        Why the model is not replayed, in one clause; "" as far as it is.
    replayed : int
        How many passes were, rather than run plainly.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> class Halve:
    ...     whole, sites = False, set()
    ...     def begin(self, batch): pass
    ...     def take(self, site, dense, part): return dense / 2
    ...     def end(self): return None
    ...     def describe(self): return {"name": "halve"}
    >>> model, halve = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AvgPool2d(2)), Halve()
    >>> images = torch.ones(1, 1, 4, 4)
    >>> with torch.no_grad(), al.Opening(model, [halve]) as opening:
    ...     replay = Replay(opening)
    ...     with replay.recording():
    ...         clean = model(images)
    ...     halve.sites = {opening.sites[0].site}
    ...     changed = replay.run(lambda: model(images))
    >>> float(clean[0, 0, 0, 0]), float(changed[0, 0, 0, 0]), replay.replayed, replay.kept_bytes
    (1.0, 0.5, 1, 128)
    """

    def __init__(self, opening: Opening) -> None:
        self.reason = ""
        self.replayed = 0
        self._opening = opening
        self._record: Record | None = None
        self._writers: set[Any] = set()

    @property
    def kept_bytes(self) -> int:
        """Memory that is kept of the recorded pass, in bytes; the images are part of it."""
        with unseen():
            return 0 if self._record is None else self._record.bytes

    def forget(self) -> None:
        """Let go of what is kept; passes are plain until another is recorded."""
        self._record = None

    @contextlib.contextmanager
    def recording(self, starts: Container[Site] | None = None) -> Iterator[None]:
        """Record the pass within the context.

        Where handlers want a site it is opened, and then the operation's own output goes on, so
        that what is recorded is what plain passes compute. A pass that a handler changes is not
        recorded.

        Parameters
        ----------
        starts : container of Site, optional
            Those from which passes will be run; what is alive before each is kept. All by default.

        Raises
        ------
        AliascopeError
            Where gradients are recorded, or in inference mode.
        """
        self.forget()
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            raise AliascopeError(
                "A pass is recorded while gradients are, or in inference mode, where nothing tells "
                "of changes in place; do it in torch.no_grad()."
            )
        if self.reason:
            yield
            return
        recorder = Recorder(self._opening, starts, self._writers)
        with self._opening.watched_by(recorder):
            yield
        self.reason = recorder.reason
        if not self.reason and not recorder.changed:
            self._record = recorder.record

    def run(self, run: Callable[[], Any]) -> Any:
        """Run a pass of the recorded batch, from the first site on that a handler wants.

        Parameters
        ----------
        run : callable
            Without arguments; calls the model, or a module around it, once. It is called again
            where it turns out on the way that what was recorded does not fit.

        Returns
        -------
        Any
            What it gives.
        """
        with unseen():
            start = self._start()
        if start is None or self._record is None:
            return run()
        player = Player(self._opening, self._record, start)
        try:
            with self._opening.watched_by(player):
                output = run()
        except Exception as error:
            if not player.played or (player.arrived and not player.reason):
                raise
            self.reason = player.reason or f"given back, it fails ({short(error)})"
        else:
            if not player.played:
                return output
            if player.arrived and not player.reason:
                self.replayed += 1
                return output
            self.reason = player.reason or "its passes end before the site"
        self._opening.start_over()
        self.forget()
        return run()

    def _start(self) -> Start | None:
        """Find the last place before all sites that a handler wants."""
        if self._record is None or torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return None
        found = None
        for start in self._record.keeping.starts.values():
            if any(wanted_by(h, site) for h in self._opening.handlers for site in start.before):
                break
            if start.holds():
                found = start
        return found


class _Differs(Exception):  # noqa: N818 - no error: a plain pass follows
    """A pass is not the recorded one."""


class Player:
    """Gives back the calls of a pass up to a start, while it watches an opening.

    Parameters
    ----------
    opening : Opening
        That it watches.
    record : Record
        Of which pass.
    start : Start
        Where the calls begin to run.

    Attributes
    ----------
    played : bool
        Whether anything was given back; a pass that begins otherwise runs as usual.
    arrived : bool
        Whether the pass came to the start.
    reason : str
        Why the pass is not the recorded one.
    """

    def __init__(self, opening: Opening, record: Record, start: Start) -> None:
        self._opening, self._record, self._start = opening, record, start
        self.played = self.arrived = False
        self.reason = ""
        self._next = 0
        self._names: dict[int, Name] = {}

    def begins(self, begun: Pass) -> Around | None:
        """Make what is alive at the start."""
        record = self._record
        if self.played:
            self.reason = "it runs twice"
            return self._call
        with unseen():
            self._inputs = list(tensors_in(begun.call.inputs))
            if not record.begins_like(self._inputs, self._opening.model):
                return None
            self._alive = self._start.tensors()
            self._versions = [version_of(tensor) for tensor in self._alive.values()]
            self._random = RandomNumbers(record.device)
        self.played = True
        self._names = {place: Name("outside", place) for place in record.outside.tensors}
        self._names |= {id(tensor): Name("made", n) for n, tensor in self._alive.items()}
        self._names |= {id(tensor): Name("input", i) for i, tensor in enumerate(self._inputs)}
        return self._call

    def ends(self, output: Any) -> bool:
        """Look whether what came out is whole."""
        if self._holds_placeholder(output):
            self.reason = "it gives what was dead before the site"
        return self.arrived and not self.reason

    def _call(
        self,
        run: Callable[..., Any],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if self.reason:
            raise _Differs(self.reason)
        if self._next < self._start.index:
            return self._given_back(function, args, kwargs)
        if self._holds_placeholder((args, kwargs)):
            self._differ("it works on what was dead before the site")
        if self.arrived:
            return run(function, args, kwargs)
        self._arrive()
        output = run(function, args, kwargs)
        latest = self._opening.found.latest
        if latest is None or latest.site != self._start.site:
            self._differ(f"its passes are not the same at {self._start.site}")
        return output

    def _given_back(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Give what the recorded call gave, if it is that call."""

        def name(tensor: Tensor) -> Name:
            if id(tensor) not in self._names:
                raise Untold("it works on a tensor that comes from where the seam sees nothing")
            return self._names[id(tensor)]

        recorded = self._record.calls[self._next]
        try:
            arguments = written((args, kwargs), name)
        except Untold as untold:
            self._differ(str(untold))
        if function != recorded.function or arguments != recorded.arguments:
            called = getattr(function, "__name__", "a function")
            self._differ(f"its passes are not the same: one calls {called} where another does not")
        self._next += 1
        return recorded.made.again(self._tensor)

    def _tensor(self, name: Name) -> Tensor:
        """Give what a name stands for in this pass."""
        if name.kind == "input":
            return self._inputs[name.number]
        if name.kind == "outside":
            return self._record.outside.tensors[name.number]
        if name.number in self._alive:
            return self._alive[name.number]
        placeholder = self._record.placeholder(name.number)
        self._names[id(placeholder)] = name
        return placeholder

    def _arrive(self) -> None:
        """See that everything is as it was before the site, and count on from there."""
        if self._versions != [version_of(tensor) for tensor in self._alive.values()]:
            self._differ("it changes tensors where the seam sees nothing")
        if self._random.any() or not self._record.holds():
            self._differ("it draws random numbers, or changes what it is given")
        found = self._opening.found
        found.go_on_from(self._start.counted)
        found.latest = None
        self.arrived = True
        self._alive = {}

    def _holds_placeholder(self, values: Any) -> bool:
        return any(self._is_placeholder(tensor) for tensor in tensors_in(values))

    def _is_placeholder(self, tensor: Tensor) -> bool:
        name = self._names.get(id(tensor))
        return name is not None and name.kind == "made" and self._record.is_placeholder(tensor)

    def _differ(self, reason: str) -> NoReturn:
        self.reason = reason
        raise _Differs(reason)
