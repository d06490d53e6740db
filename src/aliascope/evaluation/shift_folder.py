"""Shift consistency over a set of images, batch by batch into a folder, so that it can go on."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from aliascope.data import Batch as ImageBatch
from aliascope.data import Images as ImageSource
from aliascope.data import collate
from aliascope.errors import AliascopeError
from aliascope.evaluation.description import (
    chosen_images,
    described_images,
    described_model,
    versions,
)
from aliascope.evaluation.probe import on_device, refusing_images
from aliascope.evaluation.shift_options import ShiftOptions, with_margin
from aliascope.evaluation.shift_views import ShiftRunner, described_handlers
from aliascope.evaluation.team import Team
from aliascope.evaluation.work import Progress, begin_worker
from aliascope.files import plain
from aliascope.filters import installed
from aliascope.models.execution import products_in, settle_layout
from aliascope.runs.consistency import Consistency
from aliascope.runs.shift_parts import (
    DESCRIPTION,
    part_numbers,
    part_path,
    read_description,
    read_part,
    write_description,
    write_part,
)
from aliascope.seam.handlers import Handler
from aliascope.seam.opening import evaluating
from aliascope.tasks.models import LoadedModel


def shift_images(
    loaded: LoadedModel,
    open_images: Callable[[Any], ImageSource],
    folder: str | os.PathLike[str],
    options: ShiftOptions | None = None,
    *,
    device: str = "cpu",
    workers: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    max_bad: float = 0.01,
    team: Team | None = None,
    handlers: Sequence[Handler] = (),
) -> Consistency:
    """Measure shift consistency over a set of images, into a folder.

    Parameters
    ----------
    loaded : LoadedModel
        From :func:`aliascope.tasks.models.load_model`.
    open_images : callable
        Takes the preparation of pictures that the protocol needs, gives the images; such as
        :func:`aliascope.tasks.images.open_data` of a folder.
    folder : path
        Missing or empty, or that of a run; with ``resume`` one of the same evaluation.
    options : ShiftOptions, optional
        What decides the numbers.
    device, workers, resume, progress, max_bad, team
        See :func:`aliascope.evaluation.loop.evaluate`.
    handlers : sequence of Handler
        See :func:`aliascope.shift_consistency`; an attack does not see them.

    Returns
    -------
    Consistency
        Of all batches that are there.

    Raises
    ------
    AliascopeError
        If the folder holds something else, or an evaluation of something else; if too many images
        cannot be read; or as :func:`aliascope.shift_consistency`.
    """
    options, team, place = options or ShiftOptions(), team or Team(), Path(folder)
    if not 0 <= max_bad <= 1:
        raise AliascopeError(f"max_bad is {max_bad}, but it is a fraction, from 0 to 1.")
    if workers < 0:
        raise AliascopeError(f"workers is {workers}, but it must be 0 or more.")
    framed = replace(
        loaded, preprocessing=with_margin(loaded.preprocessing, options.make_protocol())
    )
    images = open_images(framed.preprocessing)
    chosen = chosen_images(images, options.start, options.max_samples)
    content = _description(loaded, framed, images, chosen, options, device, handlers)
    together = resume or (not team.alone and not team.connected)
    team.first(lambda: _enter(place, content, together), lambda: _enter(place, content, True))
    torch.manual_seed(options.seed)
    size = options.batch_size
    batches = [list(chosen[i : i + size]) for i in range(0, len(chosen), size)]
    with _Batches(loaded, options, device, handlers) as runner:
        _run_missing(runner, images, batches, place, team, workers, progress, max_bad)
    team.wait()
    found = Consistency.load(place)
    if set(part_numbers(place)).issuperset(range(len(batches))) and team.leads:
        if not len(found.rows):
            name, reason = found.unreadable[0][1:]
            raise AliascopeError(
                f"None of the {len(chosen)} images could be read (first: {name}: {reason}); "
                "pass a folder of intact images."
            )
        _conclude(place, found)
    team.wait()
    found.description = read_description(place)
    return found


def _description(
    loaded: LoadedModel,
    framed: LoadedModel,
    images: ImageSource,
    chosen: range,
    options: ShiftOptions,
    device: str,
    handlers: Sequence[Handler],
) -> dict[str, Any]:
    under = described_handlers(handlers)
    filter = installed(loaded.network)
    if filter is not None:
        under.insert(0, f"filter {filter.describe()['filter']}")
    if options.attack is not None:
        under.insert(0, f"{options.attack} eps={options.eps:g}")
    return {
        "status": "running",
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "protocol": options.make_protocol().describe(),
        "seed": options.seed,
        "model": {**described_model(framed), "sees": loaded.preprocessing.crop},
        "data": described_images(images, chosen),
        "options": options.described(),
        "under": under,
        "device": device,
        "versions": versions(),
    }


def _enter(folder: Path, content: dict[str, Any], resume: bool) -> None:
    """Begin in a folder, or go on in it; refuse to where it is of something else."""
    if not (folder / DESCRIPTION).exists():
        if part_numbers(folder) or (
            folder.exists()
            and not (folder / "run.json").is_file()
            and (not folder.is_dir() or any(folder.iterdir()))
        ):
            raise AliascopeError(
                f"{folder} is not empty and holds neither a run nor shift consistency; pass "
                "another folder with -o."
            )
        write_description(folder, content)
        return
    if not resume:
        raise AliascopeError(
            f"{folder} holds shift consistency already; pass --resume to go on with it, or another "
            "folder with -o."
        )
    before = read_description(folder)
    for section in ("model", "data", "options", "protocol", "under"):
        had, now = before.get(section), plain(content[section])
        if had != now:
            raise AliascopeError(
                f"{folder} holds shift consistency with {_difference(section, had, now)}; resume "
                "with the same, or pass another folder with -o."
            )


def _difference(section: str, had: Any, now: Any) -> str:
    if isinstance(had, dict) and isinstance(now, dict):
        key = next(key for key in {**now, **had} if had.get(key) != now.get(key))
        return f"{section} {key} {had.get(key)!r}, not {now.get(key)!r}"
    return f"{section} {had!r}, not {now!r}"


def _conclude(folder: Path, found: Consistency) -> None:
    content = read_description(folder)
    if content.get("status") == "complete":
        return
    content.update(
        status="complete",
        images=int(found.rows["sample"].nunique()),
        unreadable=found.unreadable,
        table=found.table().reset_index().to_dict("records"),
    )
    write_description(folder, content)


def _run_missing(
    runner: _Batches,
    images: ImageSource,
    batches: list[list[int]],
    folder: Path,
    team: Team,
    workers: int,
    progress: Progress | None,
    max_bad: float,
) -> None:
    """Run this process's batches that are not there yet, each into a part."""
    mine = [k for k in range(len(batches)) if team.owns(k)]
    there, bad = _intact(folder, set(mine))
    missing = [k for k in mine if k not in there]
    total = sum(len(batches[k]) for k in mine)
    done = sum(len(batches[k]) for k in there)
    count = sum(map(len, batches))
    if progress:
        progress(done, total)
    if not missing:
        return
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", images),
        batch_sampler=[batches[k] for k in missing],
        num_workers=min(workers, len(missing)) if len(missing) > 1 else 0,
        collate_fn=collate,
        pin_memory=runner.device.type == "cuda",
        worker_init_fn=begin_worker,
    )
    for k, batch in zip(missing, loader, strict=True):
        runner.run(batch, k, folder)
        bad += batch.bad
        if max_bad * count < len(bad) < count:
            raise AliascopeError(
                f"{len(bad)} of {count} images could not be read so far (first: {bad[0][1]}: "
                f"{bad[0][2]}), more than {100 * max_bad:g} %; mend them, or allow more with "
                "--max-bad, and go on with --resume."
            )
        done += len(batches[k])
        if progress:
            progress(done, total)


def _intact(folder: Path, wanted: set[int]) -> tuple[set[int], list[tuple[int, str, str]]]:
    """Find the batches that are there, and which of their images could not be read."""
    there, bad = set(), []
    for number in sorted(wanted & set(part_numbers(folder))):
        try:
            bad += read_part(folder, number)[1]
        except AliascopeError as error:
            warnings.warn(
                f"{part_path(folder, number)} is damaged and is measured again ({error}).",
                stacklevel=2,
            )
        else:
            there.add(number)
    return there, bad


class _Batches:
    """Runs batches: attacks them where asked, shifts them, and writes each as a part."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: ShiftOptions,
        device: str,
        handlers: Sequence[Handler],
    ) -> None:
        self.loaded, self.options = loaded, options
        self.device = torch.device(device)
        self.model: nn.Module = on_device(loaded, device)
        protocol = options.make_protocol()
        crop = loaded.preprocessing.crop
        size = (crop, crop) if crop and protocol.mode == "crop" else None
        self.attack = options.make_attack()
        self.runner = ShiftRunner(
            self.model, protocol, size=size, handlers=handlers, opened=loaded.network
        )
        self._layout: torch.memory_format | None = None
        self._evaluating = evaluating(self.model)

    def __enter__(self) -> _Batches:
        self._evaluating.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._evaluating.__exit__(*error)

    def run(self, batch: ImageBatch, number: int, folder: Path) -> None:
        """Run one batch, and write what was found."""
        if len(batch.indices) == 0:
            empty = Consistency(_no_rows()).rows
            write_part(folder, number, empty, batch.bad)
            return
        frames = batch.images.to(self.device, non_blocking=True)
        seen = self.runner.window(frames)
        with (
            refusing_images(self.loaded.name, seen),
            products_in(self.options.precision, self.device),
        ):
            if self._layout is None:
                shape = (frames.shape[1], *seen)
                self._layout = settle_layout(self.model, shape, self.device)
            frames = self._disturbed(frames, batch.labels.to(self.device), number)
            rows = self.runner.rows(
                frames.contiguous(memory_format=self._layout),
                numbers=batch.indices.tolist(),
                names=batch.names,
                labels=batch.labels,
                batch=number,
            )
        self._note_dense(folder)
        write_part(folder, number, Consistency(rows).rows, batch.bad)

    def _disturbed(self, frames: Tensor, labels: Tensor, number: int) -> Tensor:
        """Attack what the network sees of images that are not moved, and put it back."""
        if self.attack is None:
            return frames
        if (labels < 0).any():
            raise AliascopeError(
                "An attack needs the images' labels, and these have none; give class folders."
            )
        assert self.options.eps is not None
        seed = self.options.seed * 1_000_003 + number
        frames = frames.clone()
        seen = self.runner.original(frames)
        seen.copy_(self.attack.perturb(self.model, seen.clone(), labels, self.options.eps, seed))
        return frames

    def _note_dense(self, folder: Path) -> None:
        """Say in the description, once, that shares of pixels are compared."""
        if self.runner.dense:
            content = read_description(folder)
            if not content.get("dense"):
                write_description(folder, {**content, "dense": True})


def _no_rows() -> Any:
    import pandas as pd

    from aliascope.runs.shift_parts import COLUMNS

    return pd.DataFrame(columns=list(COLUMNS))
