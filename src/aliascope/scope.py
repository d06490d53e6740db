"""The context manager that opens the sites of a running model: dense, handlers, decimate."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from aliascope import sites
from aliascope.errors import AliascopeError
from aliascope.measurement import Measurement
from aliascope.recorder import DETAILS, Recorder
from aliascope.sites import Site, Split, Unsupported
from aliascope.spectrum import Criterion
from aliascope.store import Store

ROOT = "(root)"
"""Name of the model's own forward among module paths."""

MISFIT = {torch.float16: 0.05, torch.bfloat16: 0.3}
"""Relative recomposition error above which a split is wrong rather than rounded; else 0.001."""

_active = threading.Lock()


class Handler(Protocol):
    """What is called at each site with the dense signal.

    It may record from the signal and return None, or return a changed signal of the same shape,
    which is then what gets decimated.
    """

    def __call__(self, site: Site, dense: Tensor) -> Tensor | None:
        """Handle the dense signal, (N, C, *size), of one site in one pass."""


class Scope:
    """Open the sites of a model, and measure aliasing in every forward pass within the context.

    At each site the strided operation is replaced by its dense form, the handlers are called with
    the dense signal, and the samples are dropped afterwards. The model itself is not touched: its
    calls are intercepted, its outputs are those it has otherwise (float rounding apart), gradients
    flow, and nothing is left behind on exit.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. One from ``torch.compile`` is run as its original.
    detail : {"site", "channel", "pixel", "folds"} or None
        What is kept of each sample: counts of each site; of each channel as well; each bin's
        category as well; the complex folds as well. None measures nothing.
    threshold_db, reference, grid, fold_scale
        See :class:`aliascope.spectrum.Criterion`; the grid is ``auto`` by default.
    handlers : sequence of Handler
        Called in order at each site, before the measurement.
    store : Store, optional
        Run directory to write to; a temporary one by default, kept as long as the measurement is.

    Raises
    ------
    AliascopeError
        If the model is TorchScript, another Scope is active, or an option is unknown.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> with al.Scope(model) as scope:
    ...     _ = model(torch.rand(4, 3, 32, 32))
    >>> scope.measurement().fractions(by="site").shape
    (1, 12)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        detail: str | None = "site",
        threshold_db: float = 20.0,
        reference: str = "max",
        grid: str = "auto",
        fold_scale: str = "unit",
        handlers: Sequence[Handler] = (),
        store: Store | None = None,
    ) -> None:
        if detail is not None and detail not in DETAILS:
            raise AliascopeError(f"detail is {detail!r}, but it must be one of {DETAILS}.")
        criterion = Criterion(threshold_db, reference, grid, fold_scale)
        self.model = original_module(model)
        self.detail = detail
        self.criterion = criterion
        self.handlers: list[Handler] = list(handlers)
        self._store = store
        self._recorder = Recorder(criterion, detail) if detail else None
        self._names = {
            module: name.replace("_orig_mod.", "").removesuffix("._orig_mod")
            for name, module in self.model.named_modules()
        }
        self._found: dict[tuple[str, int, str, tuple[int, ...]], Site] = {}
        self._path: list[nn.Module] = []
        self._ordinals: Counter[str] = Counter()
        self._exception_before: BaseException | None = None
        self._exit = contextlib.ExitStack()
        self._thread = 0
        self._batch: Batch | None = None
        self._samples_seen = 0
        self._parts_written = 0

    @property
    def sites(self) -> list[Site]:
        """Sites found so far, in the order in which they first ran."""
        return list(self._found.values())

    def measurement(self) -> Measurement:
        """Measurement of all passes completed so far.

        Returns
        -------
        Measurement
            A view of the run directory: later passes are seen by calling this again.

        Raises
        ------
        AliascopeError
            If nothing was measured yet.
        """
        if self._recorder is None:
            raise AliascopeError(
                "This Scope has detail=None and measures nothing; create it with detail='site'."
            )
        if self._parts_written == 0:
            raise AliascopeError(
                "Nothing was measured yet; run the model inside `with Scope(model):` first."
            )
        return Measurement(self._open_store())

    @contextlib.contextmanager
    def batch(
        self, samples: pd.DataFrame, *, number: int | None = None, unreadable: Sequence[Any] = ()
    ) -> Iterator[Batch]:
        """Name the samples of the next pass, and record columns of one's own with them.

        Parameters
        ----------
        samples : DataFrame
            One row per sample of the batch, with at least the column ``sample``, a whole number
            that no other sample of the run has. Columns may be added inside the context.
        number : int, optional
            Number of the part that is written; counts up by default.
        unreadable : sequence of (int, str, str)
            Index, name and reason of images that were left out.

        Yields
        ------
        Batch
            Its ``samples`` are what gets written when the context ends without an exception.
        """
        if self._batch is not None:
            raise AliascopeError("A batch is open already; leave its context before the next.")
        batch = Batch(samples, self._parts_written if number is None else number, list(unreadable))
        self._batch = batch
        try:
            yield batch
            self._write(batch)
        except BaseException:
            self._abort()
            raise
        finally:
            self._batch = None

    # -- entering and leaving ----------------------------------------------------------------

    def __enter__(self) -> Scope:
        if not _active.acquire(blocking=False):
            raise AliascopeError(
                "Another Scope is active in this process; leave it before entering this one."
            )
        try:
            self._exit.callback(_active.release)
            self._exit.callback(self._path.clear)
            self._thread = threading.get_ident()
            self._exit.enter_context(_eager_compiled_modules())
            for handle in (
                register_module_forward_pre_hook(self._enter_module),
                register_module_forward_hook(self._leave_module, always_call=True),
            ):
                self._exit.callback(handle.remove)
            self._exit.enter_context(_Intercept(self._call))
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
        if self._batch is None:  # a pass that was interrupted
            self._abort()

    # -- where in the model a call happens ---------------------------------------------------

    def _enter_module(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in self._names:
            return
        if threading.get_ident() != self._thread:
            raise AliascopeError(
                "The model ran in another thread than its Scope was entered in; "
                "run it in the same thread (nn.DataParallel: measure its .module)."
            )
        if module is self.model and self._path:
            self._abort()  # a pass that was interrupted without the hooks seeing it end
            self._path.clear()
        if not self._path:
            self._ordinals.clear()
            self._exception_before = sys.exc_info()[1]
            if self._recorder and not _in_backward():
                self._begin_pass(args)
        self._path.append(module)

    def _leave_module(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module not in self._path:
            return
        while self._path.pop() is not module:
            pass
        if self._path or self._recorder is None or _in_backward():
            return
        if sys.exc_info()[1] is not self._exception_before:
            self._abort()
        elif self._batch is None:
            numbers = range(self._samples_seen, self._samples_seen + self._recorder.n_samples)
            samples = pd.DataFrame({"sample": list(numbers)})
            self._write(Batch(samples, self._parts_written, []))

    # -- measuring ---------------------------------------------------------------------------

    def _open_store(self) -> Store:
        if self._store is None:
            self._store = Store.temporary()
        return self._store

    def _begin_pass(self, args: tuple[Any, ...]) -> None:
        assert self._recorder is not None
        number = self._parts_written if self._batch is None else self._batch.number
        if self._batch is not None and self._recorder.open:
            raise AliascopeError(
                "The model ran twice within one batch; open a batch for each of its passes."
            )
        n = len(self._batch.samples) if self._batch is not None else _batch_size(args)
        self._recorder.begin(n, self._open_store().begin(number))

    def _write(self, batch: Batch) -> None:
        if self._recorder is None:
            return
        store = self._open_store()
        if self._parts_written == 0 and not store.has_run():
            store.write_run({"criterion": vars(self.criterion), "detail": self.detail})
        if not self._recorder.open:  # no sample could be read, or the model did not run
            self._recorder.begin(0, store.begin(batch.number))
        unsupported = [site for site in self.sites if not site.supported]
        self._recorder.commit(batch.samples, unsupported, batch.unreadable, batch.arrays)
        self._samples_seen += len(batch.samples)
        self._parts_written += 1

    def _abort(self) -> None:
        if self._recorder is not None:
            self._recorder.abort()

    # -- the seam ----------------------------------------------------------------------------

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        rule = sites.rule_for(function) if self._path else None
        if rule is None:
            return function(*args, **kwargs)
        try:
            found = rule(function, args, kwargs)
            raw = found.dense() if isinstance(found, Split) else None
        except Exception as error:  # a call that its rule does not understand
            output = function(*args, **kwargs)  # raises, if it is the call that is wrong
            reason = f"its rule failed on this call ({type(error).__name__}: {error})"
            self._site(Unsupported(getattr(function, "__name__", "operation"), reason), None)
            return output
        if found is None:
            return function(*args, **kwargs)
        if isinstance(found, Unsupported):
            self._site(found, None)
            return function(*args, **kwargs)
        assert raw is not None
        return self._open_site(found, raw, function, args, kwargs)

    def _open_site(
        self,
        split: Split,
        raw: Tensor,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        dense = raw if split.batched else raw.unsqueeze(0)
        size = dense.shape[2:]
        kept = [-(-n // r) for n, r in zip(size, split.rate, strict=True)]
        # An axis with a single sample has nothing to drop; an output of one sample per axis keeps
        # no frequency but zero, and is not a site.
        rate = tuple(1 if n == 1 else r for n, r in zip(size, split.rate, strict=True))
        if max(rate) == 1 or max(kept) == 1 or dense.numel() == 0:
            return function(*args, **kwargs)
        if dense.dtype == torch.bool or dense.is_complex():
            reason = f"its values are {str(dense.dtype).removeprefix('torch.')}, not real numbers"
            self._site(Unsupported(split.op, reason, rate), None)
            return function(*args, **kwargs)
        site = self._site(split, dense, rate)
        if site.supported and math.isnan(site.recomposition_error):
            self._check_recomposition(site, split, raw, function, args, kwargs)
        if not site.supported:
            return function(*args, **kwargs)
        for handler in self.handlers:
            changed = handler(site, dense)
            if changed is not None:
                if changed.shape != dense.shape:
                    raise AliascopeError(
                        f"A handler changed the dense signal of {site.name} from shape "
                        f"{tuple(dense.shape)} to {tuple(changed.shape)}; it must keep the shape."
                    )
                dense = changed
        if self._recorder is not None and self._recorder.open and not _in_backward():
            self._recorder(site, dense)
        return split.finish(split.decimate(dense if split.batched else dense.squeeze(0)))

    def _site(
        self, found: Split | Unsupported, dense: Tensor | None, rate: tuple[int, ...] | None = None
    ) -> Site:
        path = self._names[self._path[-1]] or ROOT
        self._ordinals[path] += 1
        rate = found.rate if rate is None else rate
        key = (path, self._ordinals[path], found.op, rate)
        if key not in self._found:
            of_path = [site for site in self._found.values() if site.path == path]
            shape = tuple(dense.shape[1:]) if dense is not None else ()
            site = Site(path, found.op, rate, shape, path=path, number=len(of_path) + 1)
            if of_path:
                of_path[0].name, site.name = f"{path}#1", f"{path}#{site.number}"
            if isinstance(found, Unsupported):
                site.supported, site.reason = False, found.reason
            self._found[key] = site
        return self._found[key]

    def _check_recomposition(
        self,
        site: Site,
        split: Split,
        raw: Tensor,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        with torch.no_grad():
            original = _first_tensor(function(*args, **kwargs))
            recomposed = _first_tensor(split.finish(split.decimate(raw)))
        for gives, wanted in (
            (tuple(recomposed.shape), tuple(original.shape)),
            (recomposed.dtype, original.dtype),
        ):
            if gives != wanted:
                site.supported = False
                site.reason = f"its split gives {gives} in place of {wanted}"
                return
        largest = float(original.abs().max())
        difference = float((original.double() - recomposed.double()).abs().max())
        site.recomposition_error = difference / largest if largest > 0 else difference
        if site.recomposition_error > MISFIT.get(original.dtype, 1e-3):
            site.supported = False
            site.reason = f"its split differs from it by {site.recomposition_error:.1g} of its peak"


class Batch:
    """Samples of one pass, to be written with their counts.

    Attributes
    ----------
    samples : DataFrame
        One row per sample; columns may be added until the context of :meth:`Scope.batch` ends.
    number : int
        Number of the part.
    unreadable : list
        Index, name and reason of images that were left out.
    arrays : dict of str to ndarray
        Arrays of one's own to keep with the part, (samples, ...), such as features.
    """

    def __init__(self, samples: pd.DataFrame, number: int, unreadable: list[Any]) -> None:
        self.samples = samples
        self.number = number
        self.unreadable = unreadable
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}


class _Intercept(TorchFunctionMode):
    """Hand every torch function call to ``call(function, args, kwargs)``."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self._call = call

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self._call(function, args, kwargs or {})


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


def find_sites(model: nn.Module, *example_inputs: Any) -> list[Site]:
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
    list of Site
        In the order in which they ran; those with ``supported`` False cannot be measured, for the
        ``reason`` they give.

    Raises
    ------
    AliascopeError
        As :class:`Scope`.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(3, 2))
    >>> for site in al.find_sites(model, torch.rand(1, 3, 32, 32)):
    ...     print(site.name, site.op, site.rate, site.dense_shape)
    0 conv (2, 2) (8, 30, 30)
    1 max_pool (2, 2) (8, 13, 13)
    """
    with Scope(model, detail=None) as scope, evaluating(scope.model):
        scope.model(*example_inputs)
    return scope.sites


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
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _in_backward() -> bool:
    """Whether autograd is running, as when checkpointed modules run their forward again."""
    return bool(torch._C._current_graph_task_id() != -1)


def _eager_compiled_modules() -> contextlib.AbstractContextManager[Any]:
    """Have compiled modules run as their originals; without torch.compile there are none."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


def _first_tensor(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def _batch_size(args: Sequence[Any]) -> int | None:
    """Count the samples of a pass: the first tensor's first axis, or the images in a list."""
    for arg in args:
        if isinstance(arg, Tensor) and arg.ndim > 0:
            return len(arg)
        if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor):
            return len(arg)
    return None
