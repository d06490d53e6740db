"""The run directory: parts are appended, each whole or not at all, and read back in order.

Layout::

    run.json                     what was run, and all that is needed to run it again
    predictions.parquet          of an ablation without labels: what donors are drawn by
    parts/000000/samples.parquet one row per sample: number, name, label, prediction, ...
    parts/000000/values.parquet  one row per sample and site: bins of each category, ...
    parts/000000/channels.parquet one row per site and channel: energies, summed over samples
    parts/000000/changed.parquet one row per sample and pass of an ablation
    parts/000000/part.json       condition; sites in the order of the values' numbers; images left
                                 out; size and SHA-256 of every other file, and its own
    parts/000000/channel/0.zarr  counts of site 0 per channel, (samples, channels, 4)
    parts/000000/category/0.zarr category of each bin, (samples, channels, *M)
    parts/000000/folds/0.zarr    complex folds, (samples, channels, *rate, *M)
    parts/000000/pixels/0.zarr   images as the network saw them, of the part's first samples

A part is written beside its place and renamed into it, so that a process killed at any moment
leaves nothing half-written behind. What happens to it later shows in its checksums.

Whatever a run directory holds is read as data: no file of it can name code to run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliascope.errors import AliascopeError
from aliascope.files import drafting, nearest_folder, plain, replacing, writing
from aliascope.runs.description import check_description

if TYPE_CHECKING:
    from aliascope.runs.part import Part, PartWriter

FORMAT = 3
"""Version of the layout above, written to run.json."""


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
            If the folder is missing, holds no run, or one of another layout.
        """
        store = cls(folder)
        if not store.has_run():
            near = nearest_folder(Path(folder), "run.json")
            raise AliascopeError(
                f"{folder} holds no run{near}: there is no run.json in it; "
                "give a folder that `aliascope evaluate -o` or Measurement.save wrote."
            )
        version = store.read_run().get("format")
        if version != FORMAT:
            newer = isinstance(version, int) and version > FORMAT
            remedy = "install the version that wrote it" if newer else "measure its images again"
            raise AliascopeError(
                f"{folder} was written in run format {version}, but this version of Aliascope "
                f"reads format {FORMAT}; {remedy}."
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
        """Read run.json.

        Raises
        ------
        AliascopeError
            If it is missing or damaged, or says what cannot be.
        """
        path = self.folder / "run.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise AliascopeError(f"{path} cannot be read as JSON ({error}).") from None
        check_description(content, path)
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
        from aliascope.runs.part import PartWriter  # which loads what reads and writes tables

        return PartWriter(self._parts / _part_name(number))

    def part(self, number: int) -> Part:
        """Read one part."""
        from aliascope.runs.part import Part

        return Part(self._parts / _part_name(number))

    def parts(self) -> Iterator[Part]:
        """Read the parts in order."""
        for number in self.part_numbers():
            yield self.part(number)

    def check_whole(self, run: Mapping[str, Any]) -> None:
        """Refuse a finished run that has lost a part, or has one that is none of its own.

        Parameters
        ----------
        run : mapping
            Content of run.json.

        Raises
        ------
        AliascopeError
            Naming the part.
        """
        known = self._parts_of(run)
        if known is None:
            return
        if lost := self.lost_parts(run):
            which = ", ".join(map(_part_name, lost[:3])) + (", ..." if len(lost) > 3 else "")
            raise AliascopeError(
                f"{self.folder} is a finished run of {len(known)} parts and has lost {len(lost)} "
                f"({which}); evaluate with --resume to measure them again, or restore them from "
                "a copy."
            )
        if more := sorted(set(self.part_numbers()) - known):
            raise AliascopeError(
                f"{self._parts / _part_name(more[0])} is none of the {len(known)} parts of this "
                "finished run; move that folder elsewhere."
            )

    def lost_parts(self, run: Mapping[str, Any]) -> list[int]:
        """Find the parts that a finished run had and has no more.

        Parameters
        ----------
        run : mapping
            Content of run.json.

        Returns
        -------
        list of int
            Their numbers, ascending; none of a run that is not finished.
        """
        return sorted((self._parts_of(run) or set()) - set(self.part_numbers()))

    def _parts_of(self, run: Mapping[str, Any]) -> set[int] | None:
        """Read which parts a finished run has; None where it is not finished."""
        known = run.get("parts")
        if known is None or run.get("status") == "running":
            return None
        return set(range(known)) if isinstance(known, int) else set(known)

    def holds_something_else(self) -> bool:
        """Whether the folder holds anything but what processes that begin a run draft there."""
        return any(not entry.name.startswith(".run.json.") for entry in self.folder.iterdir())

    def remove_run(self) -> None:
        """Remove what a run writes; the folder itself may be another's, or a link."""
        self.remove_drafts()
        shutil.rmtree(self._parts, ignore_errors=True)
        self.predictions.unlink(missing_ok=True)
        (self.folder / "run.json").unlink(missing_ok=True)

    @property
    def predictions(self) -> Path:
        """Where an ablation keeps what the model takes images without labels for."""
        return self.folder / "predictions.parquet"

    def remove_drafts(self) -> None:
        """Remove what killed processes left half-written."""
        for draft in [*self._parts.glob("*.tmp"), *self.folder.glob(".*.tmp")]:
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
                copy = Store(draft)
                run = copy.read_run()
                if run.get("status") != "running":
                    copy.write_run({**run, "parts": numbered(copy.part_numbers())})
                draft.chmod(0o777 & ~_umask())
                if target.is_dir():
                    target.rmdir()
                draft.rename(target)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise


def numbered(parts: list[int]) -> int | list[int]:
    """Say which parts a finished run has: how many from 0 on, or their numbers.

    Examples
    --------
    >>> numbered([0, 1, 2]), numbered([1, 2])
    (3, [1, 2])
    """
    return len(parts) if parts == list(range(len(parts))) else parts


def _run_text(content: Mapping[str, Any]) -> str:
    text = json.dumps(plain({"format": FORMAT, **content}), indent=2, ensure_ascii=False)
    return f"{text}\n"


def _part_name(number: int) -> str:
    return f"{number:06d}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
