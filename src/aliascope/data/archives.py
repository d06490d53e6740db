"""Reading tar archives that somebody else made: to their end, and in sentences when they fail."""

from __future__ import annotations

import contextlib
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from aliascope.errors import AliascopeError

CHUNK = 1 << 20
"""Bytes of a member that are read at once."""

LONGEST_NAME = 100
"""Characters of a name that are shown."""


def open_archive(archive: Path) -> tarfile.TarFile:
    """Open a tar archive, compressed or not.

    Parameters
    ----------
    archive : pathlib.Path
        The file.

    Returns
    -------
    tarfile.TarFile
        To be closed.

    Raises
    ------
    AliascopeError
        If there is no such file, it cannot be read or is no tar archive.

    Examples
    --------
    >>> open_archive(Path("gone.tar"))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: The archive gone.tar is not there: pass one that is.
    """
    if os.path.isdir(archive):
        raise AliascopeError(
            f"{archive} is a folder: pass the archive, which need not be unpacked."
        )
    if not os.path.isfile(archive):
        raise AliascopeError(f"The archive {archive} is not there: pass one that is.")
    sentence = f"{archive} is not a tar archive, or its beginning is damaged: download it again."
    with refusing_damage(archive, sentence):
        return tarfile.open(archive, "r:*")


def chunks(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> Iterator[bytes]:
    """Read a member's data bit by bit.

    Parameters
    ----------
    tar, archive
        As `members` takes them.
    member : tarfile.TarInfo
        A regular file among its members.

    Yields
    ------
    bytes
        At most `CHUNK` of them.

    Raises
    ------
    AliascopeError
        If the archive is cut off or damaged.
    """
    try:
        data = tar.extractfile(member)
        assert data is not None
        while chunk := data.read(CHUNK):
            yield chunk
    except Exception as error:  # As in members.
        raise AliascopeError(
            f"{archive} cannot be read at {shown(member.name)} ({error}): download it again."
        ) from error


def members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """List the members of an archive that is whole; unlike `tarfile`, never end early in silence.

    All headers are read before any image: they say how much is needed, and what is amiss. Where
    archives were joined by ``cat``, those of each are listed.

    Parameters
    ----------
    tar : tarfile.TarFile
        Opened for reading.
    archive : pathlib.Path
        Its file, for the sentence.

    Yields
    ------
    tarfile.TarInfo
        Of any type.

    Raises
    ------
    AliascopeError
        If the archive is cut off or damaged.

    Examples
    --------
    >>> import io
    >>> content = io.BytesIO()
    >>> with tarfile.open(fileobj=content, mode="w") as tar:
    ...     tar.addfile(tarfile.TarInfo("a.txt"))
    >>> _ = content.seek(0)
    >>> with tarfile.open(fileobj=content) as tar:
    ...     [member.name for member in members(tar, Path("a.tar"))]
    ['a.txt']
    """
    count, last = 0, ""
    try:
        while True:
            while (member := tar.next()) is not None:
                # A negative size leads tarfile round in circles (CVE-2025-8194).
                if member.size < 0:
                    raise tarfile.ReadError("negative size")
                count, last = count + 1, member.name
                yield member
            after = _after_the_end(tar)
            if after is None:
                return
            tar.offset = after
    except Exception as error:  # tarfile and zlib raise whatever a damaged file leads them to.
        if isinstance(error, OSError) and error.errno:
            raise unreadable(archive, error) from error
        where = f"at or after member {count:,} ({shown(last)})" if count else "at its beginning"
        raise AliascopeError(
            f"{archive} is cut off or damaged {where}: download it again."
        ) from error


def _after_the_end(tar: tarfile.TarFile) -> int | None:
    """Find where another archive follows the one that has ended; None where there is none."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    # Two blocks of zeros end an archive; tarfile takes anything else for the end as well.
    end = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise tarfile.ReadError("no end")
    place = tar.offset + tarfile.BLOCKSIZE
    while padding := tar.fileobj.read(CHUNK):
        if any(padding):
            first = len(padding) - len(padding.lstrip(b"\0"))
            return place + first // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        place += len(padding)
    return None


def shown(name: str) -> str:
    """Quote a name that somebody else chose, which may hold anything, where it needs quotes.

    Parameters
    ----------
    name : str
        Of a member, say.

    Returns
    -------
    str
        One line of at most about 100 characters.

    Examples
    --------
    >>> print(shown("a/b.jpg"), shown("two words"))
    a/b.jpg 'two words'
    """
    if re.fullmatch(r"[\w./+-]{1,100}", name, re.ASCII):
        return name
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")


@contextlib.contextmanager
def refusing_damage(path: Path, sentence: str) -> Iterator[None]:
    """Turn whatever a damaged file leads its reader to into one sentence.

    Parameters
    ----------
    path : pathlib.Path
        The file; what the system says of it is said as `unreadable` does.
    sentence : str
        For all else but an `AliascopeError`, which has one already.

    Examples
    --------
    >>> with refusing_damage(Path("val.tar"), "val.tar is no archive: download it again."):
    ...     raise tarfile.ReadError("bad checksum")
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: val.tar is no archive: download it again.
    """
    try:
        yield
    except AliascopeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise unreadable(path, error) from error
        raise AliascopeError(sentence) from error


def unreadable(path: Path, error: OSError) -> AliascopeError:
    """Put in one sentence that a file cannot be read.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    error : OSError
        What the system says.

    Returns
    -------
    AliascopeError
        To raise.

    Examples
    --------
    >>> print(unreadable(Path("val.tar"), PermissionError(13, "Permission denied")))
    val.tar cannot be read (Permission denied): mend its permissions or its disk.
    """
    return AliascopeError(
        f"{path} cannot be read ({error.strerror or error}): mend its permissions or its disk."
    )
