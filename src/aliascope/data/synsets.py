"""The classes of ImageNet by their WordNet ids."""

from __future__ import annotations

from functools import cache
from pathlib import Path

IMAGENET_CLASSES = 1000


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
