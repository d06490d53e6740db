"""Progress of long work: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 30.0
"""How often progress is said where there is no terminal for a bar."""

SECONDS_OF_SPEED = 300.0
"""Over which the rate is averaged, so that slow steps have one."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Report(Protocol):
    """What work calls to say how far it is."""

    def __call__(
        self, step: str, done: int, total: int, rate: Callable[[float], str], after: str = ""
    ) -> None:
        """Say how much of a step is done.

        Parameters
        ----------
        step : str
            Such as "measuring"; another step has a bar of its own.
        done, total : int
            How much is done, of how much.
        rate : callable
            Writes so much a second in words.
        after : str
            What else there is to say.
        """


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """Show progress on standard error: a bar that disappears in the end, or lines on no terminal.

    Yields
    ------
    Report
        To be called as the work goes on.
    """
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left{task.fields[after]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=SECONDS_OF_SPEED,
    )
    said = time.monotonic()

    def report(
        step: str, done: int, total: int, rate: Callable[[float], str], after: str = ""
    ) -> None:
        nonlocal said
        task = next((each for each in bars.tasks if each.description == step), None)
        if task is None:
            for ended in bars.task_ids:
                bars.remove_task(ended)
            bars.add_task(step, total=total, completed=done, rate="", after=after)
            return
        bars.update(task.id, completed=done, after=after)
        words = rate(task.speed) if task.speed else ""
        bars.update(task.id, rate=words)
        if bars.disable and words and time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{step}: {_line(task, words)}{after}", file=sys.stderr, flush=True)

    with bars:
        yield report


@contextlib.contextmanager
def going_through_images(
    step: str, folder: Path, *, leads: bool
) -> Iterator[Callable[[int, int], None] | None]:
    """Run a set of images into a folder: with progress, a word after Ctrl-C, and a quiet end.

    Parameters
    ----------
    step : str
        Such as "measuring".
    folder : Path
        Where what is done is kept, for ``--resume``.
    leads : bool
        Whether this process speaks for all that work on it.

    Yields
    ------
    callable or None
        To be called with the number of images done and of all; None where another process speaks.
    """
    from aliascope.evaluation.team import QuietError
    from aliascope.runs.shown import counted

    so_far = 0

    def kept() -> str:
        return (
            f" after {counted(so_far, 'image')}, kept in {folder}; run the same command with "
            "--resume to go on."
        )

    with interruptible(kept if leads else None), progress() as report:

        def tell(done: int, total: int) -> None:
            nonlocal so_far
            so_far = done
            report(step, done, total, _images_a_second, f"; {done} of {total} images")

        try:
            yield tell if leads else None
        except QuietError:
            raise typer.Exit(2) from None


def _images_a_second(speed: float) -> str:
    return f"{speed:.1f} images/s"


def _line(task: Task, rate: str) -> str:
    left = "" if task.time_remaining is None else f", {task.time_remaining / 60:.0f} min left"
    return f"{task.percentage:.0f} %, {rate}{left}"


@contextlib.contextmanager
def interruptible(words: Callable[[], str] | None) -> Iterator[None]:
    """After Ctrl-C say what is kept and how to go on, and exit as shells have it.

    Parameters
    ----------
    words : callable
        Gives what follows "interrupted"; None says nothing, where another process does.
    """
    try:
        yield
    except KeyboardInterrupt:
        if words is not None:
            print(f"aliascope: interrupted{words()}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
