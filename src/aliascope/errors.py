"""The one exception for bad input."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence


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


MOST_NEAR = 8
"""Names that a message lists at most."""


class OutOfMemoryError(AliascopeError):
    """A device's memory is too small for what was asked of it."""


def nearest(name: str, names: Sequence[str], *, parts: bool = False) -> str:
    """Say which names may have been meant, for a message that ends in it; nothing if none is near.

    Parameters
    ----------
    name : str
        What was given.
    names : sequence of str
        What there is.
    parts : bool
        Whether those that begin with it, as sites do with their module, are meant before all.

    Returns
    -------
    str
        In brackets, with a blank in front.

    Examples
    --------
    >>> nearest("layer2.0", ["conv1", "layer2.0.conv1", "layer2.0.downsample.0"], parts=True)
    ' (sites that begin with it: layer2.0.conv1, layer2.0.downsample.0)'
    >>> nearest("resent", ["resnet", "vgg"]), nearest("resent", ["vgg"])
    (' (did you mean resnet?)', '')
    """
    begins = [each for each in names if parts and name and each.startswith(name)]
    if begins:
        return f" (sites that begin with it: {first_of(begins)})"
    near = difflib.get_close_matches(name, names, n=1)
    near = near or [each for each in names if parts and name and name in each][:1]
    return f" (did you mean {near[0]}?)" if near else ""


def first_of(names: Sequence[str]) -> str:
    """Name the first few of many.

    Examples
    --------
    >>> first_of(["a", "b"]), first_of("abcdefghij")
    ('a, b', 'a, b, c, d, e, f, g, h, ...')
    """
    return ", ".join([*names[:MOST_NEAR], *(["..."] if len(names) > MOST_NEAR else [])])


def first_line(error: BaseException) -> str:
    """Shorten an exception to its first line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device's memory, or the machine's, was too small."""
    torch = sys.modules.get("torch")
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
