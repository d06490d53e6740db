"""Images by name: samples, oscillations, a folder or shards, with labels where these say them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image
from torch import Tensor

from aliascope.data.folders import (
    ImageSet,
    check_imagenet,
    class_labels,
    entries_of,
    existing_folder,
    images_under,
    is_image,
)
from aliascope.data.items import EXTENSIONS, Images
from aliascope.data.noise import open_noise
from aliascope.data.samples import sample_files
from aliascope.data.shards import named_shards, open_shards, shard_set, shards_in
from aliascope.errors import AliascopeError


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
        ``"samples"``; ``"noise"`` or ``"noise:N"``, N images of 1/f noise;
        ``"oscillations"`` or ``"oscillations:A"`` (see
        `aliascope.tasks.oscillations.open_oscillations`); or a folder (``./samples`` if it is
        called that). Its class folders may be
        named by WordNet id (any of ILSVRC2012's, not necessarily all), by the class's index, or,
        where there is one for each of the model's classes, anyhow: then they count in sorted order.
        Images directly in the folder are unlabelled. A folder without images may hold shards: tar
        archives as WebDataset has them, or Parquet files of encoded images. Those may also be given
        by a file's name, a glob or a brace range, ``val-{000..063}.tar``.
    transform : callable
        Takes a PIL image and returns a tensor (3, H, W); such as a
        `aliascope.models.preprocessing.Preprocessing`.
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
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
    >>> images = open_data("samples", IMAGENET_PREPROCESSING, num_classes=1000)
    >>> len(images), images[3].name, images[3].label, images[3].image.shape
    (20, 'imagenet_03_990.jpg', 990, torch.Size([3, 224, 224]))
    """
    if _are_oscillations(spec):
        from aliascope.tasks.oscillations import open_oscillations

        made = open_oscillations(spec, transform, seed=seed)
        classes = made.details["frequencies"] ** 2
        if num_classes not in (None, classes):
            raise AliascopeError(
                f"Images of oscillations have {classes} classes, but the model has {num_classes}: "
                "pass a model of theirs, such as oscillations."
            )
        return made
    if _is_noise(spec):
        return open_noise(spec, transform, seed=seed)
    if spec == "samples":
        check_imagenet("The samples", num_classes)
        samples = sample_files()
        files = [file for file, _ in samples]
        return ImageSet(
            spec, files, [file.name for file in files], [label for _, label in samples], transform
        )
    shards = named_shards(spec)
    if shards:
        return open_shards(spec, shards, transform, num_classes=num_classes)
    folder = existing_folder(spec)
    entries = sorted(entries_of(folder), key=lambda entry: entry.name)
    loose = [entry for entry in entries if is_image(entry)]
    by_class = {entry: list(images_under(entry)) for entry in entries if entry.is_dir()}
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
    label_of = class_labels(spec, list(filled), list(by_class), num_classes)
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
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
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
    if spec == "samples" or _are_oscillations(spec) or _is_noise(spec):
        yield open_data(spec, transform)
        return
    shards = named_shards(spec)
    if not shards:
        folder = existing_folder(spec)
        for file in images_under(folder):
            yield ImageSet(spec, [file], [file.name], None, transform)
        shards = shards_in(entries_of(folder))
    for shard in sorted(shards):
        yield shard_set(spec, [shard], transform)


def _are_oscillations(spec: str) -> bool:
    return spec.partition(":")[0] == "oscillations"


def _is_noise(spec: str) -> bool:
    return spec.partition(":")[0] == "noise"
