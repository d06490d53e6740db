"""The classes of ImageNet by their WordNet ids.

``imagenet_synsets.txt``, beside this file, holds the 1,000 WordNet ids of ILSVRC2012 in the order
of the class indices, which is their sorted order. It is the file ``imagenet_synsets.txt`` of timm
1.0.31 (Apache-2.0), byte for byte.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

IMAGENET_CLASSES = 1000
"""Of ILSVRC2012."""


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
