"""The run directory: parts are appended, each whole or not at all, and read back in order.

Layout::

    run.json                     what was run, and all that is needed to run it again
    parts/000000/samples.parquet one row per sample: number, name, label, prediction, ...
    parts/000000/counts.parquet  one row per sample and site: bins of each category
    parts/000000/part.json       sites in the order of the counts' numbers; images left out;
                                 epsilon; size and SHA-256 of every other file, and its own
    parts/000000/channel/0.zarr  counts of site 0 per channel, (samples, channels, 4)
    parts/000000/category/0.zarr category of each bin, (samples, channels, *M)
    parts/000000/folds/0.zarr    complex folds, (samples, channels, *rate, *M)

A part is written beside its place and renamed into it, so that a process killed at any moment
leaves nothing half-written behind. What happens to it later shows in its checksums.

Whatever a run directory holds is read as data: no file of it can name code to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from pyarrow import parquet

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import drafting, replacing, token, writing

FORMAT = 2
"""Version of the layout above, written to run.json."""

SECTIONS = ("model", "data", "options", "criterion")
"""Entries of run.json that are objects, where there are any."""

MOST_ROWS = 10_000_000
"""Of a part's table; more than any part can have."""

MOST_BYTES = 4 << 30
"""Of a part's table, and of a sample's array."""

CODECS = frozenset({"bytes", "zstd", "blosc", "gzip", "zlib", "lz4", "crc32c"})
"""Of a part's arrays: what Zarr writes by itself."""

Array = np.ndarray[Any, Any]


class Store:
    """A run directory.

    Parameters
    ----------
    folder : path
        Where it is; need not exist yet. ``~`` is the home folder.

    Examples
    --------
    >>> store = Store.temporary()
    >>> store.write_run({"detail": "site"})
    >>> store.read_run()["detail"]
    'site'
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()

    @classmethod
    def temporary(cls) -> Store:
        """Make one in the system's temporary folder, removed when no longer referred to."""
        store = cls(tempfile.mkdtemp(prefix="aliascope-"))
        weakref.finalize(store, shutil.rmtree, store.folder, ignore_errors=True)
        return store

    @classmethod
    def existing(cls, folder: str | os.PathLike[str]) -> Store:
        """Open one that holds a run.

        Raises
        ------
        AliascopeError
            If the folder is missing, holds no run, or one of a newer layout.
        """
        store = cls(folder)
        if not store.has_run():
            raise AliascopeError(
                f"{folder} holds no run (there is no run.json in it); "
                "give a folder that `aliascope evaluate -o` or Measurement.save wrote."
            )
        version = store.read_run().get("format")
        if version != FORMAT:
            raise AliascopeError(
                f"{folder} was written in run format {version}, but this version of Aliascope "
                f"reads format {FORMAT}; install the version that wrote it (run.json names it)."
            )
        return store

    # -- run.json ----------------------------------------------------------------------------

    def has_run(self) -> bool:
        """Whether a run was begun here."""
        try:
            return (self.folder / "run.json").is_file()
        except OSError as error:
            raise AliascopeError(
                f"{self.folder} cannot be read ({error.strerror}); give another folder."
            ) from error

    def read_run(self) -> dict[str, Any]:
        """Read run.json."""
        path = self.folder / "run.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise AliascopeError(f"{path} cannot be read as JSON ({error}).") from None
        if not isinstance(content, dict) or not all(
            isinstance(content.get(section, {}), dict) for section in SECTIONS
        ):
            raise AliascopeError(f"{path} does not describe a run.")
        return content

    def write_run(self, content: Mapping[str, Any]) -> None:
        """Write run.json in one step."""
        path = self.folder / "run.json"
        with writing(self.folder), replacing(path) as draft:
            draft.write_text(_run_text(content), encoding="utf-8")

    def create_run(self, content: Mapping[str, Any]) -> bool:
        """Write run.json unless there is one: of several processes, one does, and is told so."""
        path = self.folder / "run.json"
        with writing(self.folder), drafting(path) as draft:
            draft.write_text(_run_text(content), encoding="utf-8")
            try:
                os.link(draft, path)  # unlike renaming, this replaces nothing
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                draft.replace(path)
        return True

    def damaged_parts(self, numbers: Iterable[int] | None = None) -> dict[int, str]:
        """Find the parts of which a file is missing, cut short or altered, reading all of each.

        Parameters
        ----------
        numbers : iterable of int, optional
            Which parts to look at; all by default.

        Returns
        -------
        dict
            Number of a damaged part to what is wrong with it.
        """
        damaged = {}
        for number in self.part_numbers() if numbers is None else numbers:
            try:
                self.part(number).verify()
            except AliascopeError as error:
                damaged[number] = str(error.__cause__ or error).rstrip(".")
        return damaged

    # -- parts -------------------------------------------------------------------------------

    @property
    def _parts(self) -> Path:
        return self.folder / "parts"

    def part_numbers(self) -> list[int]:
        """Numbers of the parts that are whole, ascending."""
        if not self._parts.is_dir():
            return []
        names = [entry.name for entry in self._parts.iterdir() if entry.is_dir()]
        digits = [name for name in names if name.isascii() and name.isdigit()]
        return sorted(int(name) for name in digits if name == _part_name(int(name)))

    def begin(self, number: int) -> PartWriter:
        """Begin a part; it appears when committed."""
        return PartWriter(self._parts / _part_name(number))

    def part(self, number: int) -> Part:
        """Read one part."""
        return Part(self._parts / _part_name(number))

    def parts(self) -> Iterator[Part]:
        """Read the parts in order."""
        for number in self.part_numbers():
            yield self.part(number)

    def holds_something_else(self) -> bool:
        """Whether the folder holds anything but what processes that begin a run draft there."""
        return any(not entry.name.startswith(".run.json.") for entry in self.folder.iterdir())

    def remove_run(self) -> None:
        """Remove run.json and the parts; the folder itself may be another's, or a link."""
        self.remove_drafts()
        shutil.rmtree(self._parts, ignore_errors=True)
        (self.folder / "run.json").unlink(missing_ok=True)

    def remove_drafts(self) -> None:
        """Remove what killed processes left half-written."""
        for draft in [*self._parts.glob("*.tmp"), *self.folder.glob(".run.json.*tmp")]:
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink(missing_ok=True)

    def copy_to(self, folder: str | os.PathLike[str]) -> None:
        """Copy the run to a folder that holds none yet, in one step."""
        target = Path(folder).expanduser()
        with writing(target):
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise AliascopeError(f"{folder} is not an empty folder; save to a new one.")
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            try:
                half_written = shutil.ignore_patterns("*.tmp")
                shutil.copytree(self.folder, draft, dirs_exist_ok=True, ignore=half_written)
                draft.chmod(0o777 & ~_umask())
                if target.is_dir():
                    target.rmdir()
                draft.rename(target)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise


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
            samples.to_parquet(self._draft / "samples.parquet", index=False)
            counts.to_parquet(self._draft / "counts.parquet", index=False)
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
    metadata = json.loads((newer if newer.exists() else folder / ".zarray").read_text())
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


def _run_text(content: Mapping[str, Any]) -> str:
    text = json.dumps(plain({"format": FORMAT, **content}), indent=2, ensure_ascii=False)
    return f"{text}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Make a value fit for JSON, which has no NaN, tuples or numpy numbers.

    Examples
    --------
    >>> plain({"rate": (2, 2), "error": math.nan})
    {'rate': [2, 2], 'error': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):  # a path need not be Unicode, but JSON is
        return value.encode(errors="backslashreplace").decode()
    return value


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


def _part_name(number: int) -> str:
    return f"{number:06d}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
