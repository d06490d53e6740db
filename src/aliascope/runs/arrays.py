"""The arrays of a part: Zarr, read as data and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aliascope.runs.values import MOST_BYTES, MOST_ROWS

CODECS = frozenset({"bytes", "zstd", "blosc", "gzip", "zlib", "lz4", "crc32c"})
"""What Zarr writes by itself."""

Array = np.ndarray[Any, Any]


def place_of(folder: Path, kind: str, site: int) -> Path:
    """Say where a part has an array.

    Parameters
    ----------
    folder : Path
        That of the part.
    kind : str
        What it holds, an identifier: channel, category, folds, features, pixels, ...
    site : int
        Position in the part's sites; 0 where it belongs to no site.

    Returns
    -------
    Path
    """
    if not kind.isidentifier():
        raise ValueError(f"{kind!r} cannot name an array")
    return folder / kind / f"{site}.zarr"


def create(path: Path, shape: Sequence[int], chunks: Sequence[int], dtype: Any) -> Any:
    """Create an array to write to."""
    import zarr

    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = tuple(max(1, n) for n in chunks)
    return zarr.open_array(
        store=str(path), mode="w", shape=tuple(shape), chunks=chunks, dtype=dtype
    )


def open_array(folder: Path) -> Any:
    """Open an array to read from.

    Parameters
    ----------
    folder : Path
        Of the array.

    Returns
    -------
    zarr.Array

    Raises
    ------
    ValueError
        If it is of an absurd size, or its codecs could do more than decompress.
    """
    import zarr

    _check(folder)
    return zarr.open_array(store=str(folder), mode="r")


def _check(folder: Path) -> None:
    newer = folder / "zarr.json"
    metadata = json.loads((newer if newer.exists() else folder / ".zarray").read_bytes())
    shape = [int(length) for length in metadata["shape"]]
    if newer.exists():
        kind = str(metadata["data_type"])
        codecs = [codec["name"] for codec in metadata["codecs"]]
    else:
        kind = str(metadata["dtype"])[1:]
        codecs = [codec["id"] for codec in [metadata["compressor"], *(metadata["filters"] or [])]]
    if not set(codecs) <= CODECS or not kind.startswith(("b", "i", "u", "f", "c")):
        raise ValueError(f"its codecs ({', '.join(codecs)}) or its type ({kind}) are none of ours")
    if math.prod(shape[1:]) > MOST_BYTES or math.prod(shape) > MOST_ROWS * 4096:
        raise ValueError(f"its shape is {tuple(shape)}")
