"""One part of a run: the tables and arrays of a batch under a condition, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliascope.errors import AliascopeError
from aliascope.files import plain, token, writing
from aliascope.runs import arrays
from aliascope.runs.arrays import Array
from aliascope.runs.conditions import CLEAN, Condition
from aliascope.runs.values import check_channels, check_values, read_table

if TYPE_CHECKING:
    import pandas as pd

SITE_KEYS = (
    *("path", "number", "op", "rate", "dense_shape", "grid"),
    *("supported", "reason", "recomposition_error"),
)
"""What a part says of each of its sites."""


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

    def renumber(self, places: Mapping[int, int]) -> None:
        """Give sites other positions, and drop the arrays of those that get none."""
        with writing(self._place):
            old = {key: arrays.place_of(self._draft, *key) for key in sorted(self._arrays)}
            self._arrays = {}
            for (kind, site), place in old.items():  # ascending, and none gets a later position
                if site not in places:
                    shutil.rmtree(place)
                elif places[site] != site:
                    place.rename(arrays.place_of(self._draft, kind, places[site]))

    def _array(
        self, kind: str, site: int, shape: Sequence[int], chunks: Sequence[int], dtype: Any
    ) -> Any:
        key = (kind, site)
        if key not in self._arrays:
            place = arrays.place_of(self._draft, kind, site)
            self._arrays[key] = arrays.create(place, shape, chunks, dtype)
        return self._arrays[key]

    def commit(
        self,
        samples: pd.DataFrame,
        values: pd.DataFrame,
        sites: Sequence[Mapping[str, Any]],
        unreadable: Sequence[Any] = (),
        condition: Condition = CLEAN,
        channels: pd.DataFrame | None = None,
        more: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """Write the tables and put the part into its place, over one of the same number.

        Parameters
        ----------
        samples : DataFrame
            One row per sample, with at least its number, ``sample``.
        values : DataFrame
            One row per sample and site: ``sample``, ``site`` (position in ``sites``), and one
            column per value that was measured.
        sites : sequence of mapping
            Each with :data:`SITE_KEYS`.
        unreadable : sequence of (int, str, str)
            Index, name and reason of images that were left out.
        condition : Condition
            Under what the batch was run.
        channels : DataFrame, optional
            One row per site and channel: ``site`` (position in ``sites``), ``channel``, and sums of
            energies over the samples, :data:`aliascope.runs.values.CHANNEL_SUMS`.
        more : mapping of str to DataFrame, optional
            Other tables to keep with the part, by name.

        Raises
        ------
        AliascopeError
            If it cannot be written.
        """
        content: dict[str, Any] = {
            "condition": condition.described(),
            "sites": [{key: site[key] for key in SITE_KEYS} for site in sites],
            "unreadable": [list(entry) for entry in unreadable],
        }
        with writing(self._place):
            self._draft.mkdir(parents=True, exist_ok=True)
            tables = {"samples": samples, "values": values, "channels": channels, **(more or {})}
            for name, table in tables.items():
                if table is None:
                    continue
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
            self.condition = Condition.read(content["condition"])
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
            if table["sample"].dtype.kind not in "iu":
                raise ValueError("samples have no whole numbers")
        return table

    def values(self) -> pd.DataFrame:
        """One row per sample and site: sample, site, and what was measured."""
        with self._reading("values.parquet") as path:
            table = self._table(path)
            check_values(table, len(self.sites))
        return table

    def channels(self) -> pd.DataFrame | None:
        """One row per site and channel: sums of energies over samples. None if not kept."""
        if "channels.parquet" not in self._files:
            return None
        with self._reading("channels.parquet") as path:
            table = self._table(path)
            check_channels(table, len(self.sites))
        return table

    def table(
        self, name: str, check: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> pd.DataFrame | None:
        """Another table that was kept with the part, as ``check`` gives it; None if it was not."""
        if f"{name}.parquet" not in self._files:
            return None
        with self._reading(f"{name}.parquet") as path:
            return check(self._table(path))

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
                "to measure its images again, or restore it from a copy."
            ) from error

    def _table(self, path: Path) -> pd.DataFrame:
        self._check_size(path, path.name)
        return read_table(path.read_bytes(), self._files[path.name][1])

    def _check_size(self, path: Path, name: str) -> None:
        wanted, size = self._files[name][0], path.stat().st_size
        if size != wanted:
            raise ValueError(f"it has {size} bytes rather than {wanted}")

    def array(self, kind: str, site: int = 0) -> Any | None:
        """Open an array of one site, or None where that was not kept."""
        path = arrays.place_of(self.folder, kind, site)
        if not path.is_dir():
            return None
        with self._reading(f"{kind}/{site}.zarr"):
            inside = f"{kind}/{site}.zarr/"
            for name in self._files:
                if name.startswith(inside):  # a chunk that is missing would read as zeros
                    self._check_size(self.folder / name, name)
            return arrays.open_array(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _restored(site: dict[str, Any]) -> dict[str, Any]:
    """Read a site as :data:`SITE_KEYS` have it; what lacks one of them is damaged."""
    error, supported = site["recomposition_error"], site["supported"]
    if not isinstance(supported, bool):
        raise ValueError(f"supported is {supported!r}")
    return {
        **{key: str(site[key]) for key in ("path", "op", "grid", "reason")},
        "number": int(site["number"]),
        "rate": tuple(map(int, site["rate"])),
        "dense_shape": tuple(map(int, site["dense_shape"])),
        "supported": supported,
        "recomposition_error": math.nan if error is None else float(error),
    }
