"""The validation images of ImageNet, from the archive that image-net.org gives into class folders.

No member of an archive chooses where it is written: an image goes to FOLDER/WNID/NAME, where both
names match a strict pattern, and everything else stays in the archive. Hence nothing is
extracted by `tarfile`, and its ``filter="data"``, which Python has only from 3.10.12 and 3.11.4
on, is not needed. Nothing is unpickled, executed or fetched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import secrets
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from rich.filesize import decimal

from aliascope.data.archives import members, shown, unreadable
from aliascope.data.images import EXTENSIONS, IMAGENET_CLASSES, imagenet_synsets
from aliascope.errors import AliascopeError

IMAGES = 50_000
"""Images of the validation set."""

OFFICIAL_MD5 = "29b22e2961454d5413ddabcf34fc5622"
"""Of ILSVRC2012_img_val.tar; from ``ARCHIVE_META`` in torchvision's ``datasets/imagenet.py``."""

IMAGE_NAME = re.compile(r"ILSVRC2012_val_[0-9]{8}\.JPEG")
"""How the images are named."""

Step = Literal["reading the index", "hashing", "copying", "checking"]
Progress = Callable[[Step, int, int], None]
"""Called with the step and how much of how much is done: of images when checking, else of bytes."""

_WORDNET_ID = re.compile(r"n[0-9]{8}")
_LEFTOVER = re.compile(rf"\.{IMAGE_NAME.pattern}\.[0-9a-f]{{8}}\.part")
_MOVE = re.compile(rf"mv[ \t]+({IMAGE_NAME.pattern})[ \t]+({_WORDNET_ID.pattern})/?")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"

_CHUNK = 1 << 20
_BLOCK = 4096
"""Bytes that a file's size is rounded up to on most disks."""
_LARGEST_LABELS = 64 << 20
"""Bytes; those of the real set take 3 MB at most."""


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
        classes = _count(len(self.counts), "class", "classes")
        return f"{_count(self.images, 'image')} in {classes}, {each} in each"

    @property
    def problem(self) -> str:
        """Why the folder is not complete, in one sentence with the remedy; empty when it is."""
        if self.foreign:
            others = _count(
                len(self.foreign), "image or folder of images", "images or folders of images"
            )
            return (
                f"{self.folder} holds {others} out of place "
                f"({_first(self.foreign)}): move them out, or pass another folder."
            )
        if self.misplaced:
            first, label = self.misplaced[0]
            return (
                f"{self.folder} holds {_count(len(self.misplaced), 'image')} in another class "
                f"folder than the labels say (first: {first}, which is of {label}): pass the "
                "right labels, or another folder."
            )
        if self.repeated:
            return (
                f"{self.folder} holds {_count(len(self.repeated), 'image')} in more than one class "
                f"folder ({_first(self.repeated)}): remove the wrong ones, or prepare an empty "
                "folder."
            )
        if self.missing or self.images != self.expected:
            lacks = ""
            if self.missing:
                lacks = f" and lacks {len(self.missing):,} ({_first(self.missing)})"
            alone = f", or pass --images {self.images} if those are all" if self.images else ""
            return (
                f"{self.folder} is incomplete: it holds {self.images:,} of {self.expected:,} "
                f"images{lacks}; prepare it from the whole archive{alone}."
            )
        each = self.expected // IMAGENET_CLASSES
        uneven = [wnid for wnid, count in self.counts.items() if count != each]
        if self.expected == IMAGES and uneven:
            return (
                f"{self.folder} holds {_count(self.counts[uneven[0]], 'image')} of {uneven[0]}, "
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
                f"{_count(len(self.damaged), 'image')} {verb} damaged (first: {name}: {reason})."
            )
        if self.stray:
            stray = _count(len(self.stray), "other file or folder", "other files and folders")
            notes.append(f"{stray} beside the images ({_first(self.stray)}).")
        if self.leftovers:
            left = _count(len(self.leftovers), "temporary file")
            notes.append(
                f"{left} of an interrupted preparation ({_first(self.leftovers)}): prepare again, "
                "which removes them."
            )
        return notes


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did."""

    copied: int
    """Images written."""
    kept: int
    """Images that were there already."""
    notes: list[str]
    """What was left in the archive, and what the folder's check noted; a sentence each."""
    check: FolderCheck
    """Of the folder as it is now."""


@dataclass
class _Plan:
    """What is in an archive; all but the images by name."""

    images: list[tuple[tarfile.TarInfo, str, str]] = field(default_factory=list)
    """Member, file name, class."""
    leaving: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Say what was left in the archive."""
        told = [
            (self.leaving, "member", "refused, whose path leaves the folder"),
            (self.special, "member", "refused, being a link, a device or the like"),
            (self.unnamed, "member", "left out, not being named like the set's images"),
            (self.unlabelled, "image", "left out, having no label"),
            (self.repeated, "image", "left out, named like one earlier in the archive"),
            (self.without_image, "label", "without an image in the archive"),
        ]
        return [
            f"{_count(len(names), noun)} {what} ({_first(names)})."
            for names, noun, what in told
            if names
        ]


def prepare(
    archive: str | Path,
    folder: str | Path,
    labels: str | Path,
    *,
    md5: bool = False,
    images: int = IMAGES,
    verify: bool = False,
    progress: Progress | None = None,
) -> Preparation:
    """Sort the validation images of an archive into class folders.

    Each image is written under a temporary name and renamed, so one that is there is whole;
    interrupted in whatever way, the same call goes on where it was.

    Parameters
    ----------
    archive : str or pathlib.Path
        ``ILSVRC2012_img_val.tar``, or another tar archive of images named like its.
    folder : str or pathlib.Path
        Made where needed. Images of the right size that it holds are kept as they are.
    labels : str or pathlib.Path
        For `read_labels`.
    md5 : bool
        Whether to check first that the archive is the official one.
    images : int
        Images that a complete folder holds.
    verify : bool
        Whether to decode every image, rather than look at its first and last bytes.
    progress : callable, optional
        Told of each step's progress.

    Returns
    -------
    Preparation
        Whose check may tell of a problem: what the archive has is prepared nonetheless.

    Raises
    ------
    AliascopeError
        Before anything is written, if a file cannot be read or is not what it should be, the
        folder cannot be written, holds other images or lacks the space; later, if reading or
        writing fails.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as here:
    ...     image, name = io.BytesIO(), "ILSVRC2012_val_00000001.JPEG"
    ...     Image.new("RGB", (8, 8)).save(image, "JPEG")
    ...     with tarfile.open(f"{here}/val.tar", "w") as tar:
    ...         member = tarfile.TarInfo(name)
    ...         member.size = image.tell()
    ...         tar.addfile(member, io.BytesIO(image.getvalue()))
    ...     _ = Path(here, "labels.csv").write_text(f"{name},n01751748")
    ...     done = prepare(f"{here}/val.tar", f"{here}/val", f"{here}/labels.csv", images=1)
    >>> done.copied, done.check.summary, done.check.problem
    (1, '1 image in 1 class, 1 in each', '')
    """
    archive, folder = Path(archive), Path(folder)
    report = progress or _silent
    label_of = read_labels(labels)
    _check_number(images)
    if len(label_of) < images:
        raise AliascopeError(
            f"{labels} labels {_count(len(label_of), 'image')}, but {images:,} are expected: "
            f"complete it, or pass --images {len(label_of)}."
        )
    before = _survey(folder, label_of, images) if _is_folder(folder) else None
    if before and (before.foreign or before.misplaced or before.repeated):
        raise AliascopeError(before.problem)
    with _open_archive(archive) as tar:
        plan = _plan(tar, archive, label_of, report)
        pending = [image for image in plan.images if not _is_there(folder, image)]
        if pending:
            _check_space(folder, [member.size for member, _, _ in pending])
        if md5:
            _check_md5(archive, report)
        _remove([folder / name for name in before.leftovers] if before else [])
        _copy(tar, archive, folder, pending, report)
    check = check_folder(folder, labels=label_of, images=images, verify=verify, progress=progress)
    return Preparation(
        len(pending), len(plan.images) - len(pending), plan.notes() + check.notes, check
    )


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
    >>> with tempfile.TemporaryDirectory() as here:
    ...     check_folder(here, images=3).problem
    '/... is incomplete: it holds 0 of 3 images; prepare it from the whole archive.'
    """
    folder = Path(folder)
    _check_number(images)
    if not _is_folder(folder):
        raise AliascopeError(
            f"The folder {folder} does not exist: pass one that aliascope imagenet prepare made."
        )
    check = _survey(folder, labels, images)
    report = progress or _silent
    damaged = []
    for done, name in enumerate(_images_of(folder), start=1):
        if reason := _damage(folder / name, verify):
            damaged.append((name, reason))
        report("checking", done, check.images)
    return replace(check, damaged=damaged)


# -- labels ------------------------------------------------------------------------------------


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
    >>> with tempfile.TemporaryDirectory() as here:
    ...     _ = Path(here, "a").write_text("mv ILSVRC2012_val_00000001.JPEG n01751748/")
    ...     read_labels(f"{here}/a")
    {'ILSVRC2012_val_00000001.JPEG': 'n01751748'}
    """
    file = Path(file)
    if not os.path.isfile(file):
        what = "is a folder" if os.path.isdir(file) else "is not there"
        raise AliascopeError(f"The labels' file {file} {what}: pass {_LABEL_KINDS}.")
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
                f"1,000 WordNet ids: correct it, or pass {_LABEL_KINDS}."
            )
        if labels.setdefault(name, wnid) != wnid:
            raise AliascopeError(
                f"{file} gives {name} two classes, {labels[name]} and {wnid}: remove one."
            )
    return labels


_LABEL_KINDS = "the devkit (ILSVRC2012_devkit_t12.tar.gz), valprep.sh, or a CSV table of file,wnid"


def _labels_in_devkit(file: Path) -> list[tuple[str, str]]:
    found = _devkit_members(file)
    wnid_of = _wordnet_ids(file, found[_META])
    pairs = []
    for number, line in enumerate(found[_GROUND_TRUTH].split(), start=1):
        wnid = wnid_of.get(int(line)) if line.isdigit() and len(line) < 10 else None
        if wnid is None:
            raise AliascopeError(
                f"Line {number} of {_GROUND_TRUTH} in {file} is {shown(line.decode('latin-1'))}, "
                f"which is no ILSVRC2012_ID of {_META}: get the devkit again."
            )
        pairs.append((f"ILSVRC2012_val_{number:08d}.JPEG", wnid))
    return pairs


def _devkit_members(file: Path) -> dict[str, bytes]:
    """Read the two members, by their base names: some archives lack the top folder."""
    found: dict[str, bytes] = {}
    with _open_archive(file) as tar:
        for member in members(tar, file):
            name = member.name.rsplit("/", 1)[-1]
            if name not in (_META, _GROUND_TRUTH) or name in found or not member.isreg():
                continue
            if member.size > _LARGEST_LABELS:
                raise AliascopeError(
                    f"{name} in {file} takes {decimal(member.size)}, too much for labels: get the "
                    "devkit again."
                )
            found[name] = b"".join(_chunks(tar, member, file))
            if len(found) == 2:
                return found
    lacking = _META if _META not in found else _GROUND_TRUTH
    raise AliascopeError(f"{file} is an archive without {lacking}: pass {_LABEL_KINDS}.")


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
            f"{_META} in {file} holds no readable struct synsets with ILSVRC2012_ID and WNID "
            f"({type(error).__name__}): get the devkit again."
        ) from error


def _labels_in_text(file: Path) -> list[tuple[str, str]]:
    unknown = AliascopeError(f"{file} holds no labels that can be read: pass {_LABEL_KINDS}.")
    if file.stat().st_size > _LARGEST_LABELS:
        raise unknown
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise unknown from None
    moves = [match for line in text.splitlines() if (match := _MOVE.fullmatch(line.strip()))]
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
        and _WORDNET_ID.fullmatch(row[1]) is not None
    )


# -- the archive -------------------------------------------------------------------------------


def _is_tar(file: Path) -> bool:
    try:
        with tarfile.open(file, "r:*") as tar:
            return tar.next() is not None
    except Exception:  # As in members.
        return False


def _open_archive(archive: Path) -> tarfile.TarFile:
    if os.path.isdir(archive):
        raise AliascopeError(
            f"{archive} is a folder: pass the archive, which need not be unpacked."
        )
    if not os.path.isfile(archive):
        raise AliascopeError(f"The archive {archive} is not there: pass ILSVRC2012_img_val.tar.")
    try:
        return tarfile.open(archive, "r:*")
    except PermissionError as error:
        raise unreadable(archive, error) from error
    except Exception as error:  # As in members.
        raise AliascopeError(
            f"{archive} is not a tar archive, or its beginning is damaged: download it again."
        ) from error


def _plan(
    tar: tarfile.TarFile, archive: Path, label_of: Mapping[str, str], report: Progress
) -> _Plan:
    plan = _Plan()
    seen: set[str] = set()
    first = ""
    size = archive.stat().st_size
    for member in members(tar, archive):
        report("reading the index", min(member.offset, size), size)
        first = first or member.name
        name = member.name.rsplit("/", 1)[-1]
        if member.name.startswith("/") or ".." in re.split(r"[/\\]", member.name):
            plan.leaving.append(member.name)
        elif member.isdir():
            continue
        elif not member.isreg() or member.issparse():
            plan.special.append(member.name)
        elif not IMAGE_NAME.fullmatch(name):
            plan.unnamed.append(member.name)
        elif name in seen:
            plan.repeated.append(member.name)
        else:
            seen.add(name)
            if name in label_of:
                plan.images.append((member, name, label_of[name]))
            else:
                plan.unlabelled.append(member.name)
    if not plan.images:
        raise AliascopeError(_no_images(archive, first, plan))
    plan.without_image = sorted(label_of.keys() - seen)
    return plan


def _no_images(archive: Path, first: str, plan: _Plan) -> str:
    if plan.unlabelled:
        return (
            f"No image of {archive} has a label (first: {shown(plan.unlabelled[0])}): pass the "
            "labels of this archive."
        )
    begins = f", it begins with {shown(first)}" if first else ""
    return (
        f"{archive} holds no images named as in ILSVRC2012_val_00000001.JPEG{begins}: pass "
        "ILSVRC2012_img_val.tar."
    )


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> Iterator[bytes]:
    """Read a member's data."""
    try:
        data = tar.extractfile(member)
        assert data is not None
        while chunk := data.read(_CHUNK):
            yield chunk
    except Exception as error:  # As in members.
        raise AliascopeError(
            f"{archive} cannot be read at {shown(member.name)} ({error}): download it again."
        ) from error


def _check_md5(archive: Path, report: Progress) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    size = archive.stat().st_size
    done = 0
    try:
        with archive.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                report("hashing", done, size)
    except OSError as error:
        raise unreadable(archive, error) from error
    if digest.hexdigest() != OFFICIAL_MD5:
        raise AliascopeError(
            f"{archive} has the MD5 {digest.hexdigest()}, but the official "
            f"ILSVRC2012_img_val.tar has {OFFICIAL_MD5}: download it again, or leave out --md5 for "
            "an archive of your own."
        )


# -- the folder --------------------------------------------------------------------------------


def _is_folder(folder: Path) -> bool:
    # os.path's questions, unlike pathlib's, never raise.
    if os.path.isdir(folder):
        return True
    if os.path.lexists(folder):
        raise AliascopeError(f"{folder} is not a folder: pass another name, or remove it.")
    return False


def _survey(folder: Path, labels: Mapping[str, str] | None, images: int) -> FolderCheck:
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
            elif _LEFTOVER.fullmatch(file.name):
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


def _is_there(folder: Path, image: tuple[tarfile.TarInfo, str, str]) -> bool:
    member, name, wnid = image
    target = folder / wnid / name
    return os.path.isfile(target) and os.path.getsize(target) == member.size


def _check_space(folder: Path, sizes: Sequence[int]) -> None:
    """See that the folder, or where it is to be made, takes files, and as many."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise _unwritable(folder, error) from error
    need = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    if need > free:
        raise AliascopeError(
            f"{folder} needs {decimal(need)} for {_count(len(sizes), 'image')}, but there is room "
            f"for {decimal(free)}: free {decimal(need - free)}, or pass a folder on another disk."
        )


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(file, error) from error


def _copy(
    tar: tarfile.TarFile,
    archive: Path,
    folder: Path,
    images: Sequence[tuple[tarfile.TarInfo, str, str]],
    report: Progress,
) -> None:
    """Write images, each under a name of this call's own until it is whole."""
    token = secrets.token_hex(4)
    total, done = sum(member.size for member, _, _ in images), 0
    report("copying", 0, total)
    for member, name, wnid in images:
        target = folder / wnid / name
        unfinished = target.with_name(f".{name}.{token}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    for chunk in _chunks(tar, member, archive):
                        file.write(chunk)
                unfinished.replace(target)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unwritable(target, error) from error
        done += member.size
        report("copying", done, total)


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


# -- words -------------------------------------------------------------------------------------


def _silent(step: Step, done: int, total: int) -> None:
    pass


def _check_number(images: int) -> None:
    if images < 1:
        raise AliascopeError(f"images is {images}, but it must be 1 or more.")


def _first(names: Sequence[str]) -> str:
    return f"first: {shown(names[0])}"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _unwritable(path: Path, error: OSError) -> AliascopeError:
    return AliascopeError(
        f"{path} cannot be written ({error.strerror or error}): mend that and run the "
        "same command again, or pass another folder."
    )
