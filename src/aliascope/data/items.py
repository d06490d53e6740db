"""One image and a batch of them, as every set of images gives them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from aliascope.errors import AliascopeError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of the files that count as images, in lower case."""

OF_SYSTEMS = frozenset(
    {
        "__MACOSX",  # of archives made on a Mac
        "@eaDir",  # thumbnails of a network disk
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "__pycache__",
    }
)
"""Folders that systems put beside what people put there."""


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is none of the data: hidden, or put there by a system.

    Parameters
    ----------
    name : str
        Its own, without the folders above it.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_hidden("._a.png"), is_hidden("__MACOSX"), is_hidden("a.png"), is_hidden("..")
    (True, True, False, False)
    """
    return name in OF_SYSTEMS or (name.startswith(".") and name not in (".", ".."))


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
