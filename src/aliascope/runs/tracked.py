"""What a Tracker wrote as CSV, read back: values of each site over the steps of a training."""

from __future__ import annotations

import os

import pandas as pd

from aliascope.errors import AliascopeError, first_line, nearest

COLUMNS = ("step", "site", "value", "number")
"""Of the file."""


def read_tracked(path: str | os.PathLike[str], value: str = "aliased_energy") -> pd.DataFrame:
    """Read one value from the file that :meth:`aliascope.Tracker.to_csv` wrote.

    Parameters
    ----------
    path : path
        CSV of step, site, value, number.
    value : str
        Such as ``aliased_energy`` or ``tangled``.

    Returns
    -------
    DataFrame
        As :meth:`aliascope.Tracker.history` gives it: index step, a column a site in the order of
        the file, values in [0, 1], NaN where it was not measured.

    Raises
    ------
    AliascopeError
        If the file cannot be read, is another kind of file, or does not hold the value.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "track.csv")
    ...     _ = pd.DataFrame([[0, "stem", "tangled", 0.5]], columns=COLUMNS).to_csv(
    ...         file, index=False
    ...     )
    ...     read_tracked(file, "tangled")["stem"].tolist()
    [0.5]
    """
    try:
        table = pd.read_csv(path, dtype={"site": "str", "value": "str"})
    except (OSError, ValueError) as error:
        raise AliascopeError(
            f"{path} cannot be read ({first_line(error)}); pass the CSV that Tracker.to_csv wrote."
        ) from error
    if list(table.columns) != list(COLUMNS):
        raise AliascopeError(
            f"{path} has the columns {', '.join(map(str, table.columns))}, but what Tracker.to_csv "
            f"wrote has {', '.join(COLUMNS)}."
        )
    known = list(dict.fromkeys(table["value"]))
    if value not in known:
        raise AliascopeError(
            f"value is {value!r}{nearest(value, known)}, but {path} holds "
            f"{', '.join(known) or 'nothing'}."
        )
    rows = table[table["value"] == value].drop_duplicates(["step", "site"], keep="last")
    sites = list(dict.fromkeys(rows["site"]))
    return rows.pivot(index="step", columns="site", values="number")[sites].astype("float64")
