"""Class folders of ImageNet's validation images, checked for what is missing or damaged."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from PIL import Image

from aliascope.data.archives import shown, unreadable
from aliascope.data.imagenet.labels import IMAGE_NAME
from aliascope.data.items import EXTENSIONS
from aliascope.data.synsets import IMAGENET_CLASSES, imagenet_synsets
from aliascope.errors import AliascopeError

IMAGES = 50_000
"""Images of the validation set."""

Step = Literal["reading the index", "hashing", "copying", "checking"]

"""Of a preparation or a check."""

Progress = Callable[[Step, int, int], None]
"""Called with the step and how much of how much is done: of images when checking, else of bytes."""

LEFTOVER = re.compile(rf"\.{IMAGE_NAME.pattern}\.[0-9a-f]{{8}}\.tmp")
"""How `aliascope.files.replacing` names the draft of an image."""


@dataclass(frozen=True)
class FolderCheck:
    """What a folder of sorted validation images holds; names are relative to it."""

    folder: Path
    expected: int
    """Images that a complete folder holds."""
    counts: dict[str, int]
    """Images of each class; of the real set all 1,000, else those it holds."""
    missing: list[str]
    """Images that should be there and are not, where it is known which should."""
    repeated: list[str]
    """Images in more than one class folder."""
    misplaced: list[tuple[str, str]]
    """Images in another class folder than the labels say, each with the one they say."""
    foreign: list[str]
    """Images that are not of the set, and folders of such, which an evaluation would read."""
    stray: list[str]
    """Other files and folders that do not belong there; they do no harm."""
    leftovers: list[str]
    """Temporary files of an interrupted preparation."""
    damaged: list[tuple[str, str]]
    """Images that are no whole JPEG, each with the reason."""

    @property
    def images(self) -> int:
        """Images in class folders."""
        return sum(self.counts.values())

    @property
    def summary(self) -> str:
        """The numbers, in one line."""
        fewest, most = min(self.counts.values(), default=0), max(self.counts.values(), default=0)
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        classes = counted(len(self.counts), "class", "classes")
        return f"{counted(self.images, 'image')} in {classes}, {each} in each"

    @property
    def problem(self) -> str:
        """Why the folder is not complete, in one sentence with the remedy; empty when it is."""
        if self.foreign:
            others = counted(
                len(self.foreign), "image or folder of images", "images or folders of images"
            )
            return (
                f"{self.folder} holds {others} out of place "
                f"({first_of(self.foreign)}): move them out, or pass another folder."
            )
        if self.misplaced:
            first, label = self.misplaced[0]
            return (
                f"{self.folder} holds {counted(len(self.misplaced), 'image')} in another class "
                f"folder than the labels say (first: {first}, which is of {label}): pass the "
                "right labels, or another folder."
            )
        if self.repeated:
            return (
                f"{self.folder} holds {counted(len(self.repeated), 'image')} in more than one "
                f"class folder ({first_of(self.repeated)}): remove the wrong ones, or prepare an "
                "empty folder."
            )
        if self.missing or self.images != self.expected:
            lacks = ""
            if self.missing:
                lacks = f" and lacks {len(self.missing):,} ({first_of(self.missing)})"
            alone = f", or pass --images {self.images} if those are all" if self.images else ""
            return (
                f"{self.folder} is incomplete: it holds {self.images:,} of {self.expected:,} "
                f"images{lacks}; prepare it from the whole archive{alone}."
            )
        each = self.expected // IMAGENET_CLASSES
        uneven = [wnid for wnid, count in self.counts.items() if count != each]
        if self.expected == IMAGES and uneven:
            return (
                f"{self.folder} holds {counted(self.counts[uneven[0]], 'image')} of {uneven[0]}, "
                f"but {each} of every class are expected: pass the labels of the official "
                "devkit, and a folder without images."
            )
        return ""

    @property
    def notes(self) -> list[str]:
        """What else is worth knowing, a sentence each."""
        notes = []
        if self.damaged:
            name, reason = self.damaged[0]
            verb = "is" if len(self.damaged) == 1 else "are"
            notes.append(
                f"{counted(len(self.damaged), 'image')} {verb} damaged (first: {name}: {reason})."
            )
        if self.stray:
            stray = counted(len(self.stray), "other file or folder", "other files and folders")
            notes.append(f"{stray} beside the images ({first_of(self.stray)}).")
        if self.leftovers:
            left = counted(len(self.leftovers), "temporary file")
            notes.append(
                f"{left} of an interrupted preparation ({first_of(self.leftovers)}): prepare "
                "again, which removes them."
            )
        return notes


def check_folder(
    folder: str | Path,
    *,
    labels: Mapping[str, str] | None = None,
    images: int = IMAGES,
    verify: bool = False,
    progress: Progress | None = None,
) -> FolderCheck:
    """Count the images of each class and look for what is missing, misplaced or damaged.

    Parameters
    ----------
    folder : str or pathlib.Path
        Of class folders named by WordNet id.
    labels : mapping of str to str, optional
        From `read_labels`; then it is also checked that every image is in its class.
    images : int
        Images that a complete folder holds. Of the 50,000, and of as many as there are labels, it
        is known which they are.
    verify : bool
        Whether to decode every image, rather than look at its first and last bytes.
    progress : callable, optional
        Told of the progress.

    Returns
    -------
    FolderCheck
        Whose ``problem`` is empty when the folder is complete.

    Raises
    ------
    AliascopeError
        If the folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     check_folder(here, images=3).problem
    '/... is incomplete: it holds 0 of 3 images; prepare it from the whole archive.'
    """
    folder = Path(folder)
    check_number(images)
    if not is_folder(folder):
        raise AliascopeError(
            f"The folder {folder} does not exist: pass one that aliascope imagenet prepare made."
        )
    check = survey(folder, labels, images)
    report = progress or silent
    damaged = []
    for done, name in enumerate(_images_of(folder), start=1):
        if reason := _damage(folder / name, verify):
            damaged.append((name, reason))
        report("checking", done, check.images)
    return replace(check, damaged=damaged)


def is_folder(folder: Path) -> bool:
    """Whether there is such a folder; a file of that name is refused."""
    # os.path's questions, unlike pathlib's, never raise.
    if os.path.isdir(folder):
        return True
    if os.path.lexists(folder):
        raise AliascopeError(f"{folder} is not a folder: pass another name, or remove it.")
    return False


def survey(folder: Path, labels: Mapping[str, str] | None, images: int) -> FolderCheck:
    """List what is there, and compare it with what should be."""
    synsets = set(imagenet_synsets())
    counts = dict.fromkeys(sorted(synsets), 0) if images == IMAGES else {}
    places: dict[str, list[str]] = {}
    foreign: list[str] = []
    stray: list[str] = []
    leftovers: list[str] = []
    for entry in _entries(folder):
        if not (entry.name in synsets and entry.is_dir()):
            (foreign if _would_be_read(entry) else stray).append(entry.name)
            continue
        counts[entry.name] = 0
        for file in _entries(Path(entry.path), hidden=True):
            name = f"{entry.name}/{file.name}"
            if IMAGE_NAME.fullmatch(file.name) and not file.is_dir():
                counts[entry.name] += 1
                places.setdefault(file.name, []).append(entry.name)
            elif LEFTOVER.fullmatch(file.name):
                leftovers.append(name)
            elif not file.name.startswith("."):
                (foreign if _would_be_read(file) else stray).append(name)
    expected = _expected(labels, images)
    return FolderCheck(
        folder=folder,
        expected=images,
        counts={wnid: count for wnid, count in counts.items() if count or images == IMAGES},
        missing=sorted(expected - places.keys()),
        repeated=[f"{wnids[1]}/{name}" for name, wnids in places.items() if len(wnids) > 1],
        misplaced=[
            (f"{wnid}/{name}", labels[name])
            for name, wnids in (places.items() if labels else ())
            for wnid in wnids
            if labels and wnid != labels.get(name, wnid)
        ],
        foreign=foreign,
        stray=stray,
        leftovers=leftovers,
        damaged=[],
    )


def _expected(labels: Mapping[str, str] | None, images: int) -> set[str]:
    if labels is not None:
        return set(labels) if len(labels) == images else set()
    if images == IMAGES:
        return {f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, IMAGES + 1)}
    return set()


def _entries(folder: Path, hidden: bool = False) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if hidden or not entry.name.startswith(".")]
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted(kept, key=lambda entry: entry.name)


def _would_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether an evaluation of the folder would take this for an image, or find one in it."""
    if not entry.is_dir():
        return Path(entry.name).suffix.lower() in EXTENSIONS
    files = (name for _, _, names in os.walk(entry.path) for name in names)
    return any(Path(name).suffix.lower() in EXTENSIONS for name in files)


def _images_of(folder: Path) -> Iterator[str]:
    """List the set's images, relative to the folder."""
    for wnid in imagenet_synsets():
        if os.path.isdir(folder / wnid):
            for file in _entries(folder / wnid):
                if IMAGE_NAME.fullmatch(file.name) and not file.is_dir():
                    yield f"{wnid}/{file.name}"


def _damage(path: Path, verify: bool) -> str:
    """Say why a file is no whole JPEG, or nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(3)
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64))
            end = file.read()
        if not start:
            return "it is empty"
        if start != b"\xff\xd8\xff":
            return "it is no JPEG"
        # What has something after its end marker may still be whole: decoding it tells.
        if not verify and end.rstrip(b"\0").endswith(b"\xff\xd9"):
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Of damaged EXIF data.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["JPEG"]) as picture:
                picture.load()
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to.
        lines = str(error).splitlines()
        return lines[0] if lines else type(error).__name__
    return ""


def silent(step: Step, done: int, total: int) -> None:
    """Take no notice of the progress."""


def check_number(images: int) -> None:
    """Refuse a complete folder of no images."""
    if images < 1:
        raise AliascopeError(f"images is {images}, but it must be 1 or more.")


def first_of(names: Sequence[str]) -> str:
    """Name the first of several, for a sentence."""
    return f"first: {shown(names[0])}"


def counted(number: int, one: str, several: str = "") -> str:
    """Say how many there are, in the singular or plural.

    Examples
    --------
    >>> counted(1, "class", "classes"), counted(50_000, "image")
    ('1 class', '50,000 images')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
