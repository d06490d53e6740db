"""Shards that are tar archives, as WebDataset has them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aliascope.data.archives import members, refusing_damage, shown, unreadable
from aliascope.data.items import EXTENSIONS
from aliascope.data.shard_set import LARGEST_LABEL, LARGEST_READ, UNKNOWN, Index, ShardSet
from aliascope.errors import AliascopeError

LARGEST_LABEL_FILE = 2**24
"""Bytes of a ``.cls`` or ``.json``."""

COMPRESSIONS = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
"""How compressed files begin, and the program that unpacks them."""


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
    >>> from PIL import Image
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
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

    def _index(self, path: Path) -> Index:
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
        return Index(names, np.array(labels, np.int64), np.array(places, np.int64).reshape(-1, 2))

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
            (each for magic, each in COMPRESSIONS.items() if begin.startswith(magic)), None
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
