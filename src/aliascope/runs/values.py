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
        whole numbers; any other is a number, NaN where it is not defined.
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
        if np.isinf(table[column].to_numpy(dtype=float)).any():
            raise ValueError(f"{column} is not finite")
