"""The validation images of ImageNet, from the archive that image-net.org gives into class folders.

No member of an archive chooses where it is written: an image goes to FOLDER/WNID/NAME, where both
names match a strict pattern, and everything else stays in the archive. Hence nothing is
extracted by `tarfile`, and its ``filter="data"``, which Python has only from 3.10.12 and 3.11.4
on, is not needed. Nothing is unpickled, executed or fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.filesize import decimal

from aliascope.data.archives import members, shown, unreadable
from aliascope.data.imagenet.folder import (
    IMAGES,
    FolderCheck,
    Progress,
    _check_number,
    _count,
    _first,
    _is_folder,
    _silent,
    _survey,
    check_folder,
)
from aliascope.data.imagenet.labels import (
    _CHUNK,
    IMAGE_NAME,
    _chunks,
    _open_archive,
    read_labels,
)
from aliascope.errors import AliascopeError

OFFICIAL_MD5 = "29b22e2961454d5413ddabcf34fc5622"
"""Of ILSVRC2012_img_val.tar; from ``ARCHIVE_META`` in torchvision's ``datasets/imagenet.py``."""


_BLOCK = 4096
"""Bytes that a file's size is rounded up to on most disks."""


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


# -- labels ------------------------------------------------------------------------------------


# -- the archive -------------------------------------------------------------------------------


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


# -- words -------------------------------------------------------------------------------------


def _unwritable(path: Path, error: OSError) -> AliascopeError:
    return AliascopeError(
        f"{path} cannot be written ({error.strerror or error}): mend that and run the "
        "same command again, or pass another folder."
    )
