"""Progress of long work: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0
"""How often progress is said where there is no terminal for a bar."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Rate(ProgressColumn):
    """How fast it goes.

    Parameters
    ----------
    words : callable
        Gives the text for a step and its rate a second.
    """

    def __init__(self, words: Callable[[str, float], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:
        """Write the rate, once there is one."""
        return Text(self._words(task.fields["step"], task.speed) if task.speed else "")


class BarOrLines(Progress):
    """Progress bar on standard error that disappears when done; on no terminal it has lines.

    Parameters
    ----------
    *columns : ProgressColumn
        Columns of the bar. ``{task.fields[step]}`` is the step, ``{task.description}`` what is
        said after it.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.done = 0
        self._first = 0
        self._step = ""
        self._bar: TaskID | None = None
        self._said = self._began = time.monotonic()

    def advance_to(
        self, done: int, total: int, description: str = "", step: str = ""
    ) -> tuple[float, float] | None:
        """Move the bar; another step has a bar of its own.

        Returns
        -------
        (float, float) or None
            On no terminal, when it is time for a line: the rate a second since the step began, and
            the minutes left.
        """
        now = time.monotonic()
        if self._bar is None or step != self._step:
            if self._bar is not None:
                self.remove_task(self._bar)
            self._step, self._first, self._began = step, done, now
            self._bar = self.add_task(description, total=total, completed=done, step=step)
        self.done = done
        self.update(self._bar, completed=done, description=description)
        if not self.disable or now - self._said <= SECONDS_BETWEEN_LINES or done <= self._first:
            return None
        self._said = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        return rate, (total - done) / rate / 60

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)
