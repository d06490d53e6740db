"""An opening whose measures go into a run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import nn

from aliascope.errors import AliascopeError
from aliascope.measures import DEFAULT, DETAILS, FLOOR_SAMPLES, Counter, make_measures
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.record import Record
from aliascope.runs.store import Store
from aliascope.seam.found import Entry
from aliascope.seam.handlers import Columns, Handler, Keep
from aliascope.seam.opening import Opening, Pass
from aliascope.seam.parts import LEAST_WORKSPACE, workspace_of
from aliascope.sites import Site, SiteList
from aliascope.spectrum import Criterion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from aliascope.runs.measurement import Measurement

HELD_BYTES = 4 << 20
"""Of what passes gave, until it is written or asked for; more than a hundred passes of most."""


class Scope:
    """Open the sites of a model, and measure aliasing in every forward pass within the context.

    See :class:`aliascope.Opening` for what opening does. Each pass becomes a part of a run.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. One from ``torch.compile`` is run as its original.
    detail : {"site", "channel", "pixel", "folds"} or None
        What is kept of each sample: values of each site; of each channel as well; each bin's
        category as well; the complex folds as well. None measures nothing.
    measures : sequence of {"energy", "categories", "floor", "thresholds"}
        What is measured: aliased energy; the published categories; those of the low part, which
        does not alias; and those at other thresholds.
    floor_samples : int
        Floor and thresholds are measured of samples numbered below this; 0 leaves them out.
    channels : int, optional
        Measure so many channels of each sample and site, drawn anew for each, instead of all: in
        less time, with wider intervals. With ``detail="site"`` only.
    channels_seed : int
        Of these draws.
    threshold_db, reference, grid, fold_scale
        See :class:`aliascope.spectrum.Criterion`.
    handlers : sequence of Handler
        Called in order at each site, before the measures. A pass that one of them changed is kept
        under a condition of its name.
    store : Store, optional
        Run directory to write to; a temporary one by default, kept as long as the measurement is.
    engine : {"auto", "torch", "numba"}
        What counts; see :func:`aliascope.measures.engines.count_categories`.
    workspace : int, optional
        Bytes that measuring may take beside the network's own: large dense signals are made and
        measured part by part. 256 MB on a CPU and 1 GB on a GPU by default.

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
        measures: Sequence[str] = DEFAULT,
        floor_samples: int = FLOOR_SAMPLES,
        channels: int | None = None,
        channels_seed: int = 0,
        threshold_db: float = 20.0,
        reference: str = "max",
        grid: str = "auto",
        fold_scale: str = "auto",
        handlers: Sequence[Handler] = (),
        store: Store | None = None,
        engine: str = "auto",
        workspace: int | None = None,
    ) -> None:
        if detail is not None and detail not in DETAILS:
            raise AliascopeError(f"detail is {detail!r}, but it must be one of {DETAILS}.")
        self.criterion = Criterion(threshold_db, reference, grid, fold_scale)
        self.detail, self.channels = detail, channels
        self._counter = Counter(self.criterion, engine=engine, workspace=workspace)
        self._measures: list[Handler] = []
        if detail is not None:
            self._measures = make_measures(
                measures,
                self._counter,
                detail,
                floor_samples,
                channels=channels,
                channels_seed=channels_seed,
            )
        self._recorder = _Recorder(self, store)
        self._opening = Opening(
            model,
            [*handlers, *self._measures],
            workspace=workspace,
            listener=self._recorder,
        )
        self.model = self._opening.model

    @property
    def sites(self) -> SiteList:
        """Sites found so far, in the order in which they first ran."""
        return self._opening.sites

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
        half = workspace_of(device_type, self._opening.workspace) // 2
        if half < LEAST_WORKSPACE:
            return None
        self._opening.workspace = half
        self._counter.workspace = half
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
        from aliascope.runs.measurement import Measurement

        if not self._measures:
            raise AliascopeError(
                "This Scope has detail=None and measures nothing; create it with detail='site'."
            )
        self._opening.settle()
        return Measurement(self._recorder.written())

    @contextlib.contextmanager
    def batch(
        self,
        samples: pd.DataFrame | None = None,
        *,
        number: int | None = None,
        unreadable: Sequence[Any] = (),
        condition: Condition = CLEAN,
    ) -> Iterator[NamedBatch]:
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
            Under what the batch is run.

        Yields
        ------
        NamedBatch
            Its ``samples`` are what gets written when the context ends without an exception.

        Raises
        ------
        AliascopeError
            If a batch is open already.
        """
        batch = NamedBatch(samples, number, list(unreadable), condition)
        with self._recorder.named_batch(batch), self._opening.one_pass():
            yield batch

    def __enter__(self) -> Scope:
        self._opening.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opening.__exit__(kind, error, traceback)


class NamedBatch:
    """Samples of one pass, to be written with what is measured of them.

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
        Under what they are run.
    arrays : dict of str to ndarray
        Arrays of one's own to keep with the part, (samples, ...), such as features.
    tables : dict of str to DataFrame
        Tables of one's own to keep with the part.
    """

    def __init__(
        self,
        samples: pd.DataFrame | None = None,
        number: int | None = None,
        unreadable: Sequence[Any] = (),
        condition: Condition = CLEAN,
    ) -> None:
        import pandas as pd

        self.given = samples
        self.samples = pd.DataFrame() if samples is None else samples
        self.number = number
        self.unreadable = unreadable
        self.condition = condition
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.tables: dict[str, pd.DataFrame] = {}


class _Recorder:
    """Takes what handlers found in a pass into the run: at once, or a few passes later."""

    def __init__(self, scope: Scope, store: Store | None) -> None:
        self._scope, self._given_store = scope, store
        self._store = store
        self._batch: NamedBatch | None = None
        self._record: Record | None = None
        self._pass: Pass | None = None
        self._held: list[Record] = []
        self._seen = 0
        self._parts = 0
        self._problem = ""

    def written(self) -> Store:
        """Write what was held back, and give the store.

        Raises
        ------
        AliascopeError
            If there is nothing in it.
        """
        if self._parts == 0:
            raise AliascopeError(
                self._problem
                or "Nothing was measured yet; run the model inside `with Scope(model):` first."
            )
        self._write_held()
        return self._open_store()

    @contextlib.contextmanager
    def named_batch(self, batch: NamedBatch) -> Iterator[None]:
        """Take the next pass as this batch's."""
        if self._batch is not None:
            raise AliascopeError("A batch is open already; leave its context before the next.")
        self._batch = batch
        wrote = self._parts
        try:
            yield
            if self._parts == wrote and batch.given is not None:  # no sample, or no pass
                self._take(self._begun(), self.named() or ())
        except BaseException:
            self.fails()
            raise
        finally:
            self._batch = None

    # -- what the opening tells ----------------------------------------------------------------

    def begins(self, begun: Pass, before: nn.Module | None) -> None:
        """Expect a pass, unless its samples would count twice."""
        if not self._scope._measures:
            return
        module = begun.call.module
        if self._batch is None and before is not None and before is not module:
            names = [self._scope._opening.name_of(each) for each in (before, module)]
            raise AliascopeError(
                f"Modules {names[0]} and {names[1]} of the model were called one after the other, "
                "which could be one pass or two; call the model itself, or put each pass into its "
                "own `with scope.batch():`."
            )
        self.fails()
        self._pass = begun
        self._begun()

    def numbers(self, count: int) -> Sequence[int]:
        """Count on from the samples of the passes before."""
        return range(self._seen, self._seen + count)

    def named(self) -> Sequence[int] | None:
        """Give the numbers of the batch's samples."""
        given = None if self._batch is None else self._batch.given
        return None if given is None else [int(number) for number in given["sample"]]

    def keeping(self) -> Keep | None:
        """Write arrays as they come."""
        return self._keep

    def ends(self, ended: Pass, columns: Sequence[Columns]) -> None:
        """Take what handlers gave."""
        if not self._scope._measures:
            return
        assert ended.batch is not None
        record = self._begun()
        samples = ended.batch.samples
        if samples is None or (self._batch is None and (not samples or ended.obstructed)):
            if samples is None and ended.entries:
                self._say_unknown()
            self.fails()
            return
        record.condition = self._condition(ended)
        opening = self._scope._opening
        for site, entry in ended.entries.items():
            record.add_site(self._described(site, entry), entry.listed)
        for listed in opening.unopened():
            if listed.site not in ended.entries:
                record.add_site(self._described(listed.site, opening.entry_of(listed.site)))
        positions = {site: place for place, site in enumerate(ended.entries)}
        for each in columns:
            for name, by_site in each.items():
                for site in ended.measured():
                    if site in by_site:
                        record.add_values(name, positions[site], by_site[site])
        self._take(record, samples)

    def fails(self) -> None:
        """Forget the pass under way; nothing of it is kept."""
        record, self._record = self._record, None
        if record is not None:
            record.discard()

    # -- into the run --------------------------------------------------------------------------

    def _begun(self) -> Record:
        if self._record is None:
            number = None if self._batch is None else self._batch.number
            self._record = Record(self._number(number))
        return self._record

    def _keep(self, kind: str, site: Site, i: int, n: int, array: Any) -> None:
        assert self._pass is not None
        position = self._pass.sites.index(site)
        self._begun().write_sample(self._open_store(), kind, position, i, n, array)

    def _condition(self, ended: Pass) -> Condition:
        """Name the condition after what changed the pass: it is never taken for a clean one."""
        condition = CLEAN if self._batch is None else self._batch.condition
        for handler in ended.changed_by:
            described = dict(handler.describe())
            name = str(described.pop("name", type(handler).__name__))
            changed = Condition.of(name, **described)
            if condition == CLEAN:
                condition = changed
            elif changed.name not in condition.name:
                both = (*condition.settings, *changed.settings)
                condition = Condition(f"{condition.name} + {changed.name}", both)
        return condition

    def _described(self, site: Site, entry: Entry) -> dict[str, Any]:
        criterion = self._scope.criterion
        return {
            "path": site.path,
            "number": site.number,
            "op": site.op,
            "rate": site.rate,
            "dense_shape": site.dense_shape,
            "grid": criterion.grid_for(site.rate) if entry.supported else "",
            "supported": entry.supported,
            "reason": entry.reason,
            "recomposition_error": entry.error,
        }

    def _take(self, record: Record, numbers: Sequence[int]) -> None:
        """Write a pass, or hold it back for a while where nothing is lost by that."""
        batch, self._record = self._batch, None
        record.numbers = list(numbers)
        if batch is not None:
            record.samples = batch.samples.copy()
            if batch.given is None:
                record.samples.insert(0, "sample", record.numbers)
            record.unreadable = batch.unreadable
            record.arrays.update(batch.arrays)
            record.tables.update(batch.tables)
        self._seen += len(record.numbers)
        self._parts += 1
        self._held.append(record)
        held = sum(each.nbytes for each in self._held)
        if batch is not None or self._given_store is not None or held > HELD_BYTES:
            self._write_held()

    def _write_held(self) -> None:
        held, self._held = self._held, []
        store = self._open_store()
        if not store.has_run():
            scope = self._scope
            handlers = [dict(each.describe()) for each in scope._opening.handlers]
            content: dict[str, Any] = {"criterion": vars(scope.criterion), "detail": scope.detail}
            if scope.channels is not None:
                content["channels"] = scope.channels
            store.write_run({**content, "handlers": handlers})
        for record in held:
            record.write(store)

    def _open_store(self) -> Store:
        if self._store is None:
            self._store = Store.temporary()
        return self._store

    def _number(self, given: int | None) -> int:
        """Choose the number of the part: as given, or one more than those there are."""
        if given is not None:
            return given
        if self._parts == 0 and self._given_store is not None and self._given_store.part_numbers():
            raise AliascopeError(
                f"{self._given_store.folder} holds a run already; give Scope a store in another "
                "folder, or number its batches."
            )
        return self._parts

    def _say_unknown(self) -> None:
        problem = (
            "How many samples a pass had cannot be told from the model's inputs, so it was not "
            "kept; name them, as in `with scope.batch(pandas.DataFrame({'sample': range(4)})):`."
        )
        if not self._problem:
            warnings.warn(problem, stacklevel=2)
        self._problem = problem
