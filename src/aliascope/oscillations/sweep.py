"""Many trainings: networks × noise levels × seeds, several at once, skipping what is done."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from aliascope.errors import AliascopeError
from aliascope.oscillations.recipe import Recipe
from aliascope.oscillations.results import AXES, Results
from aliascope.oscillations.training_folder import TrainingFolder

LOOK_EVERY = 0.5
"""Seconds between two looks at how far the trainings are."""

Progress = Callable[[int, int, list[str]], None]
"""Called with the epochs done, those of all runs, and the names of the runs under way."""


def grid(
    networks: Sequence[str], noises: Sequence[float], seeds: Sequence[int], like: Recipe
) -> list[Recipe]:
    """List the runs of a grid, each once, easier noise first.

    Parameters
    ----------
    networks : sequence of str
        Names of networks.
    noises : sequence of float
        Amplitudes A.
    seeds : sequence of int
        Of weights, images and order.
    like : Recipe
        Of which all else is taken.

    Returns
    -------
    list of Recipe

    Examples
    --------
    >>> [run_name(each) for each in grid(["fc-1h-58"], [1, 2.5], [0], Recipe("fc-1h-58"))]
    ['fc-1h-58-A1-seed0', 'fc-1h-58-A2.5-seed0']
    """
    recipes = [
        replace(like, network=network, noise=float(noise), seed=seed)
        for seed in seeds
        for noise in noises
        for network in networks
    ]
    return list(dict.fromkeys(recipes))


def run_name(recipe: Recipe) -> str:
    """Name the folder of a run within those of its grid."""
    return f"{recipe.network}-A{recipe.noise:g}-seed{recipe.seed}"


@dataclass(frozen=True)
class _Job:
    recipe: Recipe
    folder: Path
    device: str
    process: Any
    outcome: Connection


def sweep(
    recipes: Sequence[Recipe],
    folder: str | os.PathLike[str],
    *,
    devices: Sequence[str] = ("cpu",),
    jobs: int = 1,
    deterministic: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Train all that is missing, and keep a table of the results.

    Parameters
    ----------
    recipes : sequence of Recipe
        As `grid` gives them.
    folder : path
        Gets ``results.csv``, a row a run as each is done, and ``runs/``, a folder a run. A run
        that is half trained there is gone on with.
    devices : sequence of str
        Where to train; runs go to the device with the fewest.
    jobs : int
        Runs at once, each in a process of its own, over all devices.
    deterministic : bool
        See :class:`aliascope.oscillations.training.Machine`.
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    Results

    Raises
    ------
    AliascopeError
        If the folder's table is of another grid; if a run fails, once the others have ended.
    """
    if jobs < 1:
        raise AliascopeError(f"jobs is {jobs}, but it must be 1 or more.")
    root = Path(folder).expanduser()
    results = Results(root)
    if not recipes:
        raise AliascopeError("The grid has no run; name networks, noise levels and seeds.")
    results.check_same_grid(recipes)
    done = results.done()
    waiting = [each for each in recipes if tuple(getattr(each, axis) for axis in AXES) not in done]
    runner = _Runner(root, results, devices, jobs, deterministic)
    try:
        while waiting or runner.running:
            while waiting and len(runner.running) < jobs:
                runner.start(waiting.pop(0))
            runner.collect()
            if progress is not None:
                all_epochs = sum(recipe.epochs for recipe in recipes)
                left = sum(recipe.epochs for recipe in waiting) + runner.epochs_left()
                progress(all_epochs - left, all_epochs, runner.names())
    finally:
        runner.stop()
    if runner.failures:
        name, reason = runner.failures[0]
        others = len(runner.failures) - 1
        more = f" (and {others} other runs failed)" if others else ""
        raise AliascopeError(f"{name} failed{more}: {reason}")
    return results


class _Runner:
    def __init__(
        self, root: Path, results: Results, devices: Sequence[str], jobs: int, deterministic: bool
    ) -> None:
        self._root, self._results, self._devices = root, results, devices
        self._deterministic = deterministic
        # Torch's own number, which a user's OMP_NUM_THREADS or taskset has made smaller: threads
        # that wait for each other on too few cores take many times as long.
        self._threads = max(1, torch.get_num_threads() // jobs)
        # Not fork, which torch's threads and CUDA do not survive.
        self._context = multiprocessing.get_context("spawn")
        self.running: list[_Job] = []
        self.failures: list[tuple[str, str]] = []

    def start(self, recipe: Recipe) -> None:
        busy = [job.device for job in self.running]
        device = min(self._devices, key=busy.count)
        folder = self._root / "runs" / run_name(recipe)
        outcome, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_train_alone,
            args=(recipe, folder, device, self._deterministic, self._threads, theirs),
            name=run_name(recipe),
        )
        process.start()
        theirs.close()
        self.running.append(_Job(recipe, folder, device, process, outcome))

    def collect(self) -> None:
        """Wait a moment, and take up what has ended."""
        wait([job.process.sentinel for job in self.running], timeout=LOOK_EVERY)
        for job in [job for job in self.running if not job.process.is_alive()]:
            self.running.remove(job)
            problem = _problem(job)
            if problem:
                self.failures.append((run_name(job.recipe), problem))
            else:
                self._results.append(TrainingFolder(job.folder).read())

    def stop(self) -> None:
        """End what still runs; its last finished epoch is kept."""
        for job in self.running:
            job.process.terminate()
        for job in self.running:
            job.process.join()

    def epochs_left(self) -> int:
        return sum(job.recipe.epochs - _epochs_done(job.folder) for job in self.running)

    def names(self) -> list[str]:
        return [run_name(job.recipe) for job in self.running]


def _problem(job: _Job) -> str:
    """Say why a run failed; nothing where it did not."""
    with contextlib.suppress(EOFError, OSError):
        if job.outcome.poll():
            return str(job.outcome.recv())
    code = job.process.exitcode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"its process ended with {ended}; run the sweep again to go on."


def _epochs_done(folder: Path) -> int:
    try:
        text = TrainingFolder(folder).history.read_text(encoding="utf-8")
    except OSError:
        return 0
    return max(0, text.count("\n") - 1)


def _train_alone(
    recipe: Recipe,
    folder: Path,
    device: str,
    deterministic: bool,
    threads: int,
    outcome: Connection,
) -> None:
    """Train in a process of its own, which ends when the one that started it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from aliascope.oscillations.training import Machine, train

    torch.set_num_threads(threads)
    try:
        train(recipe, folder, machine=Machine(device, deterministic=deterministic), resume=True)
    except AliascopeError as error:
        outcome.send(str(error))
    except Exception as error:
        outcome.send(f"{type(error).__name__}: {error}")
    else:
        outcome.send("")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
