"""The validation images of ImageNet, from the archive that image-net.org gives into class folders.

No member of an archive chooses where it is written: an image goes to FOLDER/WNID/NAME, where both
names match a strict pattern, and everything else stays in the archive. Hence nothing is
extracted by `tarfile`, and its ``filter="data"``, which Python has only from 3.10.12 and 3.11.4
on, is not needed. Nothing is unpickled, executed or fetched.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from aliascope.data.archives import chunks, open_archive
from aliascope.data.imagenet.archive import check_md5, contents
from aliascope.data.imagenet.folder import (
    IMAGES,
    FolderCheck,
    Progress,
    check_folder,
    check_number,
    counted,
    is_folder,
    silent,
    survey,
)
from aliascope.data.imagenet.labels import read_labels
from aliascope.errors import AliascopeError
from aliascope.files import replacing, writing

BLOCK = 4096
"""Bytes that a file's size is rounded up to on most disks."""

REMEDY = "mend that and run the same command again, or pass another folder"
"""Where the folder cannot be written."""


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
    >>> import io
    >>> from PIL import Image
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
    report = progress or silent
    label_of = read_labels(labels)
    check_number(images)
    if len(label_of) < images:
        raise AliascopeError(
            f"{labels} labels {counted(len(label_of), 'image')}, but {images:,} are expected: "
            f"complete it, or pass --images {len(label_of)}."
        )
    before = survey(folder, label_of, images) if is_folder(folder) else None
    if before and (before.foreign or before.misplaced or before.repeated):
        raise AliascopeError(before.problem)
    with open_archive(archive) as tar:
        found = contents(tar, archive, label_of, report)
        pending = [image for image in found.images if not _is_there(folder, image)]
        if pending:
            _check_space(folder, [member.size for member, _, _ in pending])
        if md5:
            check_md5(archive, report)
        _remove([folder / name for name in before.leftovers] if before else [])
        _copy(tar, archive, folder, pending, report)
    check = check_folder(folder, labels=label_of, images=images, verify=verify, progress=progress)
    return Preparation(
        len(pending), len(found.images) - len(pending), found.notes() + check.notes, check
    )


def _is_there(folder: Path, image: tuple[tarfile.TarInfo, str, str]) -> bool:
    member, name, wnid = image
    target = folder / wnid / name
    return os.path.isfile(target) and os.path.getsize(target) == member.size


def _check_space(folder: Path, sizes: Sequence[int]) -> None:
    """See that the folder, or where it is to be made, takes files, and as many."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    with writing(folder, REMEDY):
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    need = sum(-(-size // BLOCK) * BLOCK for size in sizes)
    if need > free:
        raise AliascopeError(
            f"{folder} needs {decimal(need)} for {counted(len(sizes), 'image')}, but there is room "
            f"for {decimal(free)}: free {decimal(need - free)}, or pass a folder on another disk."
        )


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with writing(file, REMEDY):
            file.unlink(missing_ok=True)


def _copy(
    tar: tarfile.TarFile,
    archive: Path,
    folder: Path,
    images: Sequence[tuple[tarfile.TarInfo, str, str]],
    report: Progress,
) -> None:
    total, done = sum(member.size for member, _, _ in images), 0
    report("copying", 0, total)
    for member, name, wnid in images:
        target = folder / wnid / name
        with writing(target, REMEDY), replacing(target) as draft, draft.open("xb") as file:
            for chunk in chunks(tar, member, archive):
                file.write(chunk)
        done += member.size
        report("copying", done, total)
