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
    names = "\n".join(images.names[i] for i in chosen)
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "model": {
            "name": loaded.name,
            "weights": loaded.weights,
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": plain(asdict(loaded.preprocessing)),
            "filter": _filter_of(loaded),
        },
        "data": {
            "name": images.name,
            "images": len(chosen),
            "labelled": images.labels is not None,
            "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
            **images.details,
        },
        "options": options.described(),
        "conditions": [condition.described() for condition in options.conditions],
        "detail": options.detail,
        "device": device,
        "versions": _versions(),
    }


def _filter_of(loaded: LoadedModel) -> dict[str, Any] | None:
    """Say which filter the network came with, as one that was trained filtered does."""
    filter = installed(loaded.network)
    return None if filter is None else filter.describe()


def _versions() -> dict[str, str]:
    versions = {
        "aliascope": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in VERSIONS_OF:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


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
