"""The run directory: parts are appended, each whole or not at all, and read back in order.

Layout::

    run.json                     what was run, and all that is needed to run it again
    parts/000000/samples.parquet one row per sample: number, name, label, prediction, ...
    parts/000000/counts.parquet  one row per sample and site: bins of each category
    parts/000000/part.json       sites in the order of the counts' numbers; images left out; epsilon
    parts/000000/channel/0.zarr  counts of site 0 per channel, (samples, channels, 4)
    parts/000000/category/0.zarr category of each bin, (samples, channels, *M)
    parts/000000/folds/0.zarr    complex folds, (samples, channels, *rate, *M)

A part is written beside its place and renamed into it, so that a process killed at any moment
leaves nothing half-written behind.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from aliascope.categories import COLUMNS
from aliascope.errors import AliascopeError
from aliascope.files import replacing, writing

FORMAT = 1
"""Version of the layout above, written to run.json."""

SECTIONS = ("model", "data", "options", "criterion")
"""Entries of run.json that are objects, where there are any."""

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
        text = json.dumps(plain({"format": FORMAT, **content}), indent=2, ensure_ascii=False)
        with writing(self.folder), replacing(self.folder / "run.json") as draft:
            draft.write_text(f"{text}\n", encoding="utf-8")

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

    def parts(self) -> Iterator[Part]:
        """Read the parts in order."""
        for number in self.part_numbers():
            yield Part(self._parts / _part_name(number))

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
        self._draft = place.with_name(f"{place.name}.{os.getpid()}.tmp")
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
            (self._draft / "part.json").write_text(json.dumps(plain(content)), encoding="utf-8")
            replaced = self._place.with_name(f"{self._place.name}.{os.getpid()}.old.tmp")
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

    def samples(self) -> pd.DataFrame:
        """One row per sample."""
        with self._reading("samples.parquet") as path:
            table = pd.read_parquet(path)
            if not pd.api.types.is_integer_dtype(table["sample"]):
                raise ValueError("samples have no whole numbers")
        return table

    def counts(self) -> pd.DataFrame:
        """One row per sample and site."""
        with self._reading("counts.parquet") as path:
            table = pd.read_parquet(path)
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
                f"{path} is missing or damaged ({lines[0].rstrip('. ')}); remove the folder "
                f"{self.folder}, and evaluate with --resume to measure its images again."
            ) from error

    def array(self, kind: str, site: int) -> Any | None:
        """Open an array of one site, or None where that was not kept."""
        path = self.folder / kind / f"{site}.zarr"
        if not path.is_dir():
            return None
        with self._reading(f"{kind}/{site}.zarr"):
            return zarr.open_array(store=str(path), mode="r")


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
