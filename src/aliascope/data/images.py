"""Images from a folder or from shards, with labels where these say them.

``imagenet_synsets.txt``, beside this file, holds the 1,000 WordNet ids of ILSVRC2012 in the order
of the class indices, which is their sorted order. It is the file ``imagenet_synsets.txt`` of timm
1.0.31 (Apache-2.0), byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from aliascope.data.samples import sample_files
from aliascope.errors import AliascopeError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of the files that count as images, in lower case."""

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Item:
    """One image of an `ImageSet`, or the reason why there is none."""

    index: int
    """Its place in the set."""
    name: str
    """Its path relative to the folder."""
    label: int
    """Its class, or -1 when unknown."""
    image: Tensor | None
    """Of shape (3, H, W), or None when the file cannot be read."""
    error: str
    """Why it cannot be read, in one line; empty when it can."""


@dataclass
class Batch:
    """The readable images of several items, and what was wrong with the others."""

    indices: Tensor
    """Places in the set, of shape (N,), int64."""
    names: list[str]
    """As many names."""
    labels: Tensor
    """Classes, of shape (N,), int64; -1 when unknown."""
    images: Tensor
    """Of shape (N, 3, H, W); (0, 3, 0, 0) when none could be read."""
    bad: list[tuple[int, str, str]]
    """Index, name and reason of each image that could not be read."""


class Images(Protocol):  # of a Dataset, which is no protocol and cannot be named here
    """A set of images that can be evaluated on: an `ImageSet`, or one that makes its images."""

    name: str
    """What it is called in results."""
    names: list[str]
    """What a run remembers each image by."""
    labels: list[int] | None
    """Their classes, where they are known."""

    @property
    def details(self) -> dict[str, Any]:
        """What a run records of the set besides."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


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
        `aliascope.preprocessing.Preprocessing`. The image of an `AliascopeError` that it raises
        counts as unreadable.

    Examples
    --------
    >>> from aliascope.preprocessing import IMAGENET_PREPROCESSING
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
        # A file's name need not be Unicode, but what a run is written in must.
        self.names = [name.encode(errors="backslashreplace").decode() for name in names]
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


def read_item(
    index: int,
    name: str,
    label: int,
    source: Path | BytesIO,
    transform: Callable[[Image.Image], Tensor],
) -> Item:
    """Decode an image, or say why that is impossible.

    Parameters
    ----------
    index, name, label
        See `Item`.
    source : pathlib.Path or io.BytesIO
        The file, or its content.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W). What it raises is raised, but for an
        `AliascopeError` and for what files and memory lead to.

    Returns
    -------
    Item

    Examples
    --------
    >>> read_item(0, "a.png", 7, BytesIO(b""), lambda image: image).error
    'The file is empty'
    """
    try:
        picture = _decode(source)
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to.
        if _is_empty(source):
            return Item(index, name, label, None, "The file is empty")
        return failed_item(index, name, label, error)
    try:
        return Item(index, name, label, transform(picture), "")
    except (AliascopeError, OSError, MemoryError) as error:
        return failed_item(index, name, label, error)


def failed_item(index: int, name: str, label: int, error: Exception) -> Item:
    r"""Make the item of an image that cannot be read.

    Parameters
    ----------
    index, name, label
        See `Item`.
    error : Exception
        What reading it raised.

    Returns
    -------
    Item
        Whose `error` is one line.

    Examples
    --------
    >>> failed_item(0, "a.png", 7, OSError("cut\noff")).error
    'OSError: cut'
    """
    lines = str(error).splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, AliascopeError):
        reason = str(error)
    elif isinstance(error, UnidentifiedImageError) and "BytesIO" in reason:
        reason = "UnidentifiedImageError: cannot identify image"  # The address says nothing.
    return Item(index, name, label, None, reason)


def _decode(source: Path | BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # Of damaged EXIF data, which is not used; some of ImageNet's pictures have it.
        warnings.simplefilter("ignore", UserWarning)
        # Pillow only warns of a bomb of up to twice its limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source) as picture:
            picture.load()
            return picture


def _is_empty(source: Path | BytesIO) -> bool:
    if isinstance(source, BytesIO):
        return not source.getbuffer()
    return source.is_file() and source.stat().st_size == 0


def collate(items: Sequence[Item]) -> Batch:
    """Put items together for a network; the ``collate_fn`` of a DataLoader over an `ImageSet`.

    Parameters
    ----------
    items : sequence of Item
        One or more.

    Returns
    -------
    Batch
        The images that could be read, and the others' reasons.

    Raises
    ------
    AliascopeError
        If the images differ in size.

    Examples
    --------
    >>> good = Item(0, "a.png", 7, torch.zeros(3, 4, 4), "")
    >>> batch = collate([good, Item(1, "b.png", 7, None, "The file is empty")])
    >>> batch.images.shape, batch.labels, batch.bad
    (torch.Size([1, 3, 4, 4]), tensor([7]), [(1, 'b.png', 'The file is empty')])
    """
    images, readable = [], []
    for item in items:
        if item.image is not None:
            images.append(item.image)
            readable.append(item)
    for item, image in zip(readable, images, strict=True):
        if image.shape != images[0].shape:
            sizes = [" × ".join(map(str, each.shape[1:])) for each in (images[0], image)]
            raise AliascopeError(
                f"{readable[0].name} is {sizes[0]} and {item.name} {sizes[1]}, which do not fit in "
                "one batch: pass --crop SIZE or --batch-size 1."
            )
    return Batch(
        indices=torch.tensor([item.index for item in readable], dtype=torch.int64),
        names=[item.name for item in readable],
        labels=torch.tensor([item.label for item in readable], dtype=torch.int64),
        images=torch.stack(images) if images else torch.empty(0, 3, 0, 0),
        bad=[(item.index, item.name, item.error) for item in items if item.image is None],
    )


@cache
def imagenet_synsets() -> list[str]:
    """Give the WordNet ids of the ILSVRC2012 classes, in the order of the class indices.

    Returns
    -------
    list of str
        1,000 ids. The list is shared: do not change it.

    Examples
    --------
    >>> imagenet_synsets().index("n02119022")
    277
    """
    return Path(__file__).with_name("imagenet_synsets.txt").read_text(encoding="ascii").split()


def open_data(
    spec: str,
    transform: Callable[[Image.Image], Tensor],
    *,
    num_classes: int | None = None,
    seed: int = 0,
) -> Images:
    """Open the samples, the oscillations, a folder of images or shards.

    Parameters
    ----------
    spec : str
        ``"samples"``; ``"oscillations"`` or ``"oscillations:A"`` (see
        `aliascope.oscillations.evaluation.open_oscillations`); or a folder (``./samples`` if it is
        called that). Its class folders may be
        named by WordNet id (any of ILSVRC2012's, not necessarily all), by the class's index, or,
        where there is one for each of the model's classes, anyhow: then they count in sorted order.
        Images directly in the folder are unlabelled. A folder without images may hold shards: tar
        archives as WebDataset has them, or Parquet files of encoded images. Those may also be given
        by a file's name, a glob or a brace range, ``val-{000..063}.tar``.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W); such as a
        `aliascope.preprocessing.Preprocessing`.
    num_classes : int, optional
        How many classes the model tells apart, where that is known.
    seed : int, default 0
        Of images that are made.

    Returns
    -------
    ImageSet or like it
        In the order of the class folders' names, then of the files' names; or of the shards' names,
        then as the images are in them.

    Raises
    ------
    AliascopeError
        If there are no images, the class folders cannot be told apart from one another or from
        something else, a shard is damaged, or a label is outside the model's classes.

    Examples
    --------
    >>> from aliascope.preprocessing import IMAGENET_PREPROCESSING
    >>> images = open_data("samples", IMAGENET_PREPROCESSING, num_classes=1000)
    >>> len(images), images[3].name, images[3].label, images[3].image.shape
    (20, 'imagenet_03_990.jpg', 990, torch.Size([3, 224, 224]))
    """
    from aliascope.data.shards import named_shards, open_shards, shards_in

    if _are_oscillations(spec):
        from aliascope.oscillations.evaluation import open_oscillations

        made = open_oscillations(spec, transform, seed=seed)
        classes = made.details["frequencies"] ** 2
        if num_classes not in (None, classes):
            raise AliascopeError(
                f"Images of oscillations have {classes} classes, but the model has {num_classes}: "
                "pass a model of theirs, such as oscillations."
            )
        return made
    if spec == "samples":
        _check_imagenet("The samples", num_classes)
        samples = sample_files()
        files = [file for file, _ in samples]
        return ImageSet(
            spec, files, [file.name for file in files], [label for _, label in samples], transform
        )
    shards = named_shards(spec)
    if shards:
        return open_shards(spec, shards, transform, num_classes=num_classes)
    folder = _folder(spec)
    entries = sorted(_entries(folder), key=lambda entry: entry.name)
    loose = [entry for entry in entries if _is_image(entry)]
    by_class = {entry: list(_images_under(entry)) for entry in entries if entry.is_dir()}
    filled = {entry: files for entry, files in by_class.items() if files}
    if loose and filled:
        raise AliascopeError(
            f"{spec} holds images ({loose[0].name}) as well as class folders "
            f"({next(iter(filled)).name}): move one or the other out."
        )
    shards = shards_in(entries)
    if shards and not loose and not filled:
        return open_shards(spec, shards, transform, num_classes=num_classes)
    if not loose and not filled:
        raise AliascopeError(
            f"{spec} holds no images ({', '.join(sorted(EXTENSIONS))}): pass another folder."
        )
    if loose:
        return ImageSet(spec, loose, [file.name for file in loose], None, transform)
    label_of = _class_labels(spec, list(filled), list(by_class), num_classes)
    paths = [path for files in filled.values() for path in files]
    labels = [label_of[entry] for entry, files in filled.items() for _ in files]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return ImageSet(spec, paths, names, labels, transform)


def first_size(spec: str, transform: Callable[[Image.Image], Tensor]) -> tuple[int, int] | None:
    """Give height and width of the first readable image, for models that take one size only.

    Parameters
    ----------
    spec, transform
        As `open_data` takes them.

    Returns
    -------
    (int, int) or None
        None where there is none.

    Raises
    ------
    AliascopeError
        If there is no such folder.

    Examples
    --------
    >>> from aliascope.preprocessing import IMAGENET_PREPROCESSING
    >>> first_size("samples", IMAGENET_PREPROCESSING)
    (224, 224)
    """
    for images in _opened_one_by_one(spec, transform):
        for index in range(len(images)):
            image = images[index].image
            if image is not None:
                return image.shape[-2], image.shape[-1]
    return None


def _opened_one_by_one(spec: str, transform: Callable[[Image.Image], Tensor]) -> Iterator[Images]:
    """Open no more of a set at a time than is needed to see its first image."""
    from aliascope.data.shards import named_shards, shard_set, shards_in

    if spec == "samples" or _are_oscillations(spec):
        yield open_data(spec, transform)
        return
    shards = named_shards(spec)
    if not shards:
        folder = _folder(spec)
        for file in _images_under(folder):
            yield ImageSet(spec, [file], [file.name], None, transform)
        shards = shards_in(_entries(folder))
    for shard in sorted(shards):
        yield shard_set(spec, [shard], transform)


def _are_oscillations(spec: str) -> bool:
    return spec.partition(":")[0] == "oscillations"


def _folder(spec: str) -> Path:
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


def _class_labels(
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
        _check_imagenet(f"The class folders of {spec} are WordNet ids, which", num_classes)
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
        raise AliascopeError(
            f"{spec} holds {len(folders)} class folders ({others[0].name}, …) for a model of "
            f"{model} classes, so their order says nothing: {remedy}."
        )
    return {folder: label for label, folder in enumerate(folders)}


def _check_imagenet(subject: str, num_classes: int | None) -> None:
    if num_classes not in (None, IMAGENET_CLASSES):
        raise AliascopeError(
            f"{subject} are labelled with ImageNet's {IMAGENET_CLASSES} classes, but the model has "
            f"{num_classes}: pass images of its own classes, or a folder without class folders."
        )


def _holds_classes(folder: Path) -> bool:
    return any(re.fullmatch(r"n\d{8}", entry.name) for entry in folder.iterdir())


def _entries(folder: Path) -> Iterator[Path]:
    """List what is not hidden."""
    try:
        yield from (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise AliascopeError(
            f"{folder} cannot be listed ({error.strerror}): mend its permissions."
        ) from error


def _is_image(entry: Path) -> bool:
    # A dangling link is kept, to be reported as unreadable rather than left out in silence.
    return entry.suffix.lower() in EXTENSIONS and (
        entry.is_file() or (entry.is_symlink() and not entry.exists())
    )


def _images_under(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """List the images of a folder and of the folders in it, in the order of their names."""
    here = os.path.realpath(folder)
    if here in above:
        return  # A link back up would go round for ever.
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        if _is_image(entry):
            yield entry
        elif entry.is_dir():
            yield from _images_under(entry, above | {here})
