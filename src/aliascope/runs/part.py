"""One part of a run: the tables and arrays of a batch under a condition, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from pyarrow import parquet

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import plain, token, writing

MOST_ROWS = 10_000_000
"""Of a part's table; more than any part can have."""


MOST_BYTES = 4 << 30
"""Of a part's table, and of a sample's array."""


CODECS = frozenset({"bytes", "zstd", "blosc", "gzip", "zlib", "lz4", "crc32c"})
"""Of a part's arrays: what Zarr writes by itself."""


Array = np.ndarray[Any, Any]


class PartWriter:
    """Writes one part beside its place, then renames it into it.

    Parameters
    ----------
    place : Path
        Folder the part will be.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._draft = place.with_name(f"{place.name}.{token()}.tmp")
        self._arrays: dict[tuple[str, int], Any] = {}

    def write(self, kind: str, site: int, array: Array) -> None:
        """Write a whole array of one site, (samples, ...)."""
        with writing(self._place):
            self._array(kind, site, array.shape, array.shape, array.dtype)[...] = array

    def write_sample(self, kind: str, site: int, i: int, n: int, array: Array) -> None:
        """Write the i-th of n samples of one site's array."""
        shape = (n, *array.shape)
        with writing(self._place):
            self._array(kind, site, shape, (1, *array.shape), array.dtype)[i] = array

    def _array(
        self, kind: str, site: int, shape: Sequence[int], chunks: Sequence[int], dtype: Any
    ) -> Any:
        key = (kind, site)
        if key not in self._arrays:
            path = self._draft / kind / f"{site}.zarr"
            path.parent.mkdir(parents=True, exist_ok=True)
            chunks = tuple(max(1, n) for n in chunks)
            self._arrays[key] = zarr.open_array(
                store=str(path), mode="w", shape=tuple(shape), chunks=chunks, dtype=dtype
            )
        return self._arrays[key]

    def commit(
        self,
        samples: pd.DataFrame,
        counts: pd.DataFrame,
        sites: Sequence[Mapping[str, Any]],
        unreadable: Sequence[Any] = (),
        eps: float | None = None,
    ) -> None:
        """Write the tables and put the part into its place, over one of the same number."""
        left_out = [list(entry) for entry in unreadable]
        content = {"sites": list(sites), "unreadable": left_out, "eps": eps}
        with writing(self._place):
            self._draft.mkdir(parents=True, exist_ok=True)
            for name, table in (("samples", samples), ("counts", counts)):
                # A file, since pyarrow takes only paths that are UTF-8 in every locale.
                with (self._draft / f"{name}.parquet").open("wb") as file:
                    table.to_parquet(file, index=False)
            content["files"] = {
                path.relative_to(self._draft).as_posix(): [path.stat().st_size, _sha256(path)]
                for path in sorted(self._draft.rglob("*"))
                if path.is_file()
            }
            content = plain(content)
            signed = {**content, "sha256": _digest(content)}
            (self._draft / "part.json").write_text(json.dumps(signed), encoding="utf-8")
            replaced = self._place.with_name(f"{self._place.name}.{token()}.old.tmp")
            if self._place.exists():  # removing it in its place could be cut short half-way
                self._place.rename(replaced)
            self._draft.rename(self._place)
            shutil.rmtree(replaced, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was written of a part that will not be committed."""
        shutil.rmtree(self._draft, ignore_errors=True)


class Part:
    """One part, read when asked.

    Parameters
    ----------
    folder : Path
        Its folder.

    Raises
    ------
    AliascopeError
        If a file of it is missing or damaged; from the methods too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._reading("part.json") as path:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.sites: list[dict[str, Any]] = [_restored(site) for site in content["sites"]]
            self.unreadable = [
                (int(index), str(name), str(reason))
                for index, name, reason in content["unreadable"]
            ]
            self.eps = None if content.get("eps") is None else float(content["eps"])
            if content.pop("sha256", None) != _digest(content):
                raise ValueError("it was altered")
            self._files: dict[str, tuple[int, str]] = {
                str(name): (int(size), str(digest))
                for name, (size, digest) in content["files"].items()
            }

    def verify(self) -> None:
        """Compare every file with its size and checksum.

        Raises
        ------
        AliascopeError
            If one is missing, cut short or altered.
        """
        for name in self._files:
            with self._reading(name) as path:
                self._check_size(path, name)
                if _sha256(path) != self._files[name][1]:
                    raise ValueError("its checksum is another")

    def samples(self) -> pd.DataFrame:
        """One row per sample."""
        with self._reading("samples.parquet") as path:
            table = self._table(path)
            if not pd.api.types.is_integer_dtype(table["sample"]):
                raise ValueError("samples have no whole numbers")
        return table

    def counts(self) -> pd.DataFrame:
        """One row per sample and site."""
        with self._reading("counts.parquet") as path:
            table = self._table(path)
            numbers = table[["sample", "site", *COLUMNS]]
            if not all(map(pd.api.types.is_integer_dtype, numbers.dtypes)) or (numbers < 0).any(
                axis=None
            ):
                raise ValueError("counts are no whole numbers")
            if not (numbers["site"] < len(self.sites)).all():
                raise ValueError("part.json does not name every site")
            if not numbers[COLUMNS].any(axis=1).all():
                raise ValueError("no bin was counted")
        return table

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        """Say of a damaged file what to do about it."""
        path = self.folder / name
        try:
            yield path
        except Exception as error:  # readers raise whatever a damaged file leads them to
            lines = str(error).splitlines() or [type(error).__name__]
            raise AliascopeError(
                f"{path} is missing or damaged ({lines[0].rstrip('. ')}); evaluate with --resume "
                f"to measure its images again, or remove the folder {self.folder}."
            ) from error

    def _table(self, path: Path) -> pd.DataFrame:
        """Read a table, once it is known to be the one that was written, and of a sane size."""
        self._check_size(path, path.name)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self._files[path.name][1]:
            raise ValueError("its checksum is another")
        metadata = parquet.read_metadata(io.BytesIO(content))
        groups = (metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if metadata.num_rows > MOST_ROWS or sum(groups) > MOST_BYTES:
            raise ValueError(f"it claims {metadata.num_rows:,} rows")
        return pd.read_parquet(io.BytesIO(content))

    def _check_size(self, path: Path, name: str) -> None:
        wanted, size = self._files[name][0], path.stat().st_size
        if size != wanted:
            raise ValueError(f"it has {size} bytes rather than {wanted}")

    def array(self, kind: str, site: int) -> Any | None:
        """Open an array of one site, or None where that was not kept."""
        path = self.folder / kind / f"{site}.zarr"
        if not path.is_dir():
            return None
        with self._reading(f"{kind}/{site}.zarr"):
            inside = f"{kind}/{site}.zarr/"
            for name in self._files:
                if name.startswith(inside):  # a chunk that is missing would read as zeros
                    self._check_size(self.folder / name, name)
            _check_array(path)
            return zarr.open_array(store=str(path), mode="r")


def _check_array(folder: Path) -> None:
    """Refuse an array of an absurd size, or whose codecs could do more than decompress."""
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _restored(site: dict[str, Any]) -> dict[str, Any]:
    error = site.get("recomposition_error")
    return {
        **site,
        **{key: str(site[key]) for key in ("name", "path", "op", "grid", "reason")},
        "number": int(site["number"]),
        "rate": tuple(map(int, site["rate"])),
        "dense_shape": tuple(map(int, site["dense_shape"])),
        "supported": bool(site["supported"]),
        "recomposition_error": math.nan if error is None else float(error),
    }
