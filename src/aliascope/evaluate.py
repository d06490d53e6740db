"""The loop: images through a model under Scope, into a run directory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from aliascope import __version__
from aliascope.attacks import vanishing_gradients
from aliascope.data import Batch as ImageBatch
from aliascope.data import Images as ImageSource
from aliascope.data import collate
from aliascope.engines import check_engine
from aliascope.errors import AliascopeError, OutOfMemoryError
from aliascope.execution import compiled, compiling, products_in, settle_layout
from aliascope.measurement import Measurement
from aliascope.models import LoadedModel
from aliascope.options import Options
from aliascope.predictions import Features, catching_features, record_predictions
from aliascope.probe import no_sites, on_device, probe, refusing_images
from aliascope.scope import Scope, evaluating
from aliascope.seam import Handler
from aliascope.store import Store, plain
from aliascope.team import Team

__all__ = ["Options", "evaluate", "measure", "probe"]

Images = Tensor | tuple[Tensor, Tensor]


def measure(
    model: nn.Module,
    batches: Iterable[Images | Sequence[Tensor]],
    *,
    detail: str = "site",
    threshold_db: float = 20.0,
    reference: str = "max",
    grid: str = "auto",
    fold_scale: str = "unit",
    handlers: Sequence[Handler] = (),
) -> Measurement:
    """Measure aliasing in a model over batches of images.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, on the device it is on, and
        is given back in the mode it was in.
    batches : iterable of Tensor, or of (Tensor, Tensor)
        Images (N, C, H, W) as the model takes them, or images and labels (N,); a DataLoader fits.
    detail, threshold_db, reference, grid, fold_scale, handlers
        See :class:`Scope`.

    Returns
    -------
    Measurement
        With labels, its ``samples`` have the columns label, prediction, top1 and top5.

    Raises
    ------
    AliascopeError
        As :class:`Scope`; if there is no batch; or if the model has no site.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> m = al.measure(model, [torch.rand(4, 3, 32, 32) for _ in range(2)])
    >>> m.fractions(by="sample").shape
    (8, 4)
    """
    scope = Scope(
        model,
        detail=detail,
        threshold_db=threshold_db,
        reference=reference,
        grid=grid,
        fold_scale=fold_scale,
        handlers=handlers,
    )
    if isinstance(batches, Tensor):
        raise AliascopeError(
            f"batches is one tensor of shape {tuple(batches.shape)}; pass a list of batches, as in "
            "[images]."
        )
    device = next((p.device for p in scope.model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise AliascopeError(
            "The model is on the meta device, where it has no values; move it to cpu or cuda."
        )
    seen = 0
    with scope, evaluating(scope.model):
        for batch in batches:
            images, labels = _images_and_labels(batch)
            if len(images) == 0:
                continue
            samples = pd.DataFrame({"sample": range(seen, seen + len(images))})
            if labels is not None:
                samples["label"] = labels.cpu().numpy()
            with scope.batch(samples) as part:
                output = scope.model(images.to(device))
                record_predictions(part.samples, output)
            seen += len(images)
            if not any(site.supported for site in scope.sites):
                raise AliascopeError(no_sites(type(scope.model).__name__, scope.sites))
    if seen == 0:
        raise AliascopeError("There was no batch of images to measure; pass at least one.")
    return scope.measurement()


def _images_and_labels(batch: Any) -> tuple[Tensor, Tensor | None]:
    if isinstance(batch, Tensor):
        return batch, None
    parts = [*batch, None][:2] if isinstance(batch, list | tuple) and batch else []
    if not parts or not isinstance(parts[0], Tensor):
        raise AliascopeError(
            f"A batch is of type {type(batch).__name__}; pass tensors of images, or pairs of "
            "images and labels."
        )
    images, given = parts
    if given is None:
        return images, None
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AliascopeError(
            f"The labels of a batch are of type {type(given).__name__}; pass whole numbers."
        ) from error
    if labels.shape != images.shape[:1]:
        raise AliascopeError(
            f"The labels of a batch have shape {tuple(labels.shape)}; pass one whole number for "
            f"each of the {len(images)} images."
        )
    return images, labels


VERSIONS_OF = ("torch", "torchvision", "timm", "numpy", "pillow", "zarr", "pandas")
"""Packages whose versions a run remembers, where they are installed."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all images."""


def evaluate(
    loaded: LoadedModel,
    images: ImageSource,
    folder: str | os.PathLike[str],
    options: Options | None = None,
    *,
    device: str = "cpu",
    workers: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    engine: str = "auto",
    workspace: int | None = None,
    max_bad: float = 0.01,
    team: Team | None = None,
    compile: bool = False,
) -> Measurement:
    """Run images through a model and measure, into a run directory.

    Parameters
    ----------
    loaded : LoadedModel
        From :func:`aliascope.models.load_model`.
    images : ImageSet or like it
        From :func:`aliascope.data.open_data`, with the model's preprocessing.
    folder : path
        The run directory: missing or empty, or with ``resume`` one of the same run.
    options : Options, optional
        What decides the numbers.
    device : str
        Where to run.
    workers : int
        Processes that decode images; 0 decodes in this one.
    resume : bool
        Go on with a run that was interrupted, measuring only what is missing.
    progress : callable, optional
        Called with the number of images done and of all images.
    engine, workspace
        See :func:`aliascope.engines.count_categories`; they change the time and memory it takes,
        and of the numbers at most the rounding.
    max_bad : float
        Stop when more than this fraction of the images cannot be read.
    team : Team, optional
        Which share of the batches is this process's; all of them by default.
    compile : bool
        Compile the network with ``torch.compile`` for the steps of an attack, and wait for that at
        the first. A measured pass cannot be compiled: it is opened call by call.

    Returns
    -------
    Measurement
        Of all parts that are there; with a team, those of others too.

    Raises
    ------
    AliascopeError
        If the folder holds something else, the options are not those of the run to resume, the
        model has no site or does not take the images, or no image or too few could be read.
    QuietError
        If another process of the team has said what went wrong.
    """
    options = options or Options()
    team = team or Team()
    check_engine(engine, workspace)
    if not 0 <= max_bad <= 1:
        raise AliascopeError(f"max_bad is {max_bad}, but it is a fraction, from 0 to 1.")
    if workers < 0:
        raise AliascopeError(f"workers is {workers}, but it must be 0 or more.")
    chosen = _chosen(images, options)
    store = Store(folder)
    content = _description(loaded, images, chosen, options, device)
    created = team.first(
        lambda: _enter_folder(
            store, content, resume=resume or (not team.alone and not team.connected)
        ),
        join=lambda: _enter_folder(store, content, resume=True),
    )
    torch.manual_seed(options.seed)
    began = time.monotonic()
    try:
        runner = _BatchRunner(loaded, options, store, device, engine, workspace, compile)
        work = _Work(images, chosen, options, team, max_bad)
        work.run(runner, workers, progress)
        team.wait()
        measurement = Measurement(store)
        if len(measurement.samples) == 0 and work.whole(store):
            name, reason = measurement.unreadable[0][1:]
            raise AliascopeError(
                f"None of the {len(chosen)} images could be read (first: {name}: {reason}); "
                "pass a folder of intact images."
            )
    except AliascopeError:
        if created is not None and team.alone and _is_empty(store):
            _leave_nothing(store, created)
        raise
    if team.leads and work.whole(store):
        seconds = None if created is None or not team.alone else time.monotonic() - began
        _conclude(store, measurement, seconds)
    team.wait()
    measurement.run = store.read_run()
    return measurement


def _is_empty(store: Store) -> bool:
    return len(store.part_numbers()) == 0 or len(Measurement(store).samples) == 0


def _conclude(store: Store, measurement: Measurement, seconds: float | None) -> None:
    """Write into run.json what came out, once; the time is not known of a run in several goes."""
    content = store.read_run()
    if content.get("status") == "complete":
        return
    store.remove_drafts()
    content.update(_outcome(measurement), status="complete")
    if seconds is not None:
        content["seconds"] = round(seconds, 1)
    store.write_run(content)


def _chosen(images: ImageSource, options: Options) -> range:
    if options.start >= len(images):
        raise AliascopeError(
            f"start is {options.start}, but {images.name} holds {len(images)} images, "
            "counted from 0."
        )
    stop = len(images)
    if options.max_samples is not None:
        stop = min(stop, options.start + options.max_samples)
    return range(options.start, stop)


def _enter_folder(store: Store, content: dict[str, Any], resume: bool) -> list[Path] | None:
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
        _leave_nothing(store, created)
        raise
    return created


def _join(store: Store, content: dict[str, Any], resume: bool) -> None:
    if not resume:
        raise AliascopeError(
            f"{store.folder} holds a run already; pass --resume to go on with it, or another "
            "folder with -o."
        )
    _check_same(store, Store.existing(store.folder).read_run(), content)


def _leave_nothing(store: Store, created: list[Path]) -> None:
    """Remove a run that could not begin, with the folders that were made for it and no other."""
    with contextlib.suppress(OSError):
        store.remove_run()
        for folder in created:
            folder.rmdir()


def _check_same(store: Store, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a run of something else, and say what differs."""
    for section in ("model", "data", "options"):
        for key, value in now[section].items():
            had = before.get(section, {}).get(key)
            if had != value:
                raise AliascopeError(
                    f"{store.folder} holds a run with {section} {key} {had!r}, not {value!r}; "
                    "resume with the same, or pass another folder with -o."
                )


def _description(
    loaded: LoadedModel, images: ImageSource, chosen: range, options: Options, device: str
) -> dict[str, Any]:
    """Describe the run: everything needed to repeat it."""
    names = "\n".join(images.names[i] for i in chosen)
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "model": {
            "name": loaded.name,
            "weights": loaded.weights,
            "weights_sha256": loaded.weights_sha256,
            "preprocessing": plain(asdict(loaded.preprocessing)),
        },
        "data": {
            "name": images.name,
            "images": len(chosen),
            "labelled": images.labels is not None,
            "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
            **images.details,
        },
        "options": options.described(),
        "detail": options.detail,
        "device": device,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    versions = {
        "aliascope": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in VERSIONS_OF:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _outcome(measurement: Measurement) -> dict[str, Any]:
    accuracy = measurement.accuracy()
    columns = ["name", "op", "rate", "supported", "reason", "recomposition_error"]
    return {
        "samples": len(measurement.samples),
        "unreadable": measurement.unreadable,
        "accuracy": accuracy.to_dict(orient="index"),
        "sites": measurement.sites[columns].to_dict(orient="records"),
    }


class _Work:
    """The parts of a run: each batch, at each epsilon of an attack.

    Part ``k * len(conditions) + i`` is batch k at the i-th epsilon, and batch k always holds the
    same images, so that a run can be resumed or shared.
    """

    def __init__(
        self, images: ImageSource, chosen: range, options: Options, team: Team, max_bad: float
    ) -> None:
        self._images, self._team = images, team
        self._count, self._max_bad = len(chosen), max_bad
        self._conditions = options.conditions
        size = options.batch_size
        self._batches = [list(chosen[i : i + size]) for i in range(0, len(chosen), size)]
        self._bad: dict[int, tuple[str, str]] = {}

    def whole(self, store: Store) -> bool:
        """Whether all parts are there, those of other processes too."""
        needed = len(self._batches) * len(self._conditions)
        return set(store.part_numbers()).issuperset(range(needed))

    def run(self, runner: _BatchRunner, workers: int, progress: Progress | None) -> None:
        """Measure what the store lacks of this process's share."""
        missing = self._missing(runner.store)
        mine = [k for k in range(len(self._batches)) if self._team.owns(k)]
        total = sum(len(self._batches[k]) for k in mine) * len(self._conditions)
        done = total - sum(len(self._batches[k]) * len(places) for k, places in missing.items())
        if progress:
            progress(done, total)
        if not missing:
            return
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset[Any]", self._images),
            batch_sampler=[self._batches[k] for k in missing],
            num_workers=min(workers, len(missing)) if len(missing) > 1 else 0,
            collate_fn=collate,
            pin_memory=runner.device.type == "cuda",
            worker_init_fn=_begin_worker,
        )
        with runner:
            for (k, places), batch in zip(missing.items(), loader, strict=True):
                for i in places:
                    runner.run(batch, self._number(k, i), self._conditions[i])
                    done += len(self._batches[k])
                    if progress:
                        progress(done, total)
                self._note_bad(batch.bad)

    def _number(self, batch: int, condition: int) -> int:
        return batch * len(self._conditions) + condition

    def _missing(self, store: Store) -> dict[int, list[int]]:
        """Find, by batch, the conditions at which this process has to measure it."""
        numbers = {
            self._number(k, i): (k, i)
            for k in range(len(self._batches))
            for i in range(len(self._conditions))
            if self._team.owns(k)
        }
        there = set(store.part_numbers()) & set(numbers)
        for number, reason in store.damaged_parts(sorted(there)).items():
            warnings.warn(
                f"Part {number} of {store.folder} is damaged ({reason}) and is measured again.",
                stacklevel=2,
            )
            there.remove(number)
        for number in there:
            self._note_bad(store.part(number).unreadable)
        missing: dict[int, list[int]] = {}
        for number, (k, i) in numbers.items():
            if number not in there:
                missing.setdefault(k, []).append(i)
        return missing

    def _note_bad(self, bad: Sequence[tuple[int, str, str]]) -> None:
        """Count images that could not be read, and stop when they are too many."""
        self._bad.update({index: (name, reason) for index, name, reason in bad})
        if self._max_bad * self._count < len(self._bad) < self._count:
            name, reason = next(iter(self._bad.values()))
            raise AliascopeError(
                f"{len(self._bad)} of {self._count} images could not be read so far (first: "
                f"{name}: {reason}), more than {100 * self._max_bad:g} %; mend them, or allow more "
                "with --max-bad, and go on with --resume."
            )


def _begin_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, which ends its workers; otherwise it waits for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _unless_cut_off


def _unless_cut_off(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print what a worker's thread died of, but for the main process having gone away."""
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, traceback)


class _BatchRunner:
    """Attacks a batch, runs it under Scope, and writes it as one part."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: Options,
        store: Store,
        device: str,
        engine: str = "auto",
        workspace: int | None = None,
        compile: bool = False,
    ) -> None:
        self.loaded, self.options, self.store = loaded, options, store
        self.device = torch.device(device)
        self.model: nn.Module = loaded.model
        self.attacked: nn.Module = self.model
        self._compile = compile
        self._layout: torch.memory_format | None = None
        self.scope = options.scope(loaded.network, store, engine=engine, workspace=workspace)
        self.attack = options.make_attack()
        self.features: Features | None = None
        self._gradients_checked = False
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> _BatchRunner:
        self.model = on_device(self.loaded, str(self.device))
        self.attacked = compiled(self.model) if self._compile else self.model
        self._exit.enter_context(evaluating(self.model))
        if self.options.save_features:
            self.features = self._exit.enter_context(catching_features(self.loaded.network))
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def run(self, batch: ImageBatch, number: int, eps: float | None) -> None:
        """Measure one batch at one epsilon."""
        samples = pd.DataFrame({"sample": batch.indices.numpy(), "name": batch.names})
        if (batch.labels >= 0).any():
            samples["label"] = batch.labels.numpy()
        images = self._images_of(batch)
        if len(samples) and eps is not None:
            images = self._disturbed(images, batch.labels.to(self.device), eps, number)
        while True:
            try:
                self._measure(batch, images, samples.copy(), number, eps)
                return
            except OutOfMemoryError:
                left = self.scope.halve_workspace(self.device.type)
                if left is None:
                    raise
            self._say_less(left)

    def _say_less(self, left: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"{self.device} is out of memory; measuring goes on with a workspace of "
            f"{left / 2**20:g} MB.",
            stacklevel=2,
        )

    def _measure(
        self,
        batch: ImageBatch,
        images: Tensor,
        samples: pd.DataFrame,
        number: int,
        eps: float | None,
    ) -> None:
        if not self.store.has_run():
            raise AliascopeError(
                f"{self.store.folder} was removed, or its run.json, while the run was under way; "
                "evaluate again."
            )
        with (
            products_in(self.options.precision, self.device),
            self.scope,
            self.scope.batch(samples, number=number, unreadable=batch.bad, eps=eps) as part,
        ):
            if len(samples) == 0:
                return
            with refusing_images(self.loaded.name, images.shape[-2:]):
                output = self.model(images)
            if not any(site.supported for site in self.scope.sites):
                raise AliascopeError(no_sites(self.loaded.name, self.scope.sites))
            record_predictions(part.samples, output)
            if self.features is not None and self.features.last is not None:
                part.arrays["features"] = self.features.last.float().cpu().numpy()
            kept = samples["sample"].to_numpy() < self.options.start + self.options.save_adversarial
            if eps is not None and kept.any():
                part.arrays["adversarial"] = images.float().cpu().numpy()[kept]

    def _images_of(self, batch: ImageBatch) -> Tensor:
        """Move a batch to the device, in the memory format that the model is fast in."""
        images = batch.images.to(self.device, non_blocking=True)
        if len(images) == 0:
            return images
        if self._layout is None:
            with refusing_images(self.loaded.name, images.shape[-2:]):
                self._layout = settle_layout(self.model, images.shape[1:], self.device)
        return images.contiguous(memory_format=self._layout)

    def _disturbed(self, images: Tensor, labels: Tensor, eps: float, number: int) -> Tensor:
        assert self.attack is not None
        if (labels < 0).any():
            raise AliascopeError(
                "An attack needs the images' labels, and these have none; give class folders."
            )
        if not self._gradients_checked:
            self._gradients_checked = True
            lost = vanishing_gradients(self.model, images, labels)
            if lost:
                warnings.warn(
                    f"The loss of {lost} of the first {len(images)} images has no gradient, so "
                    "attacks that follow it are weaker than they look.",
                    stacklevel=2,
                )
        seed = self.options.seed * 1_000_003 + number
        with (
            refusing_images(self.loaded.name, images.shape[-2:]),
            compiling(),
            products_in(self.options.precision, self.device),
        ):
            return self.attack.perturb(self.attacked, images, labels, eps, seed)
