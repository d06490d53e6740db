"""The one exception for bad input."""

from __future__ import annotations

import re
import sys


class AliascopeError(ValueError):
    """Input that the user can mend; the message is one sentence naming the value and the remedy.

    The command line prints the message and exits with 2.

    Examples
    --------
    >>> raise AliascopeError("threshold_db is 0, but it must be above 0.")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: threshold_db is 0, but it must be above 0.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader raises its worker's error anew with the worker's whole traceback as the
        # message; the sentence is what follows the class's name in it.
        if message.startswith("Caught AliascopeError in DataLoader worker"):
            message = re.split(r"\baliascope\.errors\.AliascopeError: ", message)[-1].strip()
        super().__init__(message)


class OutOfMemoryError(AliascopeError):
    """A device's memory is too small for what was asked of it."""


def first_line(error: BaseException) -> str:
    """Shorten an exception to its first line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device's memory, or the machine's, was too small."""
    torch = sys.modules.get("torch")
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
