"""Which files are shards, and the set of images in them.

They are tar archives as WebDataset has them, or Parquet files of encoded images. Nothing is
extracted, unpickled or fetched. Each shard is indexed once; an image is read when it is asked for,
by the process that asks.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from aliascope.data.archives import shown
from aliascope.data.items import EXTENSIONS
from aliascope.data.parquet import ParquetSet
from aliascope.data.shard_set import ShardSet
from aliascope.data.tars import TarSet
from aliascope.errors import AliascopeError

TAR = re.compile(r"(?i)\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2|txz)$")
PARQUET = re.compile(r"(?i)\.parquet$")
"""How the names of shards end."""


def is_shard(path: Path) -> bool:
    """Tell by its name whether a file is a shard.

    Parameters
    ----------
    path : pathlib.Path
        The file. Compressed archives count, to be refused with the reason.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_shard(Path("val-000.tar")), is_shard(Path("0.parquet")), is_shard(Path("a.jpg"))
    (True, True, False)
    """
    return bool(TAR.search(path.name) or PARQUET.search(path.name))


def shards_in(entries: Iterable[Path]) -> list[Path]:
    """Pick the shards among the entries of a folder."""
    return [entry for entry in entries if is_shard(entry) and not entry.is_dir()]


RANGE = re.compile(r"\{([0-9]{1,18})\.\.([0-9]{1,18})\}")
"""Of numbers, as a shell has it."""

MOST_SHARDS = 100_000
"""Files that a brace range may name."""


def named_shards(spec: str) -> list[Path]:
    """Find the shards that a file's name, a glob or a brace range stands for.

    Parameters
    ----------
    spec : str
        ``val.tar``, ``val-*.tar`` or ``val-{000..063}.tar``; or the same of Parquet files.

    Returns
    -------
    list of pathlib.Path
        Empty where `spec` is none of these, such as a folder.

    Raises
    ------
    AliascopeError
        If a file is not there, or is no shard.

    Examples
    --------
    >>> named_shards("photos")
    []
    """
    place = os.path.expanduser(spec)
    if os.path.isdir(place):
        return []
    if not os.path.exists(place) and (RANGE.search(place) or any(sign in place for sign in "*?[")):
        return _matching(spec, place)
    if not is_shard(Path(place)):
        return []
    if not os.path.exists(place):
        raise AliascopeError(f"The shard {spec} does not exist: pass one that does.")
    return [Path(place)]


def _matching(spec: str, place: str) -> list[Path]:
    found: list[str] = []
    for pattern in _expanded(place):
        matches = [pattern] if os.path.exists(pattern) else glob.glob(pattern)
        if not matches:
            raise AliascopeError(f"No file is named {pattern}: pass shards that are there.")
        found += matches
    for match in found:
        if not is_shard(Path(match)):
            raise AliascopeError(
                f"{spec} stands for {match}, which is neither .tar nor .parquet: pass shards only, "
                "as in 'val-*.tar'."
            )
    return [Path(match) for match in dict.fromkeys(found)]


def _expanded(pattern: str) -> list[str]:
    """Write the brace ranges of a pattern out, as a shell does.

    Examples
    --------
    >>> _expanded("val-{08..10}.tar")
    ['val-08.tar', 'val-09.tar', 'val-10.tar']
    """
    match = RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    low, high = sorted((int(first), int(last)))
    tails = _expanded(pattern[match.end() :])
    if (high - low + 1) * len(tails) > MOST_SHARDS:
        raise AliascopeError(
            f"{pattern} stands for more than {MOST_SHARDS:,} files: pass a smaller range or a glob."
        )
    padded = first.startswith("0") or last.startswith("0")
    width = max(len(first), len(last)) if padded else 0
    return [
        f"{pattern[: match.start()]}{str(number).zfill(width)}{tail}"
        for number in range(low, high + 1)
        for tail in tails
    ]


def open_shards(
    spec: str,
    paths: Sequence[Path],
    transform: Callable[[Image.Image], Tensor],
    *,
    num_classes: int | None = None,
) -> ShardSet:
    """Open shards as a set to evaluate on.

    Parameters
    ----------
    spec : str
        What the set is called in results.
    paths : sequence of pathlib.Path
        One shard or more, all tar archives or all Parquet files.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W).
    num_classes : int, optional
        How many classes the model tells apart, where that is known.

    Returns
    -------
    TarSet or ParquetSet
        In the order of the shards' names, and as the images are in them.

    Raises
    ------
    AliascopeError
        If a shard cannot be read, there are no images, or the labels are not the model's.

    Examples
    --------
    >>> open_shards("a.tar", [Path("a.tar")], lambda image: image)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: a.tar cannot be read (No such file or directory): mend its ...
    """
    images = shard_set(spec, paths, transform)
    if len(images) == 0:
        raise AliascopeError(
            f"{spec} holds no images ({', '.join(sorted(EXTENSIONS))} in a tar, rows in Parquet): "
            "pass other shards."
        )
    for name, label in zip(images.names, images.labels or (), strict=images.labels is not None):
        if num_classes is not None and label >= num_classes:
            raise AliascopeError(
                f"{shown(name)} has the label {label}, but the model has {num_classes} classes, "
                "counted from 0: pass images of its own classes."
            )
    return images


def shard_set(
    spec: str, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]
) -> ShardSet:
    """Index shards, which may hold no image and any label.

    Parameters
    ----------
    spec, paths, transform
        See `open_shards`.

    Returns
    -------
    TarSet or ParquetSet

    Raises
    ------
    AliascopeError
        If a shard cannot be read, or they are of two kinds.

    Examples
    --------
    >>> shard_set("both", [Path("a.tar"), Path("b.parquet")], lambda image: image)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: both holds a.tar as well as b.parquet: pass shards of one ...
    """
    tars = [path for path in paths if TAR.search(path.name)]
    tables = [path for path in paths if PARQUET.search(path.name)]
    if tars and tables:
        raise AliascopeError(
            f"{spec} holds {tars[0].name} as well as {tables[0].name}: pass shards of one kind, as "
            "in 'val-*.tar'."
        )
    return TarSet(spec, tars, transform) if tars else ParquetSet(spec, tables, transform)
