"""The seam: at each site *dense operation, handlers, decimation* in place of the operation."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aliascope.errors import AliascopeError, is_out_of_memory
from aliascope.precision import unrounded
from aliascope.seam.changes import Change, Changes
from aliascope.seam.found import Entry, Found, Key
from aliascope.seam.handlers import Handler, wanted_by
from aliascope.seam.layouts import Layout, layout_of, order_of
from aliascope.seam.obstacles import obstacle, short, tensors_in
from aliascope.seam.parts import Cut, Part, plan_parts, workspace_of
from aliascope.seam.recomposition import first_tensor, misfit
from aliascope.seam.signals import Signals
from aliascope.seam.tracking import in_backward, in_checkpoint, in_checkpointed_function
from aliascope.sites import Split, Stepped, Unsupported, rule_for
from aliascope.sites.registry import stand_ins

Path = Callable[[], str | None]
"""Gives the path of the module that runs; None where calls are none of the model's."""

Visit = Callable[[Entry, torch.device, int, bool], bool]
"""Called at a site with the rows of its dense signal and whether it had a batch axis; says whether
handlers are to take it."""


Around = Callable[[Callable[..., Any], Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]
"""Called in place of running a call: with what runs it, the function, and its arguments."""


class Seam(TorchFunctionMode):
    """Intercept torch's functions, and open those that decimate.

    Parameters
    ----------
    path : callable
        See `Path`.
    handlers : sequence of Handler
        Called in order at each site.
    found : Found
        Where sites are noted.
    visit : callable
        See `Visit`.
    workspace : callable
        Gives the bytes that handlers may take beside the network's own; None for the default.
    changed : callable
        Called with a handler that changed a signal.
    obstructed : callable
        Called where a call had to run as it is for what its tensors are.

    Attributes
    ----------
    around : callable or None
        Runs the calls, where somebody does; see `Around`.
    signals : Signals or None
        Keeps dense signals, where the same ones are met again.
    """

    def __init__(
        self,
        path: Path,
        handlers: Sequence[Handler],
        found: Found,
        visit: Visit,
        workspace: Callable[[], int | None],
        changed: Callable[[Handler], None],
        obstructed: Callable[[], None],
    ) -> None:
        super().__init__()
        self._path, self._handlers, self._found = path, handlers, found
        self._visit, self._workspace, self._changed = visit, workspace, changed
        self._obstructed = obstructed
        self._changes = Changes()
        self._stand_ins: dict[Any, Any] = {}
        self._touched = False
        self.around: Around | None = None
        self.signals: Signals | None = None

    def __enter__(self) -> Seam:
        self._stand_ins = stand_ins()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def forget(self) -> None:
        """Let go of what was kept for autograd."""
        self._changes.forget()

    def begin(self) -> None:
        """Expect a pass: what autograd ran again before it is over."""
        self._changes.forget_used()

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one call: as it is, or opened; or as who runs the calls around it does."""
        if self.around is not None:
            return self.around(self._run, function, args, kwargs or {})
        return self._run(function, args, kwargs or {})

    def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        known = self._stand_ins.get(function, function) if self._stand_ins else function
        rule = rule_for(known)
        if rule is None or _is_symbolic(args):
            return function(*args, **kwargs)
        call = _Call(function, args, kwargs)
        try:
            split = rule(known, args, kwargs)
        except Exception as error:  # a call that its rule does not understand
            return self._failed(call, error)
        if split is None:
            return call.run()
        if isinstance(split, Stepped):
            output = call.run()
            split.remember(output)
            return output
        path = self._path()
        if path is None:
            return call.run()
        call.path = path
        reason = obstacle(args, kwargs, values=bool(self._handlers))
        if isinstance(split, Split) and not reason:
            return self._open(call, split)
        if not in_backward():
            what = Unsupported(split.op, reason, split.rate) if reason else split
            if reason:
                self._obstructed()
            assert isinstance(what, Unsupported)
            self._found.unsupported(path, what)
        return call.run()

    def _failed(self, call: _Call, error: Exception) -> Any:
        # In backward, checkpointing ends the forward early by an exception of its own.
        if in_backward() or is_out_of_memory(error):
            raise error
        output = call.run()  # raises, if it is the call that is wrong
        path = self._path()
        if path is not None:
            reason = obstacle(call.args, call.kwargs, values=bool(self._handlers))
            reason = reason or f"its rule failed on this call ({short(error)})"
            name = getattr(call.function, "__name__", "operation")
            self._found.unsupported(path, Unsupported(name, reason))
        return output

    # -- opening -------------------------------------------------------------------------------

    def _open(self, call: _Call, split: Split) -> Any:
        try:
            if self._passes_by(call, split):
                return call.run()
            cut = self._cut(split)
            raw = self._dense(call, split.dense) if cut is None else None
        except Exception as error:
            return self._failed(call, error)
        if raw is None:
            assert cut is not None
            return self._open_in_parts(call, split, cut)
        dense = raw if split.batched else raw.unsqueeze(0)
        rate = rate_at(dense.shape[2:], split.rate)
        if rate is None or dense.numel() == 0:
            return call.run()
        if dense.dtype == torch.bool or dense.is_complex():
            reason = f"its values are {str(dense.dtype).removeprefix('torch.')}, not real numbers"
            self._found.unsupported(call.path, Unsupported(split.op, reason, rate))
            return call.run()
        key = (call.path, split.op, rate)
        if in_backward():
            return self._open_again(call, split, key, dense)
        entry = self._found.at(call.path, split, dense.shape, rate)
        order = self._checked(call, split, entry, raw)
        if not entry.supported:
            return call.run()
        handlers = self._wanting(entry)
        if handlers and self._visit(entry, dense.device, len(dense), split.batched):
            dense = self._handled(key, entry, split, dense, handlers)
        elif len(handlers) < len(self._handlers) and in_checkpoint():
            kept = dense.detach()
            self._changes.remember(Change(key, kept, kept))
        return split.finish(split.decimate(_unbatched(dense, split), order))

    def _dense(self, call: _Call, make: Callable[[], Tensor], part: Part | None = None) -> Tensor:
        """Compute a dense signal, or one part, unless it is kept."""
        if self.signals is None or torch.is_grad_enabled():
            return make()
        index = None if part is None else _bounds(part)
        return self.signals.of(call.path, call.function, call.args, call.kwargs, index, make)

    def _passes_by(self, call: _Call, split: Split) -> bool:
        """Note a site that no handler wants; say whether this is one, which is not to be opened."""
        if all(getattr(each, "sites", None) is None for each in self._handlers):
            return False
        if in_backward() or in_checkpoint():  # autograd would not run it again as it is
            return False
        with torch.no_grad():
            one = _smallest_part(split)
        rate = rate_at(one.shape[2:], split.rate)
        if rate is None or not _has_values(one):
            return False
        site = self._found.upcoming(call.path, split.op, rate)
        if any(wanted_by(each, site) for each in self._handlers):
            return False
        rows = one.shape[:2] if split.part is None else (split.samples, split.channels)
        self._found.at(call.path, split, (*rows, *one.shape[2:]), rate)
        return True

    def _wanting(self, entry: Entry) -> list[Handler]:
        return [each for each in self._handlers if wanted_by(each, entry.site)]

    def _open_again(self, call: _Call, split: Split, key: Key, dense: Tensor) -> Any:
        """Open a site of a checkpointed module, which autograd runs again."""
        entry = self._found.known(key)
        if entry is not None and not entry.supported:
            return call.run()
        order = None if entry is None else entry.orders.get(call.layout())
        dense = self._changes.again(key, dense)
        return split.finish(split.decimate(_unbatched(dense, split), order))

    def _checked(
        self, call: _Call, split: Split, entry: Entry, raw: Tensor
    ) -> tuple[int, ...] | None:
        """Give the memory order of the output; compare with the operation itself, for each once."""
        layout = call.layout()
        if layout in entry.orders:
            return entry.orders[layout]
        with torch.no_grad():
            original = first_tensor(call.run())
            order = order_of(original) if split.contiguous else None
            recomposed = first_tensor(split.finish(split.decimate(raw, order)))
            entry.compare(*misfit(original, recomposed))
        entry.orders[layout] = order
        return order

    def _handled(
        self, key: Key, entry: Entry, split: Split, dense: Tensor, handlers: Sequence[Handler]
    ) -> Tensor:
        """Give a whole dense signal to the handlers, one after the other."""
        again = in_checkpoint()
        before, leaf = dense, None
        with _beside_autograd(dense, again):
            if again and not torch.is_grad_enabled():
                leaf = Changes.leaf_of(dense)
                with torch.enable_grad():
                    made = self._take_in_turn(entry, leaf, handlers)
                dense = dense if made is leaf else made.detach()
            else:
                made = dense = self._take_in_turn(entry, dense, handlers)
        if dense is before:
            return dense
        if again:
            if in_checkpointed_function():
                raise AliascopeError(
                    f"A handler changed the dense signal of {entry.site} in a checkpointed "
                    "function that is no module, which autograd would run again "
                    "without the change; checkpoint a module in its place."
                )
            way_back = None if leaf is None else (leaf, made)
            first = before.detach().clone() if before._is_view() else before.detach()
            self._changes.remember(Change(key, first, dense.detach(), way_back))
        # The model may write into a slice: into one of its own, not into what a handler holds.
        return dense if split.contiguous else dense.clone()

    def _take_in_turn(self, entry: Entry, dense: Tensor, handlers: Sequence[Handler]) -> Tensor:
        for handler in handlers:
            dense = self._taken(handler, entry, dense, Part.whole(dense))
        return dense

    def _taken(self, handler: Handler, entry: Entry, dense: Tensor, part: Part) -> Tensor:
        """Give one handler one part, and check what it makes of it."""
        changed = handler.take(entry.site, dense.resolve_neg(), part)
        if changed is None:
            return dense
        for what, gives, wanted in (
            ("shape", tuple(changed.shape), tuple(dense.shape)),
            ("dtype", changed.dtype, dense.dtype),
            ("device", changed.device, dense.device),
        ):
            if gives != wanted:
                raise AliascopeError(
                    f"A handler ({type(handler).__name__}) changed the dense signal of "
                    f"{entry.site} from {what} {wanted} to {gives}; it must keep the {what}."
                )
        self._touched = True
        self._changed(handler)
        return changed

    # -- part by part --------------------------------------------------------------------------

    def _cut(self, split: Split) -> Cut | None:
        """Plan a dense signal that is larger than it should be at once; None does it whole."""
        if split.part is None or torch.is_grad_enabled() or in_checkpoint():
            return None
        one = _smallest_part(split)
        # A sample or channel that is not there, or a signal that is not real, is no matter of size.
        if not _has_values(one):
            return None
        return plan_parts(split, one, workspace_of(one.device.type, self._workspace()))

    def _open_in_parts(self, call: _Call, split: Split, cut: Cut) -> Any:
        """Open a site part by part: of each, the dense signal is taken, decimated and let go."""
        assert split.part is not None
        rate = rate_at(cut.shape[2:], split.rate)
        if rate is None:
            return call.run()
        entry = self._found.at(call.path, split, cut.shape, rate)
        layout = call.layout()
        original = None
        if layout not in entry.orders:
            original = first_tensor(call.run())
            entry.orders[layout] = order_of(original)
        if not entry.supported:
            return call.run()
        order = entry.orders[layout]
        handlers = self._wanting(entry)
        if handlers and not self._visit(entry, call.device(), cut.shape[0], True):
            handlers = []
        self._touched = False
        if any(handler.whole for handler in handlers):
            decimated = split.decimate(
                self._handled_whole(entry, split.dense(), cut, handlers), order
            )
        else:
            decimated = self._decimated_in_parts(call, entry, split, cut, order, handlers)
        output = split.finish(decimated)
        if original is not None:
            recomposed = output
            if self._touched:
                plain = self._decimated_in_parts(call, entry, split, cut, order, ())
                recomposed = split.finish(plain)
            entry.compare(*misfit(original, first_tensor(recomposed)))
            if not entry.supported:
                return call.run()
        return output

    def _decimated_in_parts(
        self,
        call: _Call,
        entry: Entry,
        split: Split,
        cut: Cut,
        order: tuple[int, ...] | None,
        handlers: Sequence[Handler],
    ) -> Tensor:
        assert split.part is not None and order is not None
        decimated: Tensor | None = None
        for part in cut:
            dense = self._dense(call, functools.partial(split.part, *part.index), part)
            with _beside_autograd(dense, False):
                for handler in handlers:
                    dense = self._taken(handler, entry, dense, part)
            if decimated is None:
                kept = (-(-n // r) for n, r in zip(dense.shape[2:], split.rate, strict=True))
                decimated = torch.empty_permuted(
                    (*cut.shape[:2], *kept), order, dtype=dense.dtype, device=dense.device
                )
            decimated[part.index] = split.kept(dense)
            del dense  # before the next is made
        assert decimated is not None
        return decimated

    def _handled_whole(
        self, entry: Entry, dense: Tensor, cut: Cut, handlers: Sequence[Handler]
    ) -> Tensor:
        """Give a dense signal whole to the handlers that need it so, and to the others in parts."""
        for handler in handlers:
            with _beside_autograd(dense, False):
                if handler.whole:
                    dense = self._taken(handler, entry, dense, Part.whole(dense))
                    continue
                into = None
                for part in cut:
                    taken = dense[part.index]
                    changed = self._taken(handler, entry, taken, part)
                    if changed is not taken:
                        into = dense.clone() if into is None else into
                        into[part.index] = changed
                dense = dense if into is None else into
        return dense


class _Call:
    """One call of a function by the model."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.path = ""

    def run(self) -> Any:
        """Run it as it is."""
        return self.function(*self.args, **self.kwargs)

    def layout(self) -> Layout:
        """Say what the memory format of its output may depend on."""
        return layout_of(tensors_in((self.args, self.kwargs)))

    def device(self) -> torch.device:
        """Where it runs."""
        return next(tensors_in((self.args, self.kwargs))).device


def _is_symbolic(args: tuple[Any, ...]) -> bool:
    """Whether a size is a symbol, which reading would turn into a number."""
    return any(isinstance(n, torch.SymInt) for x in args if isinstance(x, Tensor) for n in x.shape)


@contextlib.contextmanager
def _beside_autograd(dense: Tensor, checkpointed: bool) -> Iterator[None]:
    """Keep what handlers compute from being rounded, and out of a checkpoint's books."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(unrounded(dense.device.type))
        if checkpointed and torch.is_grad_enabled():
            as_it_is = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
            stack.enter_context(as_it_is)
        yield


def _smallest_part(split: Split) -> Tensor:
    """Compute the least of a dense signal that tells its size, (1, c, *size)."""
    if split.part is not None:
        return split.part(slice(0, 1), slice(0, split.channel_step))
    return split.dense() if split.batched else split.dense().unsqueeze(0)


def _bounds(part: Part) -> tuple[int, ...]:
    """Tell parts apart; a slice cannot be looked up before Python 3.12."""
    return part.samples.start, part.samples.stop, part.channels.start, part.channels.stop


def _has_values(dense: Tensor) -> bool:
    """Whether it holds real numbers at all."""
    return dense.numel() > 0 and dense.dtype != torch.bool and not dense.is_complex()


def _unbatched(dense: Tensor, split: Split) -> Tensor:
    return dense if split.batched else dense.squeeze(0)


def rate_at(size: Sequence[int], rate: Sequence[int]) -> tuple[int, ...] | None:
    """Rate at a dense signal of this size; None where it is no site.

    An axis with a single sample has nothing to drop; an output of one sample per axis keeps no
    frequency but zero.
    """
    kept = [-(-n // r) for n, r in zip(size, rate, strict=True)]
    rate = tuple(1 if n == 1 else r for n, r in zip(size, rate, strict=True))
    return None if max(rate) == 1 or max(kept) == 1 else rate
