"""The context manager that opens the sites of a running model, and measures at each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.measures.categories import DETAILS, Recorder
from aliascope.measures.engines import LEAST_WORKSPACE, check_engine, workspace_of
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.measurement import Measurement
from aliascope.runs.store import Store
from aliascope.seam.handlers import Handler
from aliascope.seam.interception import Seam
from aliascope.seam.opening import (
    _active,
    _batch_size,
    _eager_compiled_modules,
    evaluating,
    original_module,
)
from aliascope.seam.tracking import ModuleTracker, in_backward
from aliascope.sites import Site
from aliascope.spectrum import Criterion


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
    engine : {"auto", "torch", "numba"}
        What counts; see :func:`aliascope.measures.engines.count_categories`.
    workspace : int, optional
        Bytes that measuring may take beside the network's own: large dense signals are made and
        measured part by part. 256 MB on a CPU and 1 GB on a GPU by default. Handlers of one's own
        get whole signals, whatever their size.

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
        engine: str = "auto",
        workspace: int | None = None,
    ) -> None:
        if detail is not None and detail not in DETAILS:
            raise AliascopeError(f"detail is {detail!r}, but it must be one of {DETAILS}.")
        self.criterion = Criterion(threshold_db, reference, grid, fold_scale)
        self.model = original_module(model)
        self.detail = detail
        check_engine(engine, workspace)
        self._recorder = (
            Recorder(self.criterion, detail, engine=engine, workspace=workspace) if detail else None
        )
        self._workspace = workspace
        self._tracker = ModuleTracker(
            self.model, self._begin_pass, self._end_pass, again=lambda: self._seam
        )
        # One's own handlers are promised whole dense signals.
        by_parts = None if handlers else _MeasuredParts(self._recording, lambda: self._workspace)
        self._seam = Seam(lambda: self._tracker.path, [*handlers, self._measure], by_parts)
        self._store = store
        self._exit = contextlib.ExitStack()
        self._batch: Batch | None = None
        self._entered: list[nn.Module] = []
        self._samples_seen = 0
        self._parts_written = 0

    @property
    def sites(self) -> list[Site]:
        """Sites found so far, in the order in which they first ran."""
        return self._seam.sites

    def halve_workspace(self, device_type: str) -> int | None:
        """Take half as much memory from now on, of a device that has run out of it.

        Parameters
        ----------
        device_type : str
            "cpu" or "cuda".

        Returns
        -------
        int or None
            Bytes of the workspace from now on; None where it cannot be any smaller.
        """
        half = workspace_of(device_type, self._workspace) // 2
        if half < LEAST_WORKSPACE:
            return None
        self._workspace = half
        if self._recorder is not None:
            self._recorder.workspace = half
        return half

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
        self,
        samples: pd.DataFrame | None = None,
        *,
        number: int | None = None,
        unreadable: Sequence[Any] = (),
        condition: Condition = CLEAN,
    ) -> Iterator[Batch]:
        """Name the samples of the next pass, and record columns of one's own with them.

        What runs within the context is one pass: the model, or several of its modules, each once.

        Parameters
        ----------
        samples : DataFrame, optional
            One row per sample of the batch, with at least the column ``sample``, a whole number
            that no other sample of the run has; counts up by default. Columns may be added inside
            the context.
        number : int, optional
            Number of the part that is written; counts up by default.
        unreadable : sequence of (int, str, str)
            Index, name and reason of images that were left out.
        condition : Condition
            Under what the pass is run; clean by default.

        Yields
        ------
        Batch
            Its ``samples`` are what gets written when the context ends without an exception.

        Raises
        ------
        AliascopeError
            If a batch is open already.
        """
        if self._batch is not None:
            raise AliascopeError("A batch is open already; leave its context before the next.")
        batch = Batch(samples, number, list(unreadable), condition)
        self._batch = batch
        self._entered.clear()
        try:
            yield batch
            self._write(batch)
        except BaseException:
            self._abort()
            raise
        finally:
            self._batch = None
            self._entered.clear()

    # -- entering and leaving ----------------------------------------------------------------

    def __enter__(self) -> Scope:
        if not _active.acquire(blocking=False):
            raise AliascopeError(
                "Another Scope is active in this process; leave it before entering this one."
            )
        try:
            self._exit.callback(_active.release)
            self._exit.enter_context(_eager_compiled_modules())
            self._exit.enter_context(self._tracker)
            self._exit.enter_context(self._seam)
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

    # -- passes ------------------------------------------------------------------------------

    def _begin_pass(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._batch is None:
            self._refuse_another_entry(module)
        elif module in self._entered or (self._entered and self.model in (module, *self._entered)):
            raise AliascopeError(
                "The model ran twice within one batch; open a batch for each of its passes."
            )
        if not self._entered or self._batch is None:
            self._seam.new_pass()
            if self._recorder is not None:
                given = None if self._batch is None else self._batch.given
                n = _batch_size(args) if given is None else len(given)
                number = None if self._batch is None else self._batch.number
                self._recorder.begin(n, self._open_store().begin(self._number(number)))
        if module not in self._entered:
            self._entered.append(module)

    def _refuse_another_entry(self, module: nn.Module) -> None:
        """Refuse modules called one after the other: as passes, their samples would count twice."""
        if self._recorder is None or not self._entered or module in self._entered:
            return
        names = [self._tracker.name_of(each) for each in (self._entered[0], module)]
        raise AliascopeError(
            f"Modules {names[0]} and {names[1]} of the model were called one after the other, "
            "which could be one pass or two; call the model itself, or put each pass into its own "
            "`with scope.batch():`."
        )

    def _end_pass(self, completed: bool) -> None:
        if not completed:
            self._abort()
        elif self._batch is None and self._recorder is not None:
            self._write(Batch())

    def _abort(self) -> None:
        if self._recorder is not None:
            self._recorder.abort()

    # -- measuring ---------------------------------------------------------------------------

    def _recording(self) -> Recorder | None:
        """Give the recorder, where it is to record now."""
        recorder = self._recorder
        return recorder if recorder is not None and recorder.open and not in_backward() else None

    def _measure(self, site: Site, dense: Tensor) -> None:
        """Count; the last handler, so that it sees what is really decimated."""
        recorder = self._recording()
        if recorder is not None:
            recorder(site, dense)

    def _open_store(self) -> Store:
        if self._store is None:
            self._store = Store.temporary()
        return self._store

    def _number(self, given: int | None) -> int:
        """Choose the number of the part: as given, or one more than those there are."""
        if given is not None:
            return given
        if self._parts_written == 0 and self._open_store().part_numbers():
            raise AliascopeError(
                f"{self._open_store().folder} holds a run already; give Scope a store in another "
                "folder, or number its batches."
            )
        return self._parts_written

    def _write(self, batch: Batch) -> None:
        if self._recorder is None:
            return
        store = self._open_store()
        if not store.has_run():
            store.write_run({"criterion": vars(self.criterion), "detail": self.detail})
        if not self._recorder.open:  # no sample could be read, or the model did not run
            self._recorder.begin(0, store.begin(self._number(batch.number)))
        numbers = range(self._samples_seen, self._samples_seen + self._recorder.n_samples)
        samples = batch.samples
        if batch.given is None:
            samples = pd.DataFrame({"sample": list(numbers), **samples})
        unsupported = [site for site in self.sites if not site.supported]
        self._recorder.commit(samples, unsupported, batch.unreadable, batch.arrays, batch.condition)
        self._samples_seen += len(samples)
        self._parts_written += 1


class _MeasuredParts:
    """Measures dense signals that come part by part; without a recorder they are only opened."""

    def __init__(
        self, recording: Callable[[], Recorder | None], workspace: Callable[[], int | None]
    ) -> None:
        self._recording, self._workspace = recording, workspace

    @property
    def takes_parts(self) -> bool:
        recorder = self._recording()
        return recorder is None or recorder.takes_parts

    def workspace(self, device_type: str) -> int:
        return workspace_of(device_type, self._workspace())

    def begin(self, site: Site, shape: tuple[int, ...]) -> None:
        recorder = self._recording()
        if recorder is not None:
            recorder.begin_parts(site, shape)

    def add(self, site: Site, dense: Tensor, samples: slice, channels: slice) -> None:
        recorder = self._recording()
        if recorder is not None:
            recorder.add_part(site, dense, samples, channels)

    def end(self, site: Site) -> None:
        recorder = self._recording()
        if recorder is not None:
            recorder.end_parts(site)


class Batch:
    """Samples of one pass, to be written with their counts.

    Attributes
    ----------
    samples : DataFrame
        One row per sample; columns may be added until the context of :meth:`Scope.batch` ends.
    given : DataFrame or None
        The samples as they were named; None where they are only counted.
    number : int or None
        Number of the part; None counts up.
    unreadable : list
        Index, name and reason of images that were left out.
    condition : Condition
        Under what the pass is run.
    arrays : dict of str to ndarray
        Arrays of one's own to keep with the part, (samples, ...), such as features.
    """

    def __init__(
        self,
        samples: pd.DataFrame | None = None,
        number: int | None = None,
        unreadable: Sequence[Any] = (),
        condition: Condition = CLEAN,
    ) -> None:
        self.given = samples
        self.samples = pd.DataFrame() if samples is None else samples
        self.number = number
        self.unreadable = unreadable
        self.condition = condition
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}


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
