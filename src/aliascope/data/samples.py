"""The twenty ImageNet pictures that come with foolbox, found without importing it."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from aliascope.errors import AliascopeError

SAMPLE_COUNT = 20


def sample_files() -> list[tuple[Path, int]]:
    """Find the sample pictures and their labels.

    Returns
    -------
    list of (pathlib.Path, int)
        The files ``imagenet_NN_LABEL.jpg`` in order of NN, each with its ILSVRC2012 label.

    Raises
    ------
    AliascopeError
        If foolbox is not installed or lacks its pictures.

    Examples
    --------
    >>> path, label = sample_files()[0]
    >>> path.name, label
    ('imagenet_00_243.jpg', 243)
    """
    try:
        installed = importlib.metadata.files("foolbox") or []
    except importlib.metadata.PackageNotFoundError:
        raise AliascopeError(
            "The samples come with foolbox, which is not installed: "
            "pip install 'aliascope[samples]'."
        ) from None
    found = []
    for entry in installed:
        match = re.fullmatch(r"imagenet_(\d+)_(\d+)\.jpg", entry.name)
        if match:
            found.append((int(match[1]), Path(str(entry.locate())), int(match[2])))
    if len(found) != SAMPLE_COUNT:
        raise AliascopeError(
            f"The installed foolbox holds {len(found)} of its {SAMPLE_COUNT} sample pictures: "
            "pip install --force-reinstall foolbox."
        )
    return [(path, label) for _, path, label in sorted(found)]
