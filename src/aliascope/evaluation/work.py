"""The parts of a run: which there are, whose they are, and which are missing."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset

from aliascope.data import Images as ImageSource
from aliascope.data import collate
from aliascope.errors import AliascopeError
from aliascope.evaluation.batches import BatchRunner
from aliascope.evaluation.options import Options
from aliascope.evaluation.team import Team
from aliascope.runs.store import Store

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all images."""


class Work:
    """The parts of a run: each batch, under each condition.

    Part ``k * len(conditions) + i`` is batch k under the i-th condition, and batch k always holds
    the same images, so that a run can be resumed or shared.
    """

    def __init__(
        self, images: ImageSource, chosen: range, options: Options, team: Team, max_bad: float
    ) -> None:
        self._images, self._team = images, team
        self._count, self._max_bad = len(chosen), max_bad
        self._conditions = options.conditions
        size = options.batch_size
        self._batches = [list(chosen[i : i + size]) for i in range(0, len(chosen), size)]
        self._bad: dict[int, tuple[str, str]] = {}

    def whole(self, store: Store) -> bool:
        """Whether all parts are there, those of other processes too."""
        needed = len(self._batches) * len(self._conditions)
        return set(store.part_numbers()).issuperset(range(needed))

    def run(self, runner: BatchRunner, workers: int, progress: Progress | None) -> None:
        """Measure what the store lacks of this process's share."""
        missing = self._missing(runner.store)
        mine = [k for k in range(len(self._batches)) if self._team.owns(k)]
        total = sum(len(self._batches[k]) for k in mine) * len(self._conditions)
        done = total - sum(len(self._batches[k]) * len(places) for k, places in missing.items())
        if progress:
            progress(done, total)
        if not missing:
            return
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset[Any]", self._images),
            batch_sampler=[self._batches[k] for k in missing],
            num_workers=min(workers, len(missing)) if len(missing) > 1 else 0,
            collate_fn=collate,
            pin_memory=runner.device.type == "cuda",
            worker_init_fn=begin_worker,
        )
        with runner:
            for (k, places), batch in zip(missing.items(), loader, strict=True):
                for i in places:
                    runner.run(batch, self._number(k, i), self._conditions[i])
                    done += len(self._batches[k])
                    if progress:
                        progress(done, total)
                self._note_bad(batch.bad)

    def _number(self, batch: int, condition: int) -> int:
        return batch * len(self._conditions) + condition

    def _missing(self, store: Store) -> dict[int, list[int]]:
        """Find, by batch, the conditions under which this process has to measure it."""
        numbers = {
            self._number(k, i): (k, i)
            for k in range(len(self._batches))
            for i in range(len(self._conditions))
            if self._team.owns(k)
        }
        there = set(store.part_numbers()) & set(numbers)
        for number, reason in store.damaged_parts(sorted(there)).items():
            warnings.warn(
                f"Part {number} of {store.folder} is damaged ({reason}) and is measured again.",
                stacklevel=2,
            )
            there.remove(number)
        for number in there:
            self._note_bad(store.part(number).unreadable)
        missing: dict[int, list[int]] = {}
        for number, (k, i) in numbers.items():
            if number not in there:
                missing.setdefault(k, []).append(i)
        return missing

    def _note_bad(self, bad: Sequence[tuple[int, str, str]]) -> None:
        """Count images that could not be read, and stop when they are too many."""
        self._bad.update({index: (name, reason) for index, name, reason in bad})
        if self._max_bad * self._count < len(self._bad) < self._count:
            name, reason = next(iter(self._bad.values()))
            raise AliascopeError(
                f"{len(self._bad)} of {self._count} images could not be read so far (first: "
                f"{name}: {reason}), more than {100 * self._max_bad:g} %; mend them, or allow more "
                "with --max-bad, and go on with --resume."
            )


def begin_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, which ends its workers; otherwise it waits for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _unless_cut_off


def _unless_cut_off(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print what a worker's thread died of, but for the main process having gone away."""
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, traceback)
