"""The terminal: how wide it is, and what is said on it of faults."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, NoReturn, TextIO

from rich.console import Console

WIDTH_OF_FILES = 160
"""Columns of output that is no terminal."""


class TableConsole(Console):
    """A console whose reader may go away, as ``| head`` does, without that being a fault."""

    def on_broken_pipe(self) -> None:
        """End as if all had been read."""
        raise BrokenPipeError


def console_for_tables() -> Console:
    """Give a console as wide as the terminal or COLUMNS says, or as a file's lines may be."""
    console = TableConsole()
    asked = os.environ.get("COLUMNS", "").isdecimal()
    return console if console.is_terminal or asked else TableConsole(width=WIDTH_OF_FILES)


def printable(text: str) -> str:
    """Escape what would steer the terminal or break the line, as names of files may."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say_where(said: str, folder: object, console: Console) -> None:
    """Print how a table came about, and on a line of its own, to be copied, where the run is."""
    plain: dict[str, Any] = {"style": "dim", "highlight": False, "markup": False}
    console.print(printable(said), **plain)
    console.print(printable(f"run in {folder}"), soft_wrap=True, **plain)


def refuse(message: str) -> NoReturn:
    """Say what is wrong, and exit with 2."""
    print(f"aliascope: {printable(message)}", file=sys.stderr)
    raise SystemExit(2)


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as the command's own words where it is meant for its user."""
    if category is UserWarning:
        print(f"aliascope: {printable(str(message))}", file=sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, file=file or sys.stderr, end="")
