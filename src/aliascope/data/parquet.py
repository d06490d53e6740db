"""Shards that are Parquet files, as Hugging Face has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aliascope.data.archives import refusing_damage, shown
from aliascope.data.shard_set import (
    LABEL_NAMES,
    LARGEST_LABEL,
    LARGEST_READ,
    UNKNOWN,
    Index,
    ShardSet,
)
from aliascope.errors import AliascopeError

MOST_IMAGES = 2**24
"""Rows that a Parquet file may say it has; their names alone take about 1.5 GB."""


class ParquetSet(ShardSet):
    """Images in Parquet files, in the form that ImageNet has on the Hugging Face hub.

    The column ``image`` holds encoded images: binary, or a struct with binary ``bytes``; it may be
    called ``jpg``. The column ``label``, if there is one, holds class indices, or -1; it may be
    called as `LABEL_NAMES` says. Whole numbers may be written as fractions, as in 7.0.

    Parameters
    ----------
    name, paths, transform
        See `ShardSet`.

    Examples
    --------
    >>> import io, pyarrow, pyarrow.parquet, tempfile
    >>> from PIL import Image
    >>> from aliascope.models.preprocessing import IMAGENET_PREPROCESSING
    >>> picture = io.BytesIO()
    >>> Image.new("RGB", (256, 256)).save(picture, "PNG")
    >>> rows = pyarrow.table({"image": [{"bytes": picture.getvalue()}], "label": [7]})
    >>> with tempfile.TemporaryDirectory() as here:
    ...     pyarrow.parquet.write_table(rows, f"{here}/val.parquet")
    ...     images = ParquetSet("val", [Path(here, "val.parquet")], IMAGENET_PREPROCESSING)
    ...     images[0].name, images[0].label, images[0].image.shape
    ('val.parquet/0', 7, torch.Size([3, 224, 224]))
    """

    def _index(self, path: Path) -> Index:
        sentence = f"{path} is not a Parquet file, or it is damaged: download it again."
        with refusing_damage(path, sentence), _parquet(path) as file:
            counts = _rows_of_groups(file, path)
            labels = _labels(file, path, sum(counts))
            others = _others(file, path)
        rows = [np.arange(count) for count in counts]
        groups = np.repeat(np.arange(len(counts)), counts)
        places = np.stack([groups, np.concatenate([groups[:0], *rows])], axis=1)
        return Index([str(row) for row in range(len(places))], labels, places, others)

    def _bytes(self, shard: int, first: int, second: int) -> bytes:
        path = self.paths[shard]
        content: bytes | None = self._keeping((shard, first), lambda: _row_group(path, first))[
            second
        ]
        if content is None:
            raise AliascopeError("The row holds no image")
        return content


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    # On an open file, since pyarrow takes only paths that are UTF-8 in every locale; without
    # threads of its own, which a forked process would lack.
    with path.open("rb") as file, ParquetFile(file, pre_buffer=False) as table:
        yield table


def _image_column(file: Any, path: Path) -> str:
    """Find the column of encoded images, as Parquet calls it."""
    import pyarrow as pa

    def binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    schema = file.schema_arrow
    for name in ("image", "jpg"):
        if schema.names.count(name) != 1:
            continue
        kind = schema.field(name).type
        if binary(kind):
            return name
        inner = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
        if inner >= 0 and binary(kind.field(inner).type):
            return f"{name}.bytes"
    raise AliascopeError(
        f"{path} has the columns {shown(', '.join(schema.names))}, but none of encoded images: "
        "pass files whose column image is binary or a struct with binary bytes."
    )


def _rows_of_groups(file: Any, path: Path) -> list[int]:
    """Give the rows of each row group, if all of them can be read."""
    wanted = {_image_column(file, path), _label_column(file, path)}
    counts = []
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        columns = [group.column(place) for place in range(group.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema in wanted)
        if not 0 <= size <= LARGEST_READ:
            raise AliascopeError(
                f"Row group {number} of {path} says that its images take {size:,} bytes, but at "
                f"most {LARGEST_READ:,} are read at once: write it anew with smaller row groups."
            )
        counts.append(group.num_rows)
    if not 0 <= min(counts, default=0) <= sum(counts) <= MOST_IMAGES:
        raise AliascopeError(
            f"{path} says that it has {sum(counts):,} rows, but at most {MOST_IMAGES:,} are read: "
            "write it anew as several files."
        )
    return counts


def _label_column(file: Any, path: Path) -> str | None:
    """Find the column of labels: the first of those so called that holds numbers."""
    import pyarrow as pa

    schema = file.schema_arrow
    called = [name for name in LABEL_NAMES if schema.names.count(name) == 1]
    for name in called:
        kind = schema.field(name).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
            return name
    if called:
        raise AliascopeError(
            f"The column {called[0]} of {path} is of type {schema.field(called[0]).type}, but "
            "labels are class indices: write whole numbers, or leave the column out."
        )
    return None


def _others(file: Any, path: Path) -> str:
    """Say which columns there are beside the image, where none is of labels."""
    image = _image_column(file, path).partition(".")[0]
    others = [name for name in file.schema_arrow.names if name != image]
    if _label_column(file, path) is not None or not others:
        return ""
    return f"the columns of {path.name} ({shown(', '.join(others))})"


def _labels(file: Any, path: Path, count: int) -> NDArray[np.int64]:
    """Read the labels; -1 where there is none."""
    name = _label_column(file, path)
    if name is None:
        return np.full(count, UNKNOWN, np.int64)
    column = file.read(columns=[name], use_threads=False).column(name)
    if len(column) != count:
        raise AliascopeError(
            f"{path} says that it has {count:,} rows, but holds {len(column):,}: download it again."
        )
    missing = column.is_null(nan_is_null=True).to_numpy()
    labels = np.full(count, UNKNOWN, np.int64)
    if missing.all():
        return labels
    values = column.filter(~missing).to_numpy()
    # Before they are cast, since an unsigned label may be larger than any signed one.
    wrong = (values > LARGEST_LABEL) | (values < -LARGEST_LABEL) | (values != np.floor(values))
    if wrong.any():
        row = int(np.flatnonzero(~missing)[int(wrong.argmax())])
        raise AliascopeError(
            f"Row {row} of {path} has the {name} {values[int(wrong.argmax())]}, but labels are "
            "class indices, whole numbers counted from 0: correct it."
        )
    labels[~missing] = values.astype(np.int64)
    return labels


def _row_group(path: Path, group: int) -> list[bytes | None]:
    """Read the images of a row group, row by row: what metadata says of their size may be false."""
    images: list[bytes | None] = []
    total = 0
    with _parquet(path) as file:
        column = _image_column(file, path)
        for row in file.iter_batches(1, row_groups=[group], columns=[column], use_threads=False):
            image = row.column(0)[0].as_py()
            image = image["bytes"] if isinstance(image, dict) else image
            images.append(image)
            total += len(image or b"")
            if total > LARGEST_READ:
                raise AliascopeError(f"Row group {group} of {path} takes more than it says.")
    return images
