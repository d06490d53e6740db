"""What is in the archive of the validation images: which members are images, and of which class."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aliascope.data.archives import CHUNK, members, shown, unreadable
from aliascope.data.imagenet.folder import Progress, counted, first_of
from aliascope.data.imagenet.labels import IMAGE_NAME
from aliascope.errors import AliascopeError

OFFICIAL_MD5 = "29b22e2961454d5413ddabcf34fc5622"
"""Of ILSVRC2012_img_val.tar; from ``ARCHIVE_META`` in torchvision's ``datasets/imagenet.py``."""


@dataclass
class Contents:
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
            f"{counted(len(names), noun)} {what} ({first_of(names)})."
            for names, noun, what in told
            if names
        ]


def contents(
    tar: tarfile.TarFile, archive: Path, label_of: Mapping[str, str], report: Progress
) -> Contents:
    """List what is in an archive.

    Parameters
    ----------
    tar : tarfile.TarFile
        The archive, opened.
    archive : pathlib.Path
        Its file.
    label_of : mapping of str to str
        From `aliascope.data.imagenet.labels.read_labels`.
    report : callable
        Told of the progress.

    Returns
    -------
    Contents

    Raises
    ------
    AliascopeError
        If the archive is damaged or holds no image that has a label.
    """
    found = Contents()
    seen: set[str] = set()
    first = ""
    size = archive.stat().st_size
    for member in members(tar, archive):
        report("reading the index", min(member.offset, size), size)
        first = first or member.name
        name = member.name.rsplit("/", 1)[-1]
        if member.name.startswith("/") or ".." in re.split(r"[/\\]", member.name):
            found.leaving.append(member.name)
        elif member.isdir():
            continue
        elif not member.isreg() or member.issparse():
            found.special.append(member.name)
        elif not IMAGE_NAME.fullmatch(name):
            found.unnamed.append(member.name)
        elif name in seen:
            found.repeated.append(member.name)
        else:
            seen.add(name)
            if name in label_of:
                found.images.append((member, name, label_of[name]))
            else:
                found.unlabelled.append(member.name)
    if not found.images:
        raise AliascopeError(_no_images(archive, first, found))
    found.without_image = sorted(label_of.keys() - seen)
    return found


def _no_images(archive: Path, first: str, found: Contents) -> str:
    if found.unlabelled:
        return (
            f"No image of {archive} has a label (first: {shown(found.unlabelled[0])}): pass the "
            "labels of this archive."
        )
    begins = f", it begins with {shown(first)}" if first else ""
    return (
        f"{archive} holds no images named as in ILSVRC2012_val_00000001.JPEG{begins}: pass "
        "ILSVRC2012_img_val.tar."
    )


def check_md5(archive: Path, report: Progress) -> None:
    """Refuse an archive that is not the official one."""
    digest = hashlib.md5(usedforsecurity=False)
    size = archive.stat().st_size
    done = 0
    try:
        with archive.open("rb") as file:
            while chunk := file.read(CHUNK):
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
