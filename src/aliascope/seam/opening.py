"""A model opened: its sites run as dense operation, handlers, decimation, while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.seam.counting import count_samples
from aliascope.seam.found import Entry, Found
from aliascope.seam.handlers import Batch, Columns, Handler, Keep, check_handler
from aliascope.seam.installed import installed_in
from aliascope.seam.interception import Around, Seam
from aliascope.seam.signals import Signals
from aliascope.seam.tracking import ROOT, Call, ModuleTracker, generator_frame, in_backward
from aliascope.sites import Site, SiteList

_active = threading.Lock()
_opened: list[Opening] = []


class Pass:
    """One pass through a model.

    Attributes
    ----------
    call : Call
        That began it.
    batch : Batch or None
        What handlers were told of it; None before its first site.
    entries : dict
        What stands beside each site that handlers took, in order.
    changed_by : list of Handler
        Those that changed a signal.
    obstructed : bool
        Whether a site had to run as it is for what its tensors are, or who was watching.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.frame = call.frame
        self.batch: Batch | None = None
        self.entries: dict[Site, Entry] = {}
        self.changed_by: list[Handler] = []
        self.obstructed = False
        self.entered = [call.module]

    @property
    def sites(self) -> list[Site]:
        """Those that handlers took, in order."""
        return list(self.entries)

    def measured(self) -> list[Site]:
        """Those sites that turned out to be such: neither misfits nor slices that drop nothing."""
        return [site for site, entry in self.entries.items() if entry.supported]


class Listener(Protocol):
    """Who is told of passes, to keep what handlers found."""

    def begins(self, begun: Pass, before: nn.Module | None) -> None:
        """Expect a pass; ``before`` is the module whose call was the pass before this one."""

    def numbers(self, count: int) -> Sequence[int]:
        """Give numbers to so many samples."""

    def named(self) -> Sequence[int] | None:
        """Give the numbers of the samples of this pass, where they were named beforehand."""

    def keeping(self) -> Keep | None:
        """Give what keeps arrays."""

    def ends(self, ended: Pass, columns: Sequence[Columns]) -> None:
        """Keep what handlers gave."""

    def fails(self) -> None:
        """Forget the pass under way."""


class Watch(Protocol):
    """Who runs the calls of the model's own forward, to record them or to give them back."""

    def begins(self, begun: Pass) -> Around | None:
        """Give what runs the calls of this pass; None runs them as usual."""

    def ends(self, output: Any) -> bool:
        """Look at what the model gave; False if the pass is not to count."""


class Opening:
    """Open a model: within the context, handlers are called at each of its sites.

    At each site the strided operation is replaced by its dense form, the handlers are called with
    the dense signal, and the samples are dropped afterwards. The model itself is not touched: its
    calls are intercepted, its outputs are those it has otherwise (float rounding apart), in the
    same memory format, gradients flow, and nothing is left behind on exit.

    What cannot be opened runs as it is, and is listed with the reason.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. One from ``torch.compile`` is run as its original.
    handlers : sequence of Handler
        Called in order at each site.
    workspace : int, optional
        Bytes that handlers may take beside the network's own: dense signals that are larger come
        part by part. 256 MB on a CPU and 1 GB on a GPU by default.
    listener : Listener, optional
        Who is told of passes.

    Attributes
    ----------
    model : nn.Module
        What is opened.
    installed : list of Handler
        What stays on the model, as a filter does; called before the others.
    handlers : list of Handler
        All that are called.

    Raises
    ------
    AliascopeError
        If the model is TorchScript, another is open, or a handler is none.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> class Halve:
    ...     whole = False
    ...     def begin(self, batch): pass
    ...     def take(self, site, dense, part): return dense / 2
    ...     def end(self): return None
    ...     def describe(self): return {"name": "halve"}
    >>> model = torch.nn.AvgPool2d(2)
    >>> with al.Opening(model, [Halve()]) as opening:
    ...     print(model(torch.ones(1, 1, 4, 4))[0, 0, 0])
    tensor([0.5000, 0.5000])
    >>> opening.sites
    site    op        rate  dense signal
    (root)  avg_pool  2×2   1×3×3
    """

    def __init__(
        self,
        model: nn.Module,
        handlers: Sequence[Handler] = (),
        *,
        workspace: int | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.model = original_module(model)
        for handler in handlers:
            check_handler(handler)
        self.workspace = workspace
        self._listener = listener
        self._found = Found()
        self._tracker = ModuleTracker(
            self.model, self._call_begins, self._call_ends, again=lambda: self._seam
        )
        # A filter that stays on the model is part of it: what comes after sees what it gives.
        self.installed = installed_in(self._tracker.names())
        self.handlers = [*self.installed, *handlers]
        self._seam = Seam(
            self._path,
            self.handlers,
            self._found,
            self._visit,
            lambda: self.workspace,
            self._note_change,
            self._note_obstacle,
        )
        for path, name in _scripted_functions(self.model):
            reason = f"{name} is a TorchScript function, whose operations cannot be intercepted"
            self._found.note(Site(path, 1, "torchscript"), reason)
        self._exit, self._intercepting = contextlib.ExitStack(), contextlib.ExitStack()
        self._call: Call | None = None
        self._pass: Pass | None = None
        self._before: nn.Module | None = None
        self._held = False
        self._seen = 0
        self._watch: Watch | None = None

    @property
    def sites(self) -> SiteList:
        """Sites found so far, in the order in which they first ran."""
        return self._found.listing()

    def entry_of(self, site: Site) -> Entry:
        """Give what stands beside a site: whether it is opened, if not why, and how exactly."""
        return self._found.entry_of(site)

    def unopened(self) -> SiteList:
        """Give those that run as they are."""
        return SiteList(site for site in self.sites if not site.supported)

    @property
    def found(self) -> Found:
        """What the sites were found to be, and how far this pass's are counted."""
        return self._found

    def start_over(self) -> None:
        """Forget a pass under way, which is to be run again."""
        self._call = None
        if self._pass is not None:
            self._abort()

    @contextlib.contextmanager
    def watched_by(self, watch: Watch) -> Iterator[None]:
        """Have another run the calls of the model's forward within the context."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = self._seam.around = None

    @contextlib.contextmanager
    def keeping_signals(self, signals: Signals) -> Iterator[None]:
        """Keep dense signals within the context, and take those that are kept."""
        self._seam.signals = signals
        try:
            yield
        finally:
            self._seam.signals = None

    def name_of(self, module: nn.Module) -> str:
        """Path of a module of the model."""
        return self._tracker.name_of(module)

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """Take all that runs within the context as one pass: the model, or several modules of it.

        Raises
        ------
        AliascopeError
            If the model, or one of the modules, runs twice.
        """
        if self._call is not None:  # a pass that was interrupted so that no hook saw it end
            self._call = None
            self._abort()
        self.settle()
        self._held = True
        try:
            yield
            self._finish()
        except BaseException:
            self._abort()
            raise
        finally:
            self._held = False
            self._before = None

    def settle(self) -> None:
        """End a pass of which no hook told that it was over."""
        if self._pass is not None and self._call is None and not self._held:
            self._finish()

    def rest(self) -> None:
        """End the pass and open nothing more, but for what autograd runs again, until this is left.

        For who leaves only after backward, of a model that is checkpointed.
        """
        self.settle()
        self._intercepting.close()

    # -- entering and leaving ----------------------------------------------------------------

    def __enter__(self) -> Opening:
        if not _active.acquire(blocking=False):
            raise AliascopeError(
                "Another Scope is active in this process; leave it before entering this one."
            )
        try:
            self._exit.callback(_active.release)
            self._exit.callback(_opened.clear)
            _opened.append(self)
            self._exit.enter_context(_eager_compiled_modules())
            self._exit.enter_context(self._tracker)
            self._exit.callback(self._intercepting.close)
            self._intercepting.enter_context(self._seam)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()
        self._seam.forget()
        if self._held:
            return
        if error is not None or self._call is not None:  # a pass that was interrupted
            self._call = None
            self._abort()
        else:
            self._finish()

    # -- passes ------------------------------------------------------------------------------

    def _call_begins(self, call: Call) -> None:
        self._call = call
        if call.module is self.model:
            self._begin(call)
            if self._watch is not None and self._pass is not None:
                self._seam.around = self._watch.begins(self._pass)

    def _call_ends(self, completed: bool, output: Any) -> None:
        call, self._call = self._call, None
        under_way = self._pass
        if self._watch is not None and self._seam.around is not None:
            self._seam.around = None
            completed = completed and self._watch.ends(output)
        if under_way is None:
            return
        if not completed:
            if not self._held:
                self._abort()
        elif under_way.call is call and not self._held:
            frame = generator_frame(output) if call is not None else None
            if frame is not None:
                under_way.frame = frame  # its forward is yet to run
            elif under_way.frame is None:
                self._finish()

    def _path(self) -> str | None:
        """Path of the module that runs, of whose pass there is one from now on."""
        path = self._tracker.path
        if in_backward():
            return path
        call = self._call
        if self._pass is not None and call is not None and self._pass.call is call:
            return path
        own = self._tracker.own_call()
        if path is None and own is None:
            return None
        if self._pass is None or own is None or own.frame is not self._pass.frame:
            begun = own or call
            assert begun is not None
            self._begin(begun)
        return path or ROOT

    def _begin(self, call: Call) -> None:
        under_way = self._pass
        if self._held and under_way is not None:
            entered = under_way.entered
            if call.module in entered or self.model in (call.module, *entered):
                raise AliascopeError(
                    "The model ran twice within one batch; open a batch for each of its passes."
                )
            entered.append(call.module)
            under_way.call = call
            return
        self._finish()
        self._found.begin()
        self._seam.begin()
        begun = Pass(call)
        if self._listener is not None:
            self._listener.begins(begun, self._before)
        self._pass, self._before = begun, call.module

    def _visit(self, entry: Entry, device: torch.device, rows: int, batched: bool) -> bool:
        """Begin the pass for the handlers, once; say whether they are to take this site."""
        under_way = self._pass
        if under_way is None:
            return False
        if under_way.batch is None:
            count = count_samples(under_way.call.inputs, len(entry.site.rate), rows, batched)
            under_way.batch = self._batch(count, device)
            for handler in self.handlers:
                handler.begin(under_way.batch)
        samples = under_way.batch.samples
        if samples is not None and not under_way.batch.divides(rows):
            entry.refuse(f"its batch of {rows} does not divide into {len(samples)} samples")
            return False
        under_way.entries.setdefault(entry.site, entry)
        return True

    def _batch(self, count: int | None, device: torch.device) -> Batch:
        listener = self._listener
        named = None if listener is None else listener.named()
        if named is not None:
            numbers: tuple[int, ...] | None = tuple(named)
        elif count is None:
            numbers = None
        elif listener is not None:
            numbers = tuple(listener.numbers(count))
        else:
            numbers = tuple(range(self._seen, self._seen + count))
            self._seen += count
        return Batch(numbers, device, None if listener is None else listener.keeping())

    def _note_change(self, handler: Handler) -> None:
        if any(handler is each for each in self.installed):
            return
        if self._pass is not None and all(handler is not each for each in self._pass.changed_by):
            self._pass.changed_by.append(handler)

    def _note_obstacle(self) -> None:
        if self._pass is not None:
            self._pass.obstructed = True

    def _finish(self) -> None:
        """End the pass under way, if there is one."""
        ended, self._pass = self._pass, None
        if ended is None:
            return
        try:
            self._found.end()
            columns: list[Columns] = []
            if ended.batch is None:  # no site was met
                count = count_samples(ended.call.inputs, 2, None, True)
                ended.batch = self._batch(count, torch.device("cpu"))
            else:
                columns = [found for handler in self.handlers if (found := handler.end())]
            if self._listener is not None:
                self._listener.ends(ended, columns)
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        self._pass = None
        if self._listener is not None:
            self._listener.fails()


def opened() -> Opening | None:
    """Give the opening that is active in this process; None where there is none.

    Examples
    --------
    >>> opened() is None
    True
    """
    return _opened[0] if _opened else None


def _scripted_functions(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Find the TorchScript functions that modules hold, or that their forward names."""
    for path, module in model.named_modules():
        forward = getattr(type(module).forward, "__code__", None)
        places = [vars(module)]
        if forward is not None:
            named = type(module).forward.__globals__
            places.append({name: named[name] for name in forward.co_names if name in named})
            inside = type(module).forward.__closure__ or ()
            places.append(dict(zip(forward.co_freevars, map(_content, inside), strict=True)))
        for place in places:
            for name, value in place.items():
                if isinstance(value, torch.jit.ScriptFunction):
                    yield path or ROOT, name


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def find_sites(model: nn.Module, *example_inputs: Any) -> SiteList:
    """Find the sites of a model by running it once.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, and is given back in the
        mode it was in.
    *example_inputs
        Positional arguments of its forward, such as one image batch (N, 3, H, W).

    Returns
    -------
    SiteList
        In the order in which they ran; those with ``supported`` False cannot be measured, for the
        ``reason`` they give. Prints as a table.

    Raises
    ------
    AliascopeError
        As :class:`Opening`.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(3, 2))
    >>> al.find_sites(model, torch.rand(1, 3, 32, 32))
    site  op        rate  dense signal
    0     conv      2×2   8×30×30
    1     max_pool  2×2   8×13×13
    """
    with Opening(model) as opening, evaluating(opening.model):
        opening.model(*example_inputs)
    return opening.sites


def original_module(model: nn.Module) -> nn.Module:
    """Return the module to instrument: that behind ``torch.compile``, or the model itself.

    Parameters
    ----------
    model : nn.Module
        Module as the user has it.

    Returns
    -------
    nn.Module
        Module whose Python forward can be intercepted.

    Raises
    ------
    AliascopeError
        If it is no module, or is or holds TorchScript, which does not run through Python.

    Examples
    --------
    >>> original_module(nn.ReLU())
    ReLU()
    """
    if not isinstance(model, nn.Module):
        raise AliascopeError(
            f"The model is a {type(model).__name__}, but it must be a torch.nn.Module."
        )
    model = getattr(model, "_orig_mod", model)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise AliascopeError(
                f"Module {name or ROOT!r} is TorchScript, whose operations cannot be intercepted; "
                "measure the nn.Module that it was made from."
            )
    return model


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run in eval mode and without gradients; give each module its own mode back afterwards.

    Examples
    --------
    >>> model = nn.Dropout()
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    with contextlib.suppress(NotImplementedError):  # exported programs have no other mode
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _eager_compiled_modules() -> contextlib.AbstractContextManager[Any]:
    """Have compiled modules run as their originals; without torch.compile there are none."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")
