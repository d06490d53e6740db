"""Images in shards, indexed once and read where they lie: what tar and Parquet have in common."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from aliascope.data.archives import shown, unreadable
from aliascope.data.items import Item, failed_item, read_item
from aliascope.errors import AliascopeError
from aliascope.files import unicode

LARGEST_READ = 2**31
"""Bytes that are read at once: of a member of a tar, or of the images of a row group."""

LARGEST_LABEL = 10**9 - 1
"""As for class folders, whose names have 9 digits at most."""

UNKNOWN = -1
"""Label of an image that has none."""

LABEL_NAMES = ("label", "labels", "cls", "class", "class_id", "target", "fine_label")
"""What a column or an entry of labels may be called; the first that is there counts."""


@dataclass
class Index:
    """The images of one shard."""

    names: list[str]
    """Within the shard."""
    labels: NDArray[np.int64]
    """Of shape (N,); `UNKNOWN` where there is none."""
    places: NDArray[np.int64]
    """Of shape (N, 2): offset and size in a tar, row group and row within it in Parquet."""
    others: str = ""
    """What there is in place of labels, where none is known by its name."""


class ShardSet(Dataset[Item], ABC):
    """Images in shards, read when asked for; one that cannot be read never raises.

    Parameters
    ----------
    name : str
        What the set is called in results.
    paths : sequence of pathlib.Path
        The shards.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W).

    Raises
    ------
    AliascopeError
        If a shard cannot be read, two images have one name, or only some have a label.
    """

    def __init__(
        self, name: str, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.name = name
        self.transform = transform
        above = os.path.commonpath([path.parent for path in paths])
        of_name = {path.relative_to(above).as_posix(): path for path in paths}
        self.shards = sorted(of_name)
        self.paths = [of_name[shard] for shard in self.shards]
        self.sizes = [_size(path) for path in self.paths]
        indices = [self._index(path) for path in self.paths]
        counts = [len(index.names) for index in indices]
        self._shard = np.repeat(np.arange(len(indices), dtype=np.int32), counts)
        self._places = np.concatenate([index.places for index in indices])
        self.names = [
            unicode(f"{shard}/{name}")
            for shard, index in zip(self.shards, indices, strict=True)
            for name in index.names
        ]
        self._check_names()
        self.labels = self._checked(np.concatenate([index.labels for index in indices]))
        others = next((index.others for index in indices if index.others), "")
        if self.labels is None and others:
            warnings.warn(
                f"{self.name} is taken for images without labels, since none of {others} is called "
                f"{', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}.",
                stacklevel=2,
            )
        self._kept: tuple[tuple[int, ...], Any] | None = None

    @property
    def details(self) -> dict[str, Any]:
        """The number of shards, and the SHA-256 of their names and sizes."""
        lines = [
            f"{unicode(name)} {size}\n" for name, size in zip(self.shards, self.sizes, strict=True)
        ]
        digest = hashlib.sha256("".join(lines).encode())
        return {"shards": len(self.shards), "shards_sha256": digest.hexdigest()}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Item:
        name, label = self.names[index], UNKNOWN if self.labels is None else self.labels[index]
        shard, (first, second) = int(self._shard[index]), self._places[index].tolist()
        try:
            content = self._bytes(shard, first, second)
        except Exception as error:  # pyarrow raises whatever a damaged file leads it to.
            return failed_item(index, name, label, error)
        return read_item(index, name, label, io.BytesIO(content), self.transform)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    @abstractmethod
    def _index(self, path: Path) -> Index:
        """List the images of a shard."""

    @abstractmethod
    def _bytes(self, shard: int, first: int, second: int) -> bytes:
        """Read the image at a place of a shard."""

    def _keeping(self, key: tuple[int, ...], make: Callable[[], Any]) -> Any:
        """Give what was made last for this key, unless another process made it."""
        key = (os.getpid(), *key)
        if self._kept is None or self._kept[0] != key:
            self._let_go()  # before the next one takes memory
            self._kept = (key, make())
        return self._kept[1]

    def _let_go(self) -> None:
        if self._kept is not None and isinstance(self._kept[1], io.IOBase):
            self._kept[1].close()
        self._kept = None

    def _check_names(self) -> None:
        if len(set(self.names)) < len(self.names):
            name, _ = Counter(self.names).most_common(1)[0]
            raise AliascopeError(
                f"{self.name} holds two images named {shown(name)}: make the shards anew with a "
                "name for each."
            )

    def _checked(self, labels: NDArray[np.int64]) -> list[int] | None:
        known = labels != UNKNOWN
        if not known.any():
            return None
        if not known.all():
            some, other = (self.names[int(each.argmax())] for each in (known, ~known))
            raise AliascopeError(
                f"{self.name} mixes images with a label ({shown(some)}) and without "
                f"({shown(other)}): pass those of one split, as in 'val-*.tar'."
            )
        wrong = (labels < 0) | (labels > LARGEST_LABEL)
        if wrong.any():
            at = int(wrong.argmax())
            raise AliascopeError(
                f"{shown(self.names[at])} has the label {labels[at]}, but labels are class "
                "indices, counted from 0: correct it."
            )
        return list(map(int, labels))


def whole(number: float) -> int | None:
    """Give a label that is written as a fraction, as pandas does where some are missing.

    Examples
    --------
    >>> whole(7.0), whole(7.5)
    (7, None)
    """
    return int(number) if float(number).is_integer() else None


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise AliascopeError(f"{path} is not a file: pass shards only.")
    return found.st_size
