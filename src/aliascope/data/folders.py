"""Images in folders: of classes, or without labels."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from aliascope.data.items import EXTENSIONS, Item, is_hidden, read_item
from aliascope.data.synsets import IMAGENET_CLASSES, imagenet_synsets
from aliascope.errors import AliascopeError
from aliascope.files import unicode

MOST_NAMED = 3
"""Folders that an error names."""


class ImageSet(Dataset[Item]):
    """Images on disk, read when asked for; one that cannot be read never raises.

    Parameters
    ----------
    name : str
        What the set is called in results: the folder, or ``"samples"``.
    paths : sequence of pathlib.Path
        The files.
    names : sequence of str
        As many names, which a run remembers them by.
    labels : sequence of int or None
        As many classes, or None when they are not known.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W); such as a
        `aliascope.models.preprocessing.Preprocessing`. The image of an `AliascopeError` that it
        raises counts as unreadable.

    Examples
    --------
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
    >>> images = ImageSet("set", [Path("gone.png")], ["gone.png"], None, IMAGENET_PREPROCESSING)
    >>> images[0].error
    "FileNotFoundError: [Errno 2] No such file or directory: ...gone.png'"
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        names: Sequence[str],
        labels: Sequence[int] | None,
        transform: Callable[[Image.Image], Tensor],
    ) -> None:
        if len(names) != len(paths) or (labels is not None and len(labels) != len(paths)):
            counts = f"{len(paths)} paths, {len(names)} names"
            counts += "" if labels is None else f" and {len(labels)} labels"
            raise AliascopeError(f"The set {name!r} got {counts}: give as many of each.")
        self.name = name
        self.paths = list(paths)
        self.names = list(map(unicode, names))
        self.labels = None if labels is None else list(labels)
        self.transform = transform

    @property
    def details(self) -> dict[str, Any]:
        """What tells that a file was replaced, without reading all: the sizes, as one SHA-256."""
        sizes = "\n".join(str(_size(path)) for path in self.paths)
        return {"sizes_sha256": hashlib.sha256(sizes.encode()).hexdigest()}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        label = -1 if self.labels is None else self.labels[index]
        return read_item(index, self.names[index], label, self.paths[index], self.transform)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it is reported when it is read
        return -1


def existing_folder(spec: str) -> Path:
    """Give the folder of a name, which may begin with ``~``; one that is none is refused."""
    folder = Path(spec).expanduser()
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AliascopeError(
            f"The folder {spec} does not exist: pass samples or a folder."
        ) from None
    except OSError as error:
        raise AliascopeError(f"{spec} cannot be read ({error.strerror}): pass a folder.") from error
    if not folder.is_dir():
        raise AliascopeError(f"{spec} is a file, but images come from a folder: pass its folder.")
    return folder


def class_labels(
    spec: str, filled: list[Path], folders: list[Path], num_classes: int | None
) -> dict[Path, int]:
    """Read each class folder's label off its name, by the one rule that holds for all of them."""
    wordnet = [folder for folder in filled if re.fullmatch(r"n\d{8}", folder.name)]
    numbered = [folder for folder in filled if re.fullmatch(r"[0-9]{1,9}", folder.name)]
    others = [folder for folder in filled if folder not in wordnet and folder not in numbered]
    kinds = [kind for kind in (wordnet, numbered, others) if kind]
    if len(kinds) > 1:
        raise AliascopeError(
            f"{spec} mixes class folders named in different ways ({kinds[0][0].name} and "
            f"{kinds[1][0].name}): name all by WordNet id or all by class index."
        )
    if wordnet:
        check_imagenet(f"The class folders of {spec} are WordNet ids, which", num_classes)
        index = {synset: label for label, synset in enumerate(imagenet_synsets())}
        for folder in wordnet:
            if folder.name not in index:
                raise AliascopeError(
                    f"{folder} is named by a WordNet id that is none of ILSVRC2012's 1,000: name "
                    "the class folders by class index."
                )
        return {folder: index[folder.name] for folder in wordnet}
    if numbered:
        for folder in numbered:
            if num_classes is not None and int(folder.name) >= num_classes:
                raise AliascopeError(
                    f"{folder} stands for class {int(folder.name)}, but the model has "
                    f"{num_classes} classes, counted from 0: pass images of its own classes."
                )
        return {folder: int(folder.name) for folder in numbered}
    if len(folders) != num_classes:
        inside = next((folder for folder in others if _holds_classes(folder)), None)
        model = "an unknown number of" if num_classes is None else str(num_classes)
        remedy = f"pass {inside}" if inside else "name them by WordNet id or by class index"
        empty = [folder.name for folder in folders if folder not in filled]
        of_these = ""
        if empty and not inside:
            more = ", …" if len(empty) > MOST_NAMED else ""
            of_these = (
                f", of which {len(empty)} without images ({', '.join(empty[:MOST_NAMED])}{more})"
            )
            remedy += ", or remove what is no class"
        raise AliascopeError(
            f"{spec} holds {len(folders)} class folders ({others[0].name}, …){of_these} for a "
            f"model of {model} classes, so their order says nothing: {remedy}."
        )
    return {folder: label for label, folder in enumerate(folders)}


def check_imagenet(subject: str, num_classes: int | None) -> None:
    """Refuse ImageNet's labels for a model of other classes."""
    if num_classes not in (None, IMAGENET_CLASSES):
        raise AliascopeError(
            f"{subject} are labelled with ImageNet's {IMAGENET_CLASSES} classes, but the model has "
            f"{num_classes}: pass images of its own classes, or a folder without class folders."
        )


def _holds_classes(folder: Path) -> bool:
    return any(re.fullmatch(r"n\d{8}", entry.name) for entry in folder.iterdir())


def entries_of(folder: Path) -> Iterator[Path]:
    """List what is neither hidden nor put there by a system."""
    try:
        yield from (entry for entry in folder.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        raise AliascopeError(
            f"{folder} cannot be listed ({error.strerror}): mend its permissions."
        ) from error


def is_image(entry: Path) -> bool:
    """Tell by its ending whether a file is an image."""
    # A dangling link is kept, to be reported as unreadable rather than left out in silence.
    return entry.suffix.lower() in EXTENSIONS and (
        entry.is_file() or (entry.is_symlink() and not entry.exists())
    )


def images_under(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """List the images of a folder and of the folders in it, in the order of their names."""
    here = os.path.realpath(folder)
    if here in above:
        return  # A link back up would go round for ever.
    for entry in sorted(entries_of(folder), key=lambda entry: entry.name):
        if is_image(entry):
            yield entry
        elif entry.is_dir():
            yield from images_under(entry, above | {here})
