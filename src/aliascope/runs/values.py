"""The tables of a part: what may be in them, and what is refused as damaged."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np

from aliascope.categories import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000_000
"""Of a part's table; more than any part can have."""

MOST_BYTES = 4 << 30
"""Of a part's table, and of a sample's array."""

KEY = ["sample", "site"]
"""Columns that say what a row of values is of."""

CHANNEL_KEY = ["site", "channel"]
"""Columns that say what a row of channels is of."""

CHANNEL_SUMS = ["varying", "beyond", "beyond_low", "beyond_high"]
"""Energies of a channel, summed over samples: of all coefficients but the constant one; of those
beyond the new Nyquist rate; and of those beyond the cut one coefficient higher, and one lower."""


DRAWN = "varying_drawn"
"""Where channels were drawn for each sample, the energy that varies is summed over all samples, and
in this column over those that the channel was drawn of, as those beyond are."""


def read_table(content: bytes, digest: str) -> pd.DataFrame:
    """Read a table, once it is known to be the one that was written, and of a sane size.

    Parameters
    ----------
    content : bytes
        Of the Parquet file.
    digest : str
        SHA-256 that it must have.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If it is another, or absurdly large.
    """
    import pandas as pd
    from pyarrow import parquet

    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("its checksum is another")
    metadata = parquet.read_metadata(io.BytesIO(content))
    groups = (metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if metadata.num_rows > MOST_ROWS or sum(groups) > MOST_BYTES:
        raise ValueError(f"it claims {metadata.num_rows:,} rows")
    return pd.read_parquet(io.BytesIO(content))


def check_values(table: pd.DataFrame, n_sites: int) -> None:
    """Refuse a table of values that no measure can have given.

    Parameters
    ----------
    table : DataFrame
        Columns sample, site, and one a value: the counts of the four categories, if there, are
        whole numbers; any other is a number, NaN where it is not defined: aliased energy within
        0 and 1, the counts of the floor and of each threshold all four or none.
    n_sites : int
        How many sites the part names.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

    counted = [column for column in COLUMNS if column in table]
    if counted and counted != COLUMNS:
        raise ValueError(f"it has no {', '.join(set(COLUMNS) - set(counted))}")
    whole = table[[*KEY, *counted]]
    if not all(map(is_integer_dtype, whole.dtypes)) or (whole < 0).any(axis=None):
        raise ValueError("counts are no whole numbers")
    if not (table["site"] < n_sites).all():
        raise ValueError("part.json does not name every site")
    if counted and not table[COLUMNS].any(axis=1).all():
        raise ValueError("no bin was counted")
    for column in table.columns.difference(whole.columns):
        kind = table[column].dtype
        if not is_numeric_dtype(kind) or is_bool_dtype(kind):
            raise ValueError(f"{column} holds no numbers")
        numbers = table[column].to_numpy(dtype=float)
        if np.isinf(numbers).any():
            raise ValueError(f"{column} is not finite")
        if column == "aliased_energy" and ((numbers < 0) | (numbers > 1)).any():
            raise ValueError(f"{column} is not within 0 and 1")
    _check_groups(table)


def _check_groups(table: pd.DataFrame) -> None:
    """Refuse counts of the floor, or at a threshold, of which a category lacks."""
    names = [str(each) for each in table]
    endings = {each[len("no_pass") :] for each in names if each.startswith("no_pass_")}
    groups = [[f"{column}{ending}" for column in COLUMNS] for ending in sorted(endings)]
    if any(each.startswith("floor_") for each in names):
        groups.append([f"floor_{column}" for column in COLUMNS])
    for group in groups:
        if not set(group) <= set(table):
            raise ValueError(f"it has no {', '.join(sorted(set(group) - set(table)))}")
        counts = table[group].to_numpy(dtype=float)
        known = ~np.isnan(counts)
        if (counts < 0).any() or (known.any(axis=1) != known.all(axis=1)).any():
            raise ValueError(f"{group[0]} and the other three are no counts")
        if not (counts[known.all(axis=1)].sum(axis=1) > 0).all():
            raise ValueError(f"no bin was counted in {group[0]} and the other three")


def check_channels(table: pd.DataFrame, n_sites: int) -> None:
    """Refuse a table of channels that no measure can have given.

    Parameters
    ----------
    table : DataFrame
        Columns :data:`CHANNEL_KEY` and :data:`CHANNEL_SUMS`.
    n_sites : int
        How many sites the part names.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> import pandas as pd
    >>> check_channels(pd.DataFrame({"site": [0], "channel": [0]}), 1)
    Traceback (most recent call last):
    ValueError: it has no beyond, beyond_high, beyond_low, varying
    """
    from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

    if missing := sorted({*CHANNEL_KEY, *CHANNEL_SUMS} - set(table)):
        raise ValueError(f"it has no {', '.join(missing)}")
    key = table[CHANNEL_KEY]
    if not all(map(is_integer_dtype, key.dtypes)) or (key < 0).any(axis=None):
        raise ValueError("sites and channels are no whole numbers")
    if not (table["site"] < n_sites).all():
        raise ValueError("part.json does not name every site")
    if key.duplicated().any():
        raise ValueError("a channel is there twice")
    for column in CHANNEL_SUMS:
        kind = table[column].dtype
        if not is_numeric_dtype(kind) or is_bool_dtype(kind):
            raise ValueError(f"{column} holds no numbers")
    sums = table[CHANNEL_SUMS].to_numpy(dtype=float)
    if not np.isfinite(sums).all() or (sums < 0).any():
        raise ValueError("a sum of energies is negative or not finite")
