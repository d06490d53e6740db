"""Images to measure on: folders, and the samples that come with a package."""

from aliascope.data.folders import ImageSet
from aliascope.data.items import Batch, Images, Item, collate
from aliascope.data.samples import sample_files
from aliascope.data.synsets import imagenet_synsets

__all__ = [
    "Batch",
    "ImageSet",
    "Images",
    "Item",
    "collate",
    "imagenet_synsets",
    "sample_files",
]
