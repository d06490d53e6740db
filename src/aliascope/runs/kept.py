"""The arrays that a run kept: maps and folds of a sample at a site, pixels, features."""

from __future__ import annotations

import numpy as np

from aliascope.errors import AliascopeError
from aliascope.runs.arrays import Array
from aliascope.runs.tables import Tables


def at_site(tables: Tables, kind: str, row: int, sample: int) -> Array | None:
    """Read what was kept of one sample at one site.

    Parameters
    ----------
    tables : Tables
        Of the run.
    kind : str
        Such as "category" or "folds".
    row : int
        Of the site.
    sample : int
        Number of the sample.

    Returns
    -------
    ndarray or None
        (windows * C, ...); None where it was not kept.

    Raises
    ------
    AliascopeError
        If the sample was not measured there.
    """
    for part, numbers in tables.parts:
        of_part = part.samples()["sample"].to_numpy()
        places = [position for position, number in numbers.items() if number == row]
        if not places or sample not in of_part:
            continue
        array = part.array(kind, places[0])
        if array is None:
            return None
        windows = array.shape[0] // len(of_part)
        first = int(np.flatnonzero(of_part == sample)[0]) * windows
        return np.asarray(array[first : first + windows]).reshape(-1, *array.shape[2:])
    name = tables.sites["name"].iloc[row]
    raise AliascopeError(f"There is no sample {sample} at site {name!r} in this run.")


def of_sample(tables: Tables, kind: str, sample: int) -> Array | None:
    """Read what was kept of one sample, of the first samples of each part, or None."""
    for part, _ in tables.parts:
        kept = part.array(kind)
        if kept is not None:
            numbers = part.samples()["sample"].to_numpy()[: kept.shape[0]]
            found = np.flatnonzero(numbers == sample)
            if len(found):
                return np.asarray(kept[int(found[0])])
    return None


def of_all(tables: Tables, kind: str) -> Array | None:
    """Read what was kept of all samples, in their order, or None."""
    arrays = [part.array(kind) for part, _ in tables.parts]
    kept = [np.asarray(array[...]) for array in arrays if array is not None]
    return np.concatenate(kept) if kept else None
