"""Images from shards: tar archives as WebDataset has them, and Parquet files of encoded images.

Nothing is extracted, unpickled or fetched. Each shard is indexed once; an image is read when it is
asked for, by the process that asks.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import itertools
import json
import os
import re
import stat
import tarfile
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from aliascope.data.archives import members, refusing_damage, shown, unreadable
from aliascope.data.images import EXTENSIONS, Item, failed_item, read_item
from aliascope.errors import AliascopeError

MOST_SHARDS = 100_000
"""Files that a brace range may name."""

MOST_IMAGES = 2**24
"""Rows that a Parquet file may say it has; their names alone take about 1.5 GB."""

LARGEST_READ = 2**31
"""Bytes that are read at once: of a member of a tar, or of the images of a row group."""

LARGEST_LABEL = 10**9 - 1
"""As for class folders, whose names have 9 digits at most."""

LARGEST_LABEL_FILE = 2**24
"""Bytes of a ``.cls`` or ``.json``."""

UNKNOWN = -1

_COMPRESSIONS = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
"""How compressed files begin, and the program that unpacks them."""

_TAR = re.compile(r"(?i)\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2|txz)$")
_PARQUET = re.compile(r"(?i)\.parquet$")
_RANGE = re.compile(r"\{([0-9]{1,18})\.\.([0-9]{1,18})\}")


# -- which shards ------------------------------------------------------------------------------


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
    return bool(_TAR.search(path.name) or _PARQUET.search(path.name))


def shards_in(entries: Iterable[Path]) -> list[Path]:
    """Pick the shards among the entries of a folder."""
    return [entry for entry in entries if is_shard(entry) and not entry.is_dir()]


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
    if not os.path.exists(place) and (_RANGE.search(place) or any(sign in place for sign in "*?[")):
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
    match = _RANGE.search(pattern)
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


# -- sets --------------------------------------------------------------------------------------


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
    tars = [path for path in paths if _TAR.search(path.name)]
    tables = [path for path in paths if _PARQUET.search(path.name)]
    if tars and tables:
        raise AliascopeError(
            f"{spec} holds {tars[0].name} as well as {tables[0].name}: pass shards of one kind, as "
            "in 'val-*.tar'."
        )
    return TarSet(spec, tars, transform) if tars else ParquetSet(spec, tables, transform)


@dataclass
class _Index:
    """The images of one shard."""

    names: list[str]
    """Within the shard."""
    labels: NDArray[np.int64]
    """Of shape (N,); `UNKNOWN` where there is none."""
    places: NDArray[np.int64]
    """Of shape (N, 2): offset and size in a tar, row group and row within it in Parquet."""


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
        # A member's name need not be Unicode, but what a run is written in must.
        self.names = [
            f"{shard}/{name}".encode(errors="backslashreplace").decode()
            for shard, index in zip(self.shards, indices, strict=True)
            for name in index.names
        ]
        self._check_names()
        self.labels = self._checked(np.concatenate([index.labels for index in indices]))
        self._kept: tuple[tuple[int, ...], Any] | None = None

    @property
    def details(self) -> dict[str, Any]:
        """The number of shards, and the SHA-256 of their names and sizes."""
        lines = [f"{name} {size}\n" for name, size in zip(self.shards, self.sizes, strict=True)]
        digest = hashlib.sha256("".join(lines).encode(errors="backslashreplace"))
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
    def _index(self, path: Path) -> _Index:
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


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise AliascopeError(f"{path} is not a file: pass shards only.")
    return found.st_size


# -- tar archives ------------------------------------------------------------------------------


class TarSet(ShardSet):
    """Images in tar archives, as WebDataset has them: one sample is the run of members of one key.

    A member's key is its name up to the first dot after the last slash. The image is the sample's
    member that ends as an image's file does, the label its ``.cls`` or the ``label`` or ``cls`` of
    its ``.json``. What is no regular file does not count, and a name is never a path.

    Parameters
    ----------
    name, paths, transform
        See `ShardSet`.

    Examples
    --------
    >>> import tempfile
    >>> from aliascope.preprocessing import IMAGENET_PREPROCESSING
    >>> with tempfile.TemporaryDirectory() as here:
    ...     Image.new("RGB", (256, 256)).save(f"{here}/a.png")
    ...     _ = Path(here, "a.cls").write_text("7")
    ...     with tarfile.open(f"{here}/val.tar", "w") as tar:
    ...         for file in ("a.cls", "a.png"):
    ...             tar.add(f"{here}/{file}", file)
    ...     images = TarSet("val", [Path(here, "val.tar")], IMAGENET_PREPROCESSING)
    ...     images[0].name, images[0].label, images[0].image.shape
    ('val.tar/a.png', 7, torch.Size([3, 224, 224]))
    """

    def _index(self, path: Path) -> _Index:
        names: list[str] = []
        labels: list[int] = []
        places: list[tuple[int, int]] = []
        try:
            with _opened(path) as tar:
                for image, label in _samples(tar, path):
                    names.append(image.name.removeprefix("./"))
                    labels.append(label)
                    places.append((image.offset_data, image.size))
        except OSError as error:
            raise unreadable(path, error) from error
        except tarfile.TarError as error:  # of a label that the file ends in
            raise AliascopeError(f"{path} is cut off or damaged: download it again.") from error
        return _Index(names, np.array(labels, np.int64), np.array(places, np.int64).reshape(-1, 2))

    def _bytes(self, shard: int, first: int, second: int) -> bytes:
        path = self.paths[shard]
        if second > LARGEST_READ:
            raise AliascopeError(f"The image takes {second:,} bytes, too many: leave it out.")
        file = self._keeping((shard,), lambda: path.open("rb"))
        file.seek(first)
        content: bytes = file.read(second)
        if len(content) < second:
            raise AliascopeError(f"{path} has become shorter: begin again with the whole shard.")
        return content


def _opened(path: Path) -> tarfile.TarFile:
    sentence = f"{path} is not a tar archive, or its beginning is damaged: download it again."
    with refusing_damage(path, sentence):
        with path.open("rb") as file:
            begin = file.read(8)
        program = next(
            (each for magic, each in _COMPRESSIONS.items() if begin.startswith(magic)), None
        )
        if program:
            raise AliascopeError(
                f"{path} is compressed, so that no image can be read without all before it: unpack "
                f"it to a plain .tar with {program}."
            )
        return tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape")


def _samples(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Give the image and the label of each sample that has an image."""
    for key, run in itertools.groupby(_files(tar, path), lambda member: _parts(member.name)[0]):
        image: tarfile.TarInfo | None = None
        labels: dict[str, int] = {}
        for member in run:
            ending = _parts(member.name)[1]
            if ending in (".cls", ".json"):
                labels[ending] = _label(tar, member, path)
            elif image is not None:
                raise AliascopeError(
                    f"The sample {shown(key)} of {path} holds two images ({shown(image.name)} and "
                    f"{shown(member.name)}), and nothing says which is meant: remove one."
                )
            else:
                image = member
        if image is not None:
            yield image, labels.get(".cls", labels.get(".json", UNKNOWN))


def _files(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """List images and labels that are regular files, and say how many images are not."""
    odd: list[str] = []
    for member in members(tar, path):
        tar.members.clear()  # type: ignore[attr-defined]  # It keeps them all, a kilobyte each.
        key, ending = _parts(member.name)
        if key.endswith("/") or not key:
            continue  # hidden
        if member.isreg() and not member.issparse():
            if ending in EXTENSIONS or ending in (".cls", ".json"):
                yield member
        elif ending in EXTENSIONS:
            odd.append(member.name)
    if odd:
        warnings.warn(
            f"{path} holds images that are links, devices or the like, which are left out: "
            f"{len(odd)} (first: {shown(odd[0])}).",
            stacklevel=2,
        )


def _parts(name: str) -> tuple[str, str]:
    """Split a member's name into key and ending, at the first dot after the last slash.

    Examples
    --------
    >>> _parts("n01.x/a.seg.PNG")
    ('n01.x/a', '.seg.png')
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.partition(".")
    return folder + slash + stem, dot + ending.lower()


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    """Read the label in a ``.cls`` or a ``.json``."""
    file = tar.extractfile(member) if member.size <= LARGEST_LABEL_FILE else None
    content = b"" if file is None else file.read()
    label: Any = None
    if member.name.lower().endswith(".json"):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(content)
            label = found.get("label", found.get("cls")) if isinstance(found, dict) else None
            label = UNKNOWN if label is None else label
    elif re.fullmatch(rb"\s*-?[0-9]{1,9}\s*", content):
        label = int(content)
    if isinstance(label, bool) or not isinstance(label, int) or abs(label) > LARGEST_LABEL:
        raise AliascopeError(
            f"{shown(member.name)} of {path} holds no label that can be read: write a class index, "
            'as in 7, or {"label": 7} in .json.'
        )
    return label


# -- Parquet -----------------------------------------------------------------------------------


class ParquetSet(ShardSet):
    """Images in Parquet files, in the form that ImageNet has on the Hugging Face hub.

    The column ``image`` holds encoded images: binary, or a struct with binary ``bytes``; it may be
    called ``jpg``. The column ``label``, if there is one, holds class indices, or -1.

    Parameters
    ----------
    name, paths, transform
        See `ShardSet`.

    Examples
    --------
    >>> import pyarrow, pyarrow.parquet, tempfile
    >>> from aliascope.preprocessing import IMAGENET_PREPROCESSING
    >>> picture = io.BytesIO()
    >>> Image.new("RGB", (256, 256)).save(picture, "PNG")
    >>> rows = pyarrow.table({"image": [{"bytes": picture.getvalue()}], "label": [7]})
    >>> with tempfile.TemporaryDirectory() as here:
    ...     pyarrow.parquet.write_table(rows, f"{here}/val.parquet")
    ...     images = ParquetSet("val", [Path(here, "val.parquet")], IMAGENET_PREPROCESSING)
    ...     images[0].name, images[0].label, images[0].image.shape
    ('val.parquet/0', 7, torch.Size([3, 224, 224]))
    """

    def _index(self, path: Path) -> _Index:
        sentence = f"{path} is not a Parquet file, or it is damaged: download it again."
        with refusing_damage(path, sentence), _parquet(path) as file:
            counts = _rows_of_groups(file, path)
            labels = _labels(file, path, sum(counts))
        rows = [np.arange(count) for count in counts]
        groups = np.repeat(np.arange(len(counts)), counts)
        places = np.stack([groups, np.concatenate([groups[:0], *rows])], axis=1)
        return _Index([str(row) for row in range(len(places))], labels, places)

    def _bytes(self, shard: int, first: int, second: int) -> bytes:
        path = self.paths[shard]
        content: bytes | None = self._keeping((shard, first), lambda: _row_group(path, first))[
            second
        ]
        if content is None:
            raise AliascopeError("The row holds no image")
        return content


def _parquet(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    # Without threads of its own, which a forked process would lack.
    return ParquetFile(path, pre_buffer=False)


def _image_column(file: Any, path: Path) -> str:
    """Find the column of encoded images, as Parquet calls it."""
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    schema = file.schema_arrow
    for name in ("image", "jpg"):
        if schema.names.count(name) != 1:
            continue
        kind = schema.field(name).type
        if binary(kind):
            return name
        inner = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
        if inner >= 0 and binary(kind.field(inner).type):
            return f"{name}.bytes"
    raise AliascopeError(
        f"{path} has the columns {shown(', '.join(schema.names))}, but none of encoded images: "
        "pass files whose column image is binary or a struct with binary bytes."
    )


def _rows_of_groups(file: Any, path: Path) -> list[int]:
    """Give the rows of each row group, if all of them can be read."""
    wanted = {_image_column(file, path), "label"}
    counts = []
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        columns = [group.column(place) for place in range(group.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema in wanted)
        if not 0 <= size <= LARGEST_READ:
            raise AliascopeError(
                f"Row group {number} of {path} says that its images take {size:,} bytes, but at "
                f"most {LARGEST_READ:,} are read at once: write it anew with smaller row groups."
            )
        counts.append(group.num_rows)
    if not 0 <= min(counts, default=0) <= sum(counts) <= MOST_IMAGES:
        raise AliascopeError(
            f"{path} says that it has {sum(counts):,} rows, but at most {MOST_IMAGES:,} are read: "
            "write it anew as several files."
        )
    return counts


def _labels(file: Any, path: Path, count: int) -> NDArray[np.int64]:
    """Read the labels; -1 where there is none."""
    import pyarrow as pa

    if "label" not in file.schema_arrow.names:
        return np.full(count, UNKNOWN, np.int64)
    kind = file.schema_arrow.field("label").type
    if not pa.types.is_integer(kind):
        raise AliascopeError(
            f"The column label of {path} is of type {kind}, but labels are class indices: write "
            "whole numbers, or leave the column out."
        )
    column = file.read(columns=["label"], use_threads=False).column("label")
    labels = column.cast(pa.int64()).fill_null(UNKNOWN).to_numpy()
    if len(labels) != count:
        raise AliascopeError(
            f"{path} says that it has {count:,} rows, but holds {len(labels):,}: download it again."
        )
    return labels


def _row_group(path: Path, group: int) -> list[bytes | None]:
    """Read the images of a row group, row by row: what metadata says of their size may be false."""
    images: list[bytes | None] = []
    total = 0
    with _parquet(path) as file:
        column = _image_column(file, path)
        for row in file.iter_batches(1, row_groups=[group], columns=[column], use_threads=False):
            image = row.column(0)[0].as_py()
            image = image["bytes"] if isinstance(image, dict) else image
            images.append(image)
            total += len(image or b"")
            if total > LARGEST_READ:
                raise AliascopeError(f"Row group {group} of {path} takes more than it says.")
    return images
