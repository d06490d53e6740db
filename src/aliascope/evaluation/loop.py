"""The loop: images through a model under Scope, into a run directory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from aliascope.data import Images as ImageSource
from aliascope.errors import AliascopeError
from aliascope.evaluation.batches import BatchRunner
from aliascope.evaluation.description import chosen_images, description_of
from aliascope.evaluation.measure import measure
from aliascope.evaluation.options import Options
from aliascope.evaluation.probe import probe
from aliascope.evaluation.resuming import conclude, enter_folder, is_empty, leave_nothing
from aliascope.evaluation.team import Team
from aliascope.evaluation.work import Progress, Work
from aliascope.filters.written import filtering
from aliascope.measures.engines import check_engine
from aliascope.runs.measurement import Measurement
from aliascope.runs.store import Store
from aliascope.tasks.models import LoadedModel

__all__ = ["Options", "evaluate", "measure", "probe"]


def evaluate(
    loaded: LoadedModel,
    images: ImageSource,
    folder: str | os.PathLike[str],
    options: Options | None = None,
    *,
    device: str = "cpu",
    workers: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    engine: str = "auto",
    workspace: int | None = None,
    max_bad: float = 0.01,
    team: Team | None = None,
    compile: bool = False,
    runner_of: Callable[..., BatchRunner] = BatchRunner,
) -> Measurement:
    """Run images through a model and measure, into a run directory.

    Parameters
    ----------
    loaded : LoadedModel
        From :func:`aliascope.tasks.models.load_model`.
    images : ImageSet or like it
        From :func:`aliascope.data.open_data`, with the model's preprocessing.
    folder : path
        The run directory: missing or empty, or with ``resume`` one of the same run.
    options : Options, optional
        What decides the numbers.
    device : str
        Where to run.
    workers : int
        Processes that decode images; 0 decodes in this one.
    resume : bool
        Go on with a run that was interrupted, measuring only what is missing.
    progress : callable, optional
        Called with the number of images done and of all images.
    engine, workspace
        See :func:`aliascope.measures.engines.count_categories`; they change the time and memory
        it takes, and of the numbers at most the rounding.
    max_bad : float
        Stop when more than this fraction of the images cannot be read.
    team : Team, optional
        Which share of the batches is this process's; all of them by default.
    compile : bool
        Compile the network with ``torch.compile`` for the steps of an attack, and wait for that at
        the first. A measured pass cannot be compiled: it is opened call by call.
    runner_of : callable
        Makes what runs a batch.

    Returns
    -------
    Measurement
        Of all parts that are there; with a team, those of others too.

    Raises
    ------
    AliascopeError
        If the folder holds something else, the options are not those of the run to resume, the
        model has no site or does not take the images, or no image or too few could be read.
    QuietError
        If another process of the team has said what went wrong.
    """
    options = options or Options()
    team = team or Team()
    check_engine(engine, workspace)
    if not 0 <= max_bad <= 1:
        raise AliascopeError(f"max_bad is {max_bad}, but it is a fraction, from 0 to 1.")
    if workers < 0:
        raise AliascopeError(f"workers is {workers}, but it must be 0 or more.")
    chosen = chosen_images(images, options.start, options.max_samples)
    store = Store(folder)
    content = description_of(loaded, images, chosen, options, device)
    created = team.first(
        lambda: enter_folder(
            store, content, resume=resume or (not team.alone and not team.connected)
        ),
        join=lambda: enter_folder(store, content, resume=True),
    )
    torch.manual_seed(options.seed)
    began = time.monotonic()
    try:
        with filtering(loaded.network, options.filter):
            runner = runner_of(loaded, options, store, device, engine, workspace, compile)
            work = Work(images, chosen, options, team, max_bad)
            work.run(runner, workers, progress)
        team.wait()
        measurement = Measurement(store)
        if len(measurement.samples) == 0 and work.whole(store):
            name, reason = measurement.unreadable[0][1:]
            raise AliascopeError(
                f"None of the {len(chosen)} images could be read (first: {name}: {reason}); "
                "pass a folder of intact images."
            )
    except AliascopeError:
        if created is not None and team.alone and is_empty(store):
            leave_nothing(store, created)
        raise
    if team.leads and work.whole(store):
        seconds = None if created is None or not team.alone else time.monotonic() - began
        conclude(store, measurement, seconds)
    team.wait()
    measurement.run = store.read_run()
    return measurement
