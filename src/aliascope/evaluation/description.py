"""What run.json says of a run: all that is needed to repeat it, and what came out."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import sys
import time
from dataclasses import asdict
from importlib import metadata
from typing import Any

from aliascope.data import Images as ImageSource
from aliascope.errors import AliascopeError
from aliascope.evaluation.options import Options
from aliascope.files import plain
from aliascope.filters import installed
from aliascope.runs.measurement import Measurement
from aliascope.tasks.models import LoadedModel
from aliascope.version import __version__

VERSIONS_OF = ("torch", "torchvision", "timm", "numpy", "pillow", "zarr", "pandas")
"""Packages whose versions a run remembers, where they are installed."""


def description_of(
    loaded: LoadedModel, images: ImageSource, chosen: range, options: Options, device: str
) -> dict[str, Any]:
    """Describe the run: everything needed to repeat it."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "kind": options.kind,
        "model": described_model(loaded),
        "data": described_images(images, chosen),
        "options": options.described(),
        "conditions": [condition.described() for condition in options.conditions],
        "detail": options.detail,
        "device": device,
        "versions": versions(),
    }


def chosen_images(images: ImageSource, start: int, max_samples: int | None) -> range:
    """Choose the images from one on, at most so many.

    Raises
    ------
    AliascopeError
        If there is none.
    """
    if start >= len(images):
        raise AliascopeError(
            f"start is {start}, but {images.name} holds {len(images)} images, counted from 0."
        )
    stop = len(images)
    if max_samples is not None:
        stop = min(stop, start + max_samples)
    return range(start, stop)


def described_model(loaded: LoadedModel) -> dict[str, Any]:
    """Describe a model: everything needed to load it again, and to know it."""
    return {
        "name": loaded.name,
        "weights": loaded.weights,
        "weights_sha256": loaded.weights_sha256,
        "preprocessing": plain(asdict(loaded.preprocessing)),
        "filter": _filter_of(loaded),
    }


def _filter_of(loaded: LoadedModel) -> dict[str, Any] | None:
    """Say which filter the network came with, as one that was trained filtered does."""
    filter = installed(loaded.network)
    return None if filter is None else filter.describe()


def described_images(images: ImageSource, chosen: range) -> dict[str, Any]:
    """Describe the images that were chosen of a set."""
    names = "\n".join(images.names[i] for i in chosen)
    return {
        "name": images.name,
        "images": len(chosen),
        "labelled": images.labels is not None,
        "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
        **images.details,
    }


def versions() -> dict[str, str]:
    """Say with which versions of what this runs."""
    found = {
        "aliascope": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in VERSIONS_OF:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def outcome_of(measurement: Measurement) -> dict[str, Any]:
    """Describe what came out."""
    accuracy = measurement.accuracy()
    columns = ["name", "op", "rate", "supported", "reason", "recomposition_error"]
    return {
        "samples": len(measurement.samples),
        "unreadable": measurement.unreadable,
        "accuracy": accuracy.to_dict(orient="index"),
        "sites": measurement.sites[columns].to_dict(orient="records"),
    }
