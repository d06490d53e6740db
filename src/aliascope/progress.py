"""Progress of long work: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import Progress, ProgressColumn

SECONDS_BETWEEN_LINES = 30.0
"""How often progress is said where there is no terminal for a bar."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class BarOrLines(Progress):
    """Progress bar on standard error that disappears when done; on no terminal it has lines.

    Parameters
    ----------
    *columns : ProgressColumn
        Columns of the bar.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._said = time.monotonic()

    def line_is_due(self, now: float) -> bool:
        """Say whether, on no terminal, it is time for a line."""
        return self.disable and now - self._said > SECONDS_BETWEEN_LINES

    def say(self, now: float, text: str) -> None:
        """Print a line."""
        self._said = now
        print(text, file=sys.stderr, flush=True)
