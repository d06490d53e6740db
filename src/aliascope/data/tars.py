"""Shards that are tar archives, as WebDataset has them."""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aliascope.data.archives import members, refusing_damage, shown, unreadable
from aliascope.data.items import EXTENSIONS, is_hidden
from aliascope.data.shard_set import (
    LABEL_NAMES,
    LARGEST_LABEL,
    LARGEST_READ,
    UNKNOWN,
    Index,
    ShardSet,
    whole,
)
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
    """Images in tar archives, as WebDataset has them: one sample is what has one key.

    A member's key is its name up to the first dot after the last slash; the members of one key need
    not be side by side. The image is the one that ends as an image's file does, the label its
    ``.cls`` or that of its ``.json``, called as `LABEL_NAMES` says. Names may have dots within:
    where there is no ``v1.png``, or ``v1.0_b.png`` has a label to itself, that is an image of its
    own, whose key ends at the last dot and whose label may also be that of ``v1``. Else it is one
    more picture of the sample, such as a mask, and is left out, which is said. What is no regular
    file, is hidden or in a hidden folder does not count, and a name is never a path.

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
        try:
            with _opened(path) as tar:
                found = _Members.of(tar, path)
            images = found.images(path)
            with path.open("rb") as file:
                labels = _Labels(found, file, path)
                known = [labels.of(image) for image in images]
        except OSError as error:
            raise unreadable(path, error) from error
        return Index(
            [image.name.removeprefix("./") for image in images],
            np.array(known, np.int64),
            np.array([(image.offset, image.size) for image in images], np.int64).reshape(-1, 2),
            labels.others,
        )

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


@dataclass(frozen=True)
class _Member:
    """A regular file in a tar."""

    name: str
    offset: int
    size: int

    @property
    def stem(self) -> str:
        """The name up to the last dot."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        """The name up to the first dot after the last slash."""
        return _parts(self.name)[0]


@dataclass
class _Members:
    """The images and labels of a tar, in its order."""

    pictures: list[_Member] = field(default_factory=list)
    labels: dict[str, list[_Member]] = field(default_factory=dict)
    """By name, in small letters at its end: one may have been added again."""

    @classmethod
    def of(cls, tar: tarfile.TarFile, path: Path) -> _Members:
        """List what is a regular file, and say how many images are not."""
        found, odd = cls(), []
        for member in members(tar, path):
            tar.members.clear()  # type: ignore[attr-defined]  # It keeps them all, a kilobyte each.
            stem, _, ending = member.name.rpartition(".")
            ending = "." + ending.lower()
            if not stem or stem.endswith("/") or any(map(is_hidden, member.name.split("/"))):
                continue
            if not member.isreg() or member.issparse():
                odd += [member.name] * (ending in EXTENSIONS)
                continue
            file = _Member(member.name, member.offset_data, member.size)
            if ending in EXTENSIONS:
                found.pictures.append(file)
            elif ending in (".cls", ".json"):
                found.labels.setdefault(stem + ending, []).append(file)
        if odd:
            warnings.warn(
                f"{path} holds images that are links, devices or the like, which are left out: "
                f"{len(odd)} (first: {shown(odd[0])}).",
                stacklevel=2,
            )
        return found

    def images(self, path: Path) -> list[_Member]:
        """Tell the images from further pictures of a sample, and say how many those are."""
        of_key: dict[str, _Member] = {}
        for each in self.pictures:
            if each.stem == each.key and of_key.setdefault(each.key, each).name != each.name:
                raise AliascopeError(
                    f"The sample {shown(each.key)} of {path} holds two images "
                    f"({shown(of_key[each.key].name)} and {shown(each.name)}), and nothing says "
                    "which is meant: remove one."
                )
        images: list[_Member] = []
        further: list[_Member] = []
        for each in self.pictures:
            labelled = any(each.stem + ending in self.labels for ending in (".cls", ".json"))
            own = each.stem == each.key or each.key not in of_key or labelled
            (images if own else further).append(each)
        if further:
            first = further[0]
            warnings.warn(
                f"{path} holds further pictures of samples, which are left out: {len(further)} "
                f"(first: {shown(first.name)}, of {shown(of_key[first.key].name)}).",
                stacklevel=2,
            )
        return images


class _Labels:
    """Reads the labels of images where they lie."""

    def __init__(self, found: _Members, file: BinaryIO, path: Path) -> None:
        self.found, self.file, self.path = found, file, path
        self.others = ""

    def of(self, image: _Member) -> int:
        """Give an image's label: that of its own name, else of its key."""
        for stem in dict.fromkeys((image.stem, image.key)):
            for name in (f"{stem}.cls", f"{stem}.json"):
                labels = sorted({self._read(each) for each in self.found.labels.get(name, ())})
                if len(labels) > 1:
                    raise AliascopeError(
                        f"{self.path} holds {shown(name)} more than once, with the labels "
                        f"{labels[0]} and {labels[1]}: remove the wrong one."
                    )
                if labels and (labels[0] != UNKNOWN or name.endswith(".cls")):
                    return labels[0]
        return UNKNOWN

    def _read(self, member: _Member) -> int:
        content = b""
        if member.size <= LARGEST_LABEL_FILE:
            self.file.seek(member.offset)
            content = self.file.read(member.size)
        json_like = member.name.lower().endswith(".json")
        label = self._of_json(content) if json_like else _of_cls(content)
        if isinstance(label, float):
            label = whole(label)
        if isinstance(label, bool) or not isinstance(label, int) or abs(label) > LARGEST_LABEL:
            raise AliascopeError(
                f"{shown(member.name)} of {self.path} holds no label that can be read: write a "
                'class index, as in 7, or {"label": 7} in .json.'
            )
        return label

    def _of_json(self, content: bytes) -> object:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(content)
            if not isinstance(found, dict):
                return UNKNOWN
            called = [found[name] for name in LABEL_NAMES if found.get(name) is not None]
            if called:
                return next((each for each in called if type(each) in (int, float)), called[0])
            if found and not set(found) & set(LABEL_NAMES):
                what = shown(", ".join(map(str, found)))
                self.others = self.others or f"the entries of a .json in {self.path.name} ({what})"
            return UNKNOWN
        return None


def _of_cls(content: bytes) -> int | None:
    match = re.fullmatch(rb"\s*(-?[0-9]{1,9})(\.0*)?\s*", content)
    return int(match[1]) if match else None


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
