"""Beginning a run in a folder, or going on with one; and concluding it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from aliascope.errors import AliascopeError
from aliascope.evaluation.description import outcome_of
from aliascope.files import plain
from aliascope.runs.measurement import Measurement
from aliascope.runs.store import Store, numbered


def is_empty(store: Store) -> bool:
    """Whether no sample was measured."""
    return len(store.part_numbers()) == 0 or len(Measurement(store).samples) == 0


def conclude(store: Store, measurement: Measurement, seconds: float | None) -> None:
    """Write into run.json what came out, once; the time is not known of a run in several goes."""
    content = store.read_run()
    if content.get("status") == "complete":
        return
    store.remove_drafts()
    content.update(outcome_of(measurement), status="complete")
    content["parts"] = numbered(store.part_numbers())
    if seconds is not None:
        content["seconds"] = round(seconds, 1)
    store.write_run(content)


def enter_folder(store: Store, content: dict[str, Any], resume: bool) -> list[Path] | None:
    """Begin the run, and say which folders were made for it; None: it goes on with another."""
    if store.has_run():
        _join(store, content, resume)
        return None
    if store.folder.exists() and (not store.folder.is_dir() or store.holds_something_else()):
        raise AliascopeError(
            f"{store.folder} is not empty and holds no run; pass another folder with -o."
        )
    created = [each for each in (store.folder, *store.folder.parents) if not each.exists()]
    try:
        if not store.create_run({**content, "status": "running"}):
            _join(store, content, resume)
            return None
    except AliascopeError:
        leave_nothing(store, created)
        raise
    return created


def _join(store: Store, content: dict[str, Any], resume: bool) -> None:
    if not resume:
        raise AliascopeError(
            f"{store.folder} holds a run already; pass --resume to go on with it, or another "
            "folder with -o."
        )
    before = Store.existing(store.folder).read_run()
    _check_same(store, before, content)
    if store.lost_parts(before):
        del before["parts"]  # it goes on, and is concluded again
        before.pop("seconds", None)
        store.write_run({**before, "status": "running"})


def leave_nothing(store: Store, created: list[Path]) -> None:
    """Remove a run that could not begin, with the folders that were made for it and no other."""
    with contextlib.suppress(OSError):
        store.remove_run()
        for folder in created:
            folder.rmdir()


def _check_same(store: Store, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a run of something else, and say what differs."""
    for section in ("model", "data", "options"):
        for key, value in plain(now[section]).items():
            had = before.get(section, {}).get(key)
            if had != value:
                raise AliascopeError(
                    f"{store.folder} holds a run with {section} {key} {had!r}, not {value!r}; "
                    "resume with the same, or pass another folder with -o."
                )
