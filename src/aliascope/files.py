"""Writing files: each whole or not at all, a failure in one sentence; and folders by near names."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aliascope.errors import AliascopeError, first_of, nearest

LONGEST_STEM = 40
"""Characters of a file's name that its draft's name has, which needs room for more."""


@contextlib.contextmanager
def writing(place: Path, remedy: str = "mend that, or pass another folder") -> Iterator[None]:
    """Say in one sentence that a file or folder cannot be written, and what to do.

    Examples
    --------
    >>> with writing(Path("/results")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: /results cannot be written (No space left on device); mend ...
    """
    try:
        yield
    except OSError as error:
        raise AliascopeError(
            f"{place} cannot be written ({error.strerror or error}); {remedy}."
        ) from error


def token() -> str:
    """Make part of a name that no other process has, on any machine that shares the folder."""
    return secrets.token_hex(4)


@contextlib.contextmanager
def drafting(path: Path) -> Iterator[Path]:
    """Give a place beside a file to write its draft, which is removed afterwards.

    Parameters
    ----------
    path : Path
        File to write; its folder is made where missing.

    Yields
    ------
    Path
        The draft, whose name begins with a dot and ends in ``.tmp``.

    Raises
    ------
    OSError
        As the system has it; see `writing`.
    """
    draft = path.with_name(f".{path.name[:LONGEST_STEM]}.{token()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place beside a file to write its draft, and put that there when all went well.

    Yields and raises as `drafting`.
    """
    with drafting(path) as draft:
        yield draft
        draft.replace(path)


def plain(value: Any) -> Any:
    """Make a value fit for JSON, which has no NaN, tuples or numpy numbers.

    Examples
    --------
    >>> plain({"rate": (2, 2), "error": math.nan})
    {'rate': [2, 2], 'error': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return unicode(value) if isinstance(value, str) else value


def unicode(name: str) -> str:
    r"""Give the name of a file as a run remembers it: the same under every locale.

    Python reads names in the locale's encoding, so that under ``LC_ALL=C`` all but ASCII comes as
    surrogates, which no file and no terminal takes.

    Parameters
    ----------
    name : str
        Of a file, as the system or an archive has it; any other text is given back.

    Returns
    -------
    str
        Its bytes as UTF-8; those that are none stand as escapes.

    Examples
    --------
    >>> unicode("f\udcc3\udcbcr"), unicode("für"), unicode("f\udcff")
    ('für', 'für', 'f\\udcff')
    """
    with contextlib.suppress(UnicodeEncodeError):  # surrogates that stand for no byte
        name = name.encode(errors="surrogateescape").decode(errors="surrogateescape")
    return name.encode(errors="backslashreplace").decode()


def nearest_folder(folder: Path, file: str) -> str:
    """Say which folder that holds a file may have been meant; nothing if none is near.

    Parameters
    ----------
    folder : Path
        What was given.
    file : str
        Name of the file that tells such a folder, as run.json does.

    Returns
    -------
    str
        In brackets, with a blank in front.

    Examples
    --------
    >>> nearest_folder(Path("no/such"), "run.json")
    ''
    """
    try:
        inside = sorted(str(each.parent) for each in folder.glob(f"*/{file}"))
        if inside:
            return f" (there are {first_of(inside)})"
        beside = [*folder.parent.glob(f"*/{file}")]
        beside = beside or [*Path().glob(f"*/{file}"), *Path().glob(f"*/*/{file}")]
        return nearest(str(folder), [str(each.parent) for each in beside])
    except OSError:
        return ""
