"""Which class each validation image is of: from the devkit, valprep.sh or a table."""

from __future__ import annotations

import csv
import io
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from aliascope.data.archives import chunks, members, open_archive, shown, unreadable
from aliascope.data.synsets import imagenet_synsets
from aliascope.errors import AliascopeError

IMAGE_NAME = re.compile(r"ILSVRC2012_val_[0-9]{8}\.JPEG")
"""How the images are named."""

LARGEST_LABELS = 64 << 20
"""Bytes; those of the real set take 3 MB at most."""

LABEL_KINDS = "the devkit (ILSVRC2012_devkit_t12.tar.gz), valprep.sh, or a CSV table of file,wnid"
"""What `read_labels` reads, for sentences."""


def read_labels(file: str | Path) -> dict[str, str]:
    """Read which image is of which class; the kind of file is told by its content.

    Parameters
    ----------
    file : str or pathlib.Path
        The devkit archive (``ILSVRC2012_devkit_t12.tar.gz``), the script ``valprep.sh``, whose
        ``mv`` lines are read and nothing is run, or a CSV table ``file,wnid``, with or without a
        header.

    Returns
    -------
    dict of str to str
        From file name, as in ``ILSVRC2012_val_00000001.JPEG``, to WordNet id; every id is one of
        ILSVRC2012's 1,000.

    Raises
    ------
    AliascopeError
        If the file cannot be read, is none of these or contradicts itself.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     _ = Path(here, "a").write_text("mv ILSVRC2012_val_00000001.JPEG n01751748/")
    ...     read_labels(f"{here}/a")
    {'ILSVRC2012_val_00000001.JPEG': 'n01751748'}
    """
    file = Path(file)
    if not os.path.isfile(file):
        what = "is a folder" if os.path.isdir(file) else "is not there"
        raise AliascopeError(f"The labels' file {file} {what}: pass {LABEL_KINDS}.")
    try:
        pairs = _labels_in_devkit(file) if _is_tar(file) else _labels_in_text(file)
    except OSError as error:
        raise unreadable(file, error) from error
    synsets = set(imagenet_synsets())
    labels: dict[str, str] = {}
    for name, wnid in pairs:
        if wnid not in synsets:
            raise AliascopeError(
                f"{file} gives {name} the class {shown(wnid)}, which is none of ILSVRC2012's "
                f"1,000 WordNet ids: correct it, or pass {LABEL_KINDS}."
            )
        if labels.setdefault(name, wnid) != wnid:
            raise AliascopeError(
                f"{file} gives {name} two classes, {labels[name]} and {wnid}: remove one."
            )
    return labels


GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
"""Member of the devkit with a number for each image, in the order of the images."""

META = "meta.mat"
"""Member of the devkit that says which class a number is."""


def _labels_in_devkit(file: Path) -> list[tuple[str, str]]:
    found = _devkit_members(file)
    wnid_of = _wordnet_ids(file, found[META])
    pairs = []
    for number, line in enumerate(found[GROUND_TRUTH].split(), start=1):
        wnid = wnid_of.get(int(line)) if line.isdigit() and len(line) < 10 else None
        if wnid is None:
            raise AliascopeError(
                f"Line {number} of {GROUND_TRUTH} in {file} is {shown(line.decode('latin-1'))}, "
                f"which is no ILSVRC2012_ID of {META}: get the devkit again."
            )
        pairs.append((f"ILSVRC2012_val_{number:08d}.JPEG", wnid))
    return pairs


def _devkit_members(file: Path) -> dict[str, bytes]:
    """Read the two members, by their base names: some archives lack the top folder."""
    found: dict[str, bytes] = {}
    with open_archive(file) as tar:
        for member in members(tar, file):
            name = member.name.rsplit("/", 1)[-1]
            if name not in (META, GROUND_TRUTH) or name in found or not member.isreg():
                continue
            if member.size > LARGEST_LABELS:
                raise AliascopeError(
                    f"{name} in {file} takes {decimal(member.size)}, too much for labels: get the "
                    "devkit again."
                )
            found[name] = b"".join(chunks(tar, member, file))
            if len(found) == 2:
                return found
    lacking = META if META not in found else GROUND_TRUTH
    raise AliascopeError(f"{file} is an archive without {lacking}: pass {LABEL_KINDS}.")


def _wordnet_ids(file: Path, content: bytes) -> dict[int, str]:
    from scipy.io import loadmat

    try:
        loaded: Any = loadmat(io.BytesIO(content), squeeze_me=True, variable_names=["synsets"])
        synsets = np.atleast_1d(loaded["synsets"])
        return {
            int(number): str(wnid)
            for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        }
    except Exception as error:  # SciPy raises whatever a damaged file leads it to.
        raise AliascopeError(
            f"{META} in {file} holds no readable struct synsets with ILSVRC2012_ID and WNID "
            f"({type(error).__name__}): get the devkit again."
        ) from error


WORDNET_ID = re.compile(r"n[0-9]{8}")
"""How classes are named."""

MOVE = re.compile(rf"mv[ \t]+({IMAGE_NAME.pattern})[ \t]+({WORDNET_ID.pattern})/?")
"""A line of valprep.sh."""


def _labels_in_text(file: Path) -> list[tuple[str, str]]:
    unknown = AliascopeError(f"{file} holds no labels that can be read: pass {LABEL_KINDS}.")
    if file.stat().st_size > LARGEST_LABELS:
        raise unknown
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise unknown from None
    moves = [match for line in text.splitlines() if (match := MOVE.fullmatch(line.strip()))]
    if moves:
        return [(match[1], match[2]) for match in moves]
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
    except csv.Error:
        raise unknown from None
    rows = [[cell.strip() for cell in row] for row in rows]
    if rows and not _is_label(rows[0]):
        del rows[0]  # A header.
    if not rows or not _is_label(rows[0]):
        raise unknown
    for row in rows:
        if not _is_label(row):
            raise AliascopeError(
                f"{file} has the row {shown(','.join(row))}, which should be a file and its "
                "WordNet id, as in ILSVRC2012_val_00000001.JPEG,n01751748."
            )
    return [(name, wnid) for name, wnid in rows]


def _is_label(row: Sequence[str]) -> bool:
    return (
        len(row) == 2
        and IMAGE_NAME.fullmatch(row[0]) is not None
        and WORDNET_ID.fullmatch(row[1]) is not None
    )


def _is_tar(file: Path) -> bool:
    try:
        with tarfile.open(file, "r:*") as tar:
            return tar.next() is not None
    except Exception:  # As in members.
        return False
