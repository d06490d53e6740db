"""Aliasing while a network is trained: measured every k steps, at little cost."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import replacing, writing
from aliascope.measures import Counter, make_measures
from aliascope.runs.drawing import Plots
from aliascope.seam.handlers import Batch, Columns, Handler
from aliascope.seam.obstacles import tensors_in
from aliascope.seam.opening import Opening, Pass, opened, original_module
from aliascope.seam.parts import Part
from aliascope.seam.tracking import in_backward, in_checkpoint
from aliascope.sites import Site
from aliascope.spectrum import Criterion

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TRACKED = ("energy", "categories", "floor")
"""Measures that give one number a site and step."""

MOST = 2000
"""Steps whose values are held, by default."""

Values = dict[Site, dict[str, float]]
"""Of one step: by site and name."""

Log = Callable[[dict[str, float], int], object]
"""Takes values and the step; that of ``wandb.log``."""


class Tracker:
    """Measure aliasing in every k-th step of a training.

    All other steps run untouched. A measured step trains as any other: what it computes is the
    same up to rounding, gradients included, in mixed precision, under DistributedDataParallel
    (each process measures its own share of the batch), with checkpointing, and compiled, when it
    runs as its original. A step whose activations are NaN or infinite, as a gradient scaler lets
    happen, is left out with a warning, and the training goes on.

    Three ways to use one: ``with tracker.step():`` around the forward pass (and backward, where
    modules are checkpointed) of every step; :meth:`attach`, after which the model's own calls are
    counted; the callbacks :meth:`lightning` and :meth:`transformers`.

    Parameters
    ----------
    model : nn.Module
        What is trained; of one wrapped by DistributedDataParallel or ``torch.compile``, what is
        inside is measured.
    every : int
        Steps from one measured to the next, 1 or more; step 0 is the first.
    measures : sequence of {"energy", "categories", "floor"}
        Aliased energy; the categories' fractions; those of the low part, of the whole batch.
    log : callable, optional
        Called as ``log(values, step)`` after each measured step, such as ``wandb.log``.
    most : int
        Measured steps that are held, 2 or more: where there are more, every second goes, so that
        the whole training stays in sight.
    threshold_db, reference, grid, fold_scale
        See :class:`aliascope.spectrum.Criterion`.
    workspace : int, optional
        See :class:`aliascope.Opening`.

    Attributes
    ----------
    latest : dict of str to float
        What the last measured step had, such as ``{"aliased_energy/conv1": 0.21}``; without what
        is not defined.
    latest_step : int or None
        Its number.

    Raises
    ------
    AliascopeError
        If the model cannot be opened, or a number or measure is none.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> tracker = al.Tracker(model, every=2)
    >>> for _ in range(5):
    ...     with tracker.step():
    ...         model(torch.rand(4, 3, 32, 32)).mean().backward()
    >>> list(tracker.latest), tracker.latest_step
    (['aliased_energy/0'], 4)
    >>> tracker.history().shape
    (3, 1)
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 100,
        measures: Sequence[str] = ("energy",),
        *,
        log: Log | None = None,
        most: int = MOST,
        threshold_db: float = 20.0,
        reference: str = "max",
        grid: str = "auto",
        fold_scale: str = "auto",
        workspace: int | None = None,
    ) -> None:
        for name, value, least in (("every", every, 1), ("most", most, 2)):
            if value < least:
                raise AliascopeError(f"{name} is {value}, but it must be {least} or more.")
        self.model, self.every = _unwrapped(model), every
        self.latest: dict[str, float] = {}
        self.latest_step: int | None = None
        self._called, self._log, self._most = model, log, most
        counter = Counter(Criterion(threshold_db, reference, grid, fold_scale), workspace=workspace)
        self._measures = [_Careful(each) for each in _made(measures, counter)]
        self._passes = _Passes()
        self._opening = Opening(
            self.model, self._measures, workspace=workspace, listener=self._passes
        )
        self._next = 0
        self._step: int | None = None
        self._history: dict[int, Values] = {}
        self._hooks: list[Any] = []
        self._warned: set[str] = set()

    @contextlib.contextmanager
    def step(self, number: int | None = None) -> Iterator[None]:
        """Count a step, and measure it if it is its turn.

        Parameters
        ----------
        number : int, optional
            Of the step, as in a training that is resumed; counts up by default. Whole multiples of
            ``every`` are measured.

        Yields
        ------
        None
            All passes of the model within the context are the step's; of several, as when gradients
            are accumulated, the mean is kept. After an exception nothing is.
        """
        self._begin(number)
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def attach(self) -> Tracker:
        """Count each call of the model in training mode as a step, until :meth:`remove`.

        The model gets two hooks, which do nothing but in the calls that are measured.

        Returns
        -------
        Tracker
            This one.

        Raises
        ------
        AliascopeError
            If the model was compiled in place (``model.compile()``), which compiles its hooks too.

        Examples
        --------
        >>> import torch, aliascope as al
        >>> model = torch.nn.AvgPool2d(2)
        >>> tracker = al.Tracker(model, every=3).attach()
        >>> for _ in range(7):
        ...     _ = model(torch.rand(1, 1, 8, 8))
        >>> list(tracker.history().index)
        [0, 3, 6]
        >>> tracker.remove()
        """
        if getattr(self._called, "_compiled_call_impl", None) is not None:
            raise AliascopeError(
                "The model was compiled in place by its own compile(), which leaves later hooks "
                "out; track it by `with tracker.step():` around each step."
            )
        self.remove()
        self._hooks = [
            self._called.register_forward_pre_hook(self._before),
            self._called.register_forward_hook(self._after, always_call=True),
        ]
        return self

    def remove(self) -> None:
        """Take the hooks of :meth:`attach` away; what was measured stays."""
        self._end()
        while self._hooks:
            self._hooks.pop().remove()

    def history(self, value: str = "aliased_energy") -> pd.DataFrame:
        """Give what was measured of the steps so far.

        Parameters
        ----------
        value : str
            ``aliased_energy``; no_pass, non_aliased, aliased, tangled, where categories were
            measured; with ``floor_`` in front, where the floor was.

        Returns
        -------
        DataFrame
            Index step; a column for each site, in the order in which they run, of values in [0, 1];
            NaN where it is not defined or the site did not run.

        Raises
        ------
        AliascopeError
            If nothing was measured yet, or not this value.
        """
        import pandas as pd

        known = list(dict.fromkeys(name for name, _, _ in self._each()))
        if value not in known:
            raise AliascopeError(
                f"value is {value!r}, but there are {', '.join(known)}."
                if known
                else "No step was measured yet; train within `with tracker.step():` first."
            )
        names = self._names()
        table = pd.DataFrame(
            {
                step: {names[site]: each.get(value, math.nan) for site, each in values.items()}
                for step, values in self._history.items()
            }
        ).T.astype("float64")
        table = table[[name for name in names.values() if name in table]]
        return table.rename_axis(index="step", columns="site")

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all that is held as CSV: step, site, value, and the number.

        Parameters
        ----------
        path : path
            File to write; its folder is made where missing.

        Raises
        ------
        AliascopeError
            If it cannot be written.
        """
        import pandas as pd

        rows = [
            (step, self._names()[site], value, number)
            for value, site, step in self._each()
            if not math.isnan(number := self._history[step][site][value])
        ]
        table = pd.DataFrame(rows, columns=["step", "site", "value", "number"])
        file = Path(path)
        with writing(file, "name another place"), replacing(file) as draft:
            table.to_csv(draft, index=False, lineterminator="\n")

    def plot(self, value: str = "aliased_energy", **settings: Any) -> Figure:
        """Draw what was measured over the steps; see :func:`aliascope.figures.tracking`."""
        return Plots(self.history(value), ["tracking"]).tracking(value=value, **settings)

    def lightning(self) -> Any:
        """Make a Lightning callback: each training batch is a step.

        What is measured goes to the trainer's loggers too.

        Returns
        -------
        lightning.Callback
            For ``Trainer(callbacks=[...])``.

        Raises
        ------
        AliascopeError
            If lightning is not installed.
        """
        try:
            from lightning.pytorch import Callback
        except ImportError:
            raise AliascopeError(
                "This callback needs lightning, which is not installed: "
                "pip install 'aliascope[lightning]'."
            ) from None
        tracker = self

        class TrackingCallback(Callback):  # type: ignore[misc, unused-ignore]
            def on_train_batch_start(self, *_: Any, **__: Any) -> None:
                tracker._begin()

            def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
                if tracker._end():
                    for logger in trainer.loggers:
                        logger.log_metrics(tracker.latest, step=trainer.global_step)

            def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
                tracker._end(exception)

        return TrackingCallback()

    def transformers(self) -> Any:
        """Make a callback for the Trainer of transformers: each of its optimizer's steps is one.

        Returns
        -------
        transformers.TrainerCallback
            For ``Trainer(callbacks=[...])``.

        Raises
        ------
        AliascopeError
            If transformers is not installed.
        """
        try:
            from transformers import TrainerCallback
        except ImportError:
            raise AliascopeError(
                "This callback needs transformers, which is not installed: "
                "pip install 'aliascope[transformers]'."
            ) from None
        tracker = self

        class TrackingCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                tracker._begin(state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                tracker._end()

        return TrackingCallback()

    # -- a step ------------------------------------------------------------------------------

    def _begin(self, number: int | None = None) -> None:
        """Count a step, and open the model if it is its turn."""
        self._end(RuntimeError("the step before was never ended"))
        number = self._next if number is None else number
        self._next = number + 1
        if number % self.every:
            return
        if opened() is not None:
            self._warn("another Scope is active")
            return
        self._passes.forget()
        for measure in self._measures:
            measure.trouble, measure.checkpointed = "", False
        self._opening.__enter__()
        self._step = number

    def _end(self, error: BaseException | None = None) -> bool:
        """Close the model where it is open; say whether anything was measured."""
        if self._step is None:
            return False
        self._opening.__exit__(type(error) if error else None, error, None)
        if error is not None:
            self._passes.forget()
        measured = self._keep(self._step)
        self._step = None
        return measured

    def _keep(self, step: int) -> bool:
        """Take what the passes of a step gave into the history, once."""
        values = self._passes.mean()
        self._passes.forget()
        trouble = next((each.trouble for each in self._measures if each.trouble), "")
        if trouble:
            self._warn(trouble)
        if not values or trouble:
            return False
        self._history[step] = values
        if len(self._history) > self._most:
            for old in list(self._history)[1::2]:
                del self._history[old]
        names = self._names()
        self.latest_step = step
        self.latest = {
            f"{name}/{names[site]}": number
            for site, each in values.items()
            for name, number in each.items()
            if not math.isnan(number)
        }
        if self._log is not None:
            self._log(dict(self.latest), step)
        return True

    def _warn(self, trouble: str) -> None:
        if trouble not in self._warned and len(self._warned) < 3:  # not in each of a thousand steps
            self._warned.add(trouble)
            step = self._next - 1
            warnings.warn(f"Step {step} is not measured: {trouble.rstrip('.')}.", stacklevel=4)

    def _names(self) -> dict[Site, str]:
        return {listed.site: listed.name for listed in self._opening.sites}

    def _each(self) -> Iterator[tuple[str, Site, int]]:
        for step, values in self._history.items():
            for site, each in values.items():
                for name in each:
                    yield name, site, step

    # -- hooks -------------------------------------------------------------------------------

    def _before(self, module: nn.Module, args: Any) -> None:
        if in_backward():  # a model that is checkpointed as a whole runs again
            return
        self._end()  # what never went back, or was interrupted
        if module.training:
            self._begin()

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._step is None or in_backward():
            return
        if output is None:  # an exception
            self._end(RuntimeError("the forward failed"))
            return
        if not any(each.checkpointed for each in self._measures):
            self._end()
            return
        # What is checkpointed runs again in backward, where its sites must be opened once more.
        self._opening.rest()
        self._keep(self._step)
        step = self._step

        def backward_begins(gradient: Tensor) -> None:
            engine: Any = torch.autograd.Variable._execution_engine
            engine.queue_callback(lambda: self._end() if self._step == step else None)

        for tensor in tensors_in(output):
            if tensor.requires_grad:
                tensor.register_hook(backward_begins)  # type: ignore[no-untyped-call]
                break


class _Careful:
    """A measure that does not end a training: it notes what it refuses."""

    whole = False

    def __init__(self, measure: Handler) -> None:
        self._measure = measure
        self.trouble = ""
        self.checkpointed = False

    def begin(self, batch: Batch) -> None:
        self._measure.begin(batch)

    def take(self, site: Site, dense: Tensor, part: Part) -> None:
        self.checkpointed = self.checkpointed or in_checkpoint()
        self._measure.take(site, dense, part)

    def end(self) -> Columns | None:
        try:
            return self._measure.end()
        except AliascopeError as error:
            self.trouble = str(error)
            return None

    def describe(self) -> Mapping[str, Any]:
        return self._measure.describe()


class _Passes:
    """Takes what the passes of a step gave; see :class:`aliascope.seam.opening.Listener`."""

    def __init__(self) -> None:
        self._passes: list[Values] = []

    def forget(self) -> None:
        """Expect another step."""
        self._passes = []

    def mean(self) -> Values:
        """Average over the passes in which a site ran."""
        sites = dict.fromkeys(site for values in self._passes for site in values)
        return {
            site: _mean([each[site] for each in self._passes if site in each]) for site in sites
        }

    def begins(self, begun: Pass, before: nn.Module | None) -> None:
        """Expect a pass."""

    def numbers(self, count: int) -> Sequence[int]:
        """Give numbers, for which nobody asks: samples are named."""
        return range(count)

    def named(self) -> Sequence[int]:
        """Take the whole batch as one sample: all that is asked for is sums over it."""
        return (0,)

    def keeping(self) -> None:
        """Keep no arrays."""

    def ends(self, ended: Pass, columns: Sequence[Columns]) -> None:
        """Take what handlers gave."""
        values = {site: found for site in ended.measured() if (found := _reduced(columns, site))}
        if values:
            self._passes.append(values)

    def fails(self) -> None:
        """Forget the pass under way, of which nothing was taken yet."""


def _reduced(columns: Sequence[Columns], site: Site) -> dict[str, float]:
    """Reduce the columns of a pass to one number each, as tables by site have them."""
    found = {name: by[site] for each in columns for name, by in each.items() if site in by}
    values: dict[str, float] = {}
    if "beyond" in found:
        varying, beyond = (found[name].of_channels for name in ("varying", "beyond"))
        known = varying > 0
        ratios = (beyond[known] / varying[known]).clip(0, 1)
        values["aliased_energy"] = float(ratios.mean()) if len(ratios) else math.nan
    for front in ("", "floor_"):
        if f"{front}{COLUMNS[0]}" in found:
            counts = [float(found[f"{front}{name}"].sum()) for name in COLUMNS]
            for name, count in zip(COLUMNS, counts, strict=True):
                values[f"{front}{name}"] = count / sum(counts)
    return values


def _mean(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(values[name] for values in each) / len(each) for name in each[0]}


def _made(measures: Sequence[str], counter: Counter) -> list[Handler]:
    for name in () if isinstance(measures, str) else measures:
        if name not in TRACKED:
            raise AliascopeError(
                f"measures has {name!r}, but what is tracked is {', '.join(TRACKED)}."
            )
    return make_measures(measures, counter, "site", 1)


def _unwrapped(model: nn.Module) -> nn.Module:
    """Give what is inside of wrappers that are no part of the network."""
    if isinstance(model, nn.DataParallel):
        raise AliascopeError(
            "The model is in nn.DataParallel, which runs copies of it in threads; use "
            "DistributedDataParallel, or track its .module in a run on one device."
        )
    inner = original_module(model)
    if isinstance(inner, nn.parallel.DistributedDataParallel):
        return _unwrapped(inner.module)
    return inner
