"""Where shift consistency is kept: what it was of, and the comparisons, in parts.

::

consistency.json         the protocol, the model, the images, the options
shifts/000000.parquet    one row per image and pair of views, of one batch
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aliascope.errors import AliascopeError, first_line
from aliascope.files import nearest_folder, plain, replacing, writing

DESCRIPTION = "consistency.json"

PARTS = "shifts"

COLUMNS = {
    "sample": "int64",
    "name": "string",
    "label": "int64",
    "kind": "category",
    "dy": "float64",
    "dx": "float64",
    "prediction": "int64",
    "agree": "float64",
    "change": "float64",
    "correct": "float64",
}
"""Of a row: the image, the shift between two views, what is said of the first (label and prediction
-1 where there is none), whether the second agrees, the change of probability, and whether the
second is right."""

Unreadable = Sequence[tuple[int, str, str]]


def write_description(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what the comparisons are of; an AliascopeError says why that cannot be."""
    path = folder / DESCRIPTION
    with writing(path), replacing(path) as draft:
        draft.write_text(json.dumps(plain(content), indent=2) + "\n", encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any]:
    """Read what the comparisons in a folder are of.

    Raises
    ------
    AliascopeError
        If there are none, or the file is damaged.

    Examples
    --------
    >>> read_description(Path("nowhere"))
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: nowhere holds no shift consistency: there is ...
    """
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise AliascopeError(
            f"{folder} holds no shift consistency{nearest_folder(folder, DESCRIPTION)}: there is "
            f"no {DESCRIPTION} in it; pass the folder that `aliascope shift` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise AliascopeError(
            f"{path} cannot be read ({first_line(error)}): restore it from a copy, or measure "
            "again."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("protocol"), dict):
        raise AliascopeError(
            f"{path} does not say which protocol was used: restore it from a copy, or measure "
            "again."
        )
    return content


def write_part(folder: Path, number: int, rows: pd.DataFrame, unreadable: Unreadable = ()) -> None:
    """Write the comparisons of one batch, whole or not at all.

    Parameters
    ----------
    folder : Path
        Of the evaluation.
    number : int
        Of the batch.
    rows : DataFrame
        Of :data:`COLUMNS`.
    unreadable : sequence of (int, str, str)
        Number, name and reason of images that were left out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows[list(COLUMNS)], preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"unreadable": json.dumps(unreadable).encode()}
    path = part_path(folder, number)
    with writing(path), replacing(path) as draft:
        pq.write_table(table.replace_schema_metadata(metadata), draft)


def read_part(folder: Path, number: int) -> tuple[pd.DataFrame, list[tuple[int, str, str]]]:
    """Read the comparisons of one batch, and which images were left out.

    Raises
    ------
    AliascopeError
        If the file is damaged.
    """
    import pyarrow.parquet as pq

    path = part_path(folder, number)
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        rows = table.to_pandas()[list(COLUMNS)].astype(COLUMNS)
        unreadable = json.loads((table.schema.metadata or {}).get(b"unreadable", b"[]"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AliascopeError(
            f"{path} cannot be read ({first_line(error)}): run the same command with --resume, "
            "which measures it again."
        ) from error
    return rows, [tuple(each) for each in unreadable]


def part_path(folder: Path, number: int) -> Path:
    """Say where a part is."""
    return folder / PARTS / f"{number:06d}.parquet"


def part_numbers(folder: Path) -> list[int]:
    """List the parts that are there."""
    place = folder / PARTS
    if not place.is_dir():
        return []
    matches = (re.fullmatch(r"([0-9]{6,9})\.parquet", path.name) for path in place.iterdir())
    return sorted(int(match[1]) for match in matches if match)
