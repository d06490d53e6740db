"""Images to measure on: folders, and the samples that come with a package."""

from aliascope.data.images import (
    Batch,
    Images,
    ImageSet,
    Item,
    collate,
    first_size,
    imagenet_synsets,
    open_data,
)
from aliascope.data.samples import sample_files

__all__ = [
    "Batch",
    "ImageSet",
    "Images",
    "Item",
    "collate",
    "first_size",
    "imagenet_synsets",
    "open_data",
    "sample_files",
]
