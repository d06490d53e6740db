"""Advice for a model and images of one's own: candidate filters, tried without retraining."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from aliascope.errors import AliascopeError
from aliascope.evaluation.advice_costs import (
    REPETITIONS,
    TIMED_IMAGES,
    count_multiply_adds,
    time_in_turn,
)
from aliascope.evaluation.advice_sites import WORDS, Chosen, choose_sites, first_images
from aliascope.evaluation.inputs import shown
from aliascope.evaluation.kept_batches import ByKeyword, KeptBatches
from aliascope.evaluation.shift_consistency import shift_consistency
from aliascope.evaluation.shift_views import ShiftRunner, model_device
from aliascope.filters import Antialiasing, FilterName, antialias, installed
from aliascope.protocols.effects import Answer
from aliascope.protocols.shift_protocols import make_protocol
from aliascope.runs.advice import ALL, COLUMNS, NONE, Advice
from aliascope.runs.paired import paired_change, share
from aliascope.scope import Scope
from aliascope.seam.opening import evaluating, original_module
from aliascope.sites.calls import memory_format

FILTERS = ("blur:3", "blur:5", "ideal")

SHIFTS = 4
"""Shifts an image."""

Array = np.ndarray[Any, Any]


def advise(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    filters: Sequence[str] = FILTERS,
    sites: Sequence[str] = WORDS,
    recalibrate: bool | int = False,
    shifts: int = SHIFTS,
    mode: str = "circular",
    seed: int = 0,
    progress: bool = False,
) -> Advice:
    """Try filters on a model, as it was trained, and tabulate what each does and costs.

    It promises nothing: without retraining accuracy mostly falls.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, on the device it is on, and
        is given back unfiltered, in the mode it was in, with the statistics it had.
    batches : iterable of Tensor, of (Tensor, Tensor) or of mappings
        As for :func:`aliascope.ablate`. What is no list or tuple is gone through once and kept in a
        temporary folder.
    filters : sequence of str
        Of those that :func:`aliascope.filters` lists.
    sites : sequence of str
        Where each filter is tried: "all" sites; "most", those of the stages that matter most;
        "stem", the first stage. A stage matters most if at least a tenth of its energy is aliased
        energy, and if to ``remove`` that (see :func:`aliascope.ablate`) changes the output at least
        a tenth as much as at the stage where it does most: by mean KL divergence, or where there
        are no class scores by mean relative change; told by the first 64 images.
    recalibrate : bool or int
        Also give what comes out with batch norm re-estimated, with each candidate and without, from
        so many images at the end of the batches, as :func:`aliascope.ablate` does. Of a model
        without batch norm these columns are NaN.
    shifts : int
        How many an image, of up to 8 pixels, drawn as by :func:`aliascope.shift_consistency`.
    mode : {"circular", "crop"}
        How images are shifted. With "crop" they are to be larger by 16 pixels than what the network
        sees; all but consistency is then of their middle.
    seed : int
        Of the shifts, and of what the model itself draws.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Advice
        With ``table()`` and ``code()``.

    Raises
    ------
    AliascopeError
        If an option is unknown or out of its range, there is no image, the model has no site, or is
        filtered already.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3, 2), torch.nn.MaxPool2d(2), torch.nn.Flatten())
    >>> found = al.advise(model, [torch.rand(8, 3, 16, 16)], filters=["blur:3"], sites=["stem"])
    >>> list(found.table().index)
    [('none', ''), ('blur:3', 'stem')]
    >>> print(found.code(1))
    import aliascope as al
    <BLANKLINE>
    # Without retraining:
    ...
    handle = al.antialias(model, "blur:3", sites=["0"])
    <BLANKLINE>
    """
    model = original_module(model)
    _check(model, filters, sites)
    shifting: dict[str, Any] = {"seed": seed, "mode": mode, "shifts": shifts}
    make_protocol("shift", **shifting)
    with (
        tempfile.TemporaryDirectory(prefix="aliascope-") as folder,
        evaluating(model),
        _seeded(model, seed),
    ):
        kept = KeptBatches(batches, Path(folder), "advise")
        trials = _Trials(model, kept, *kept.split(recalibrate), shifting)
        chosen = trials.choose(sites)
        candidates = [Candidate()]
        candidates += [
            Candidate(f, word) for f in filters for word in sites if word in chosen.names
        ]
        tried = [
            trials.tried(each)
            for each in (shown(candidates, "advising") if progress else candidates)
        ]
        seconds = trials.seconds(candidates)
        described = {**trials.described(chosen), "rate": tried[0].rate, "seed": seed}
    rows = [
        _row(each, tried[0], taken / seconds[0], described["images"])
        for each, taken in zip(tried, seconds, strict=True)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype("float64")
    table.index = pd.MultiIndex.from_tuples(
        [(each.filter, each.word) for each in candidates], names=["filter", "sites"]
    )
    return Advice(table.astype({"filtered": int, "n": int}), described)


def _check(model: nn.Module, filters: Sequence[str], sites: Sequence[str]) -> None:
    """Refuse filters and sites that are none, and a model that is filtered already."""
    for what, given in {"filters": filters, "sites": sites}.items():
        if isinstance(given, str):
            raise AliascopeError(f"{what} is {given!r}; give a sequence, as in [{given!r}].")
        if not given or len(set(given)) < len(given):
            raise AliascopeError(f"{what} is {list(given)}, but it must name some, each once.")
    for name in filters:
        FilterName.read(name)
    for word in sites:
        if word not in WORDS:
            raise AliascopeError(f"sites names {word!r}, but it must be of {', '.join(WORDS)}.")
    if installed(model) is not None:
        raise AliascopeError(
            "The model is filtered already; call its filter's remove() to be advised of others."
        )


@dataclass(frozen=True)
class Candidate:
    """A filter at some sites; none by default."""

    filter: str = NONE
    word: str = ""


@dataclass
class _Tried:
    """What a candidate gave: per sample, in order, and as a whole."""

    filtered: int
    energy: float
    rate: str
    consistency: tuple[float, float, float]
    answers: tuple[list[Tensor], Array]
    recalibrated: tuple[list[Tensor], Array] | None
    multiply_adds: int


NOTHING = (math.nan, math.nan, math.nan)


class _Trials:
    """Runs candidates over the kept images, and leaves the model as it was."""

    def __init__(
        self,
        model: nn.Module,
        kept: KeptBatches,
        measured: Sequence[int],
        spare: Sequence[int],
        shifting: dict[str, Any],
    ) -> None:
        self._model, self._kept, self._measured, self._spare = model, kept, measured, spare
        self._caller = model if kept.keyword is None else ByKeyword(model, kept.keyword).eval()
        self._device = model_device(model)
        self._shifting = shifting
        self._protocol = make_protocol("shift", **shifting)
        self._window = ShiftRunner(model, self._protocol)
        self._layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self._buffers = [buffer for layer in self._layers for buffer in layer.buffers()]
        self._notes: list[str] = []
        self._names: dict[str, list[str]] = {}

    # -- images --------------------------------------------------------------------------------

    def _images(self, k: int) -> Tensor:
        """Give what the network sees of a batch, on its device."""
        frames = self._kept.images(k).to(self._device)
        if self._protocol.mode != "crop":
            return frames
        if frames.ndim != 4:
            raise AliascopeError(
                f"Images have shape {tuple(frames.shape)}, but in mode 'crop' they are (N, C, H, "
                "W); pass mode='circular'."
            )
        return self._window.original(frames).contiguous(memory_format=memory_format(frames))

    def _first(self, count: int) -> Tensor:
        images = self._images(self._measured[0])
        return images[:count].contiguous(memory_format=memory_format(images))

    def _as_given(self, images: Tensor) -> Any:
        return images if self._kept.keyword is None else {self._kept.keyword: images}

    # -- candidates ----------------------------------------------------------------------------

    def choose(self, words: Sequence[str]) -> Chosen:
        """Find the sites that words stand for."""
        image = self._first(1)
        images = first_images(self._images(k) for k in self._measured)
        given = [self._as_given(each) for each in images]
        chosen = choose_sites(self._model, lambda: self._caller(image), given, words)
        self._names = chosen.names
        return chosen

    @contextlib.contextmanager
    def under(self, candidate: Candidate) -> Iterator[Antialiasing | None]:
        """Filter the model, within the context."""
        if candidate.filter == NONE:
            yield None
            return
        names = None if candidate.word == ALL else self._names[candidate.word]
        with antialias(self._model, candidate.filter, sites=names) as handle:
            yield handle

    def tried(self, candidate: Candidate) -> _Tried:
        """Try a candidate."""
        with self.under(candidate) as handle:
            scope = Scope(self._model, measures=["energy"])
            with scope:
                answers = self._answers(scope)
            energy = scope.measurement().energy("overall")
            image = self._first(1)
            return _Tried(
                filtered=0 if handle is None else len(handle.sites),
                energy=float(energy["aliased_energy"].iloc[0]),
                rate=str(energy.index[0]),
                consistency=self._consistency() if answers[0] else NOTHING,
                answers=answers,
                recalibrated=self._recalibrated() if self._spare and self._layers else None,
                multiply_adds=count_multiply_adds(lambda: self._caller(image)),
            )

    def _answers(self, scope: Scope | None = None) -> tuple[list[Tensor], Array]:
        """Run all images; give predictions, none without class scores, and which are right."""
        predictions, right = [], []
        _seed(self._device, self._shifting["seed"])
        for k in self._measured:
            images, labels = self._images(k), self._kept.labels[k]
            samples = pd.DataFrame({"sample": self._kept.numbers(k)})
            with contextlib.nullcontext() if scope is None else scope.batch(samples, number=k):
                output = self._caller(images)
            said = Answer.of(output, len(images)).prediction
            if said is None:
                return [], np.array([])
            predictions.append(said.cpu())
            known = torch.full((len(images),), -1) if labels is None else labels
            hit = (
                (said.cpu() == known).double().masked_fill(known < 0, torch.nan)
                if said.ndim == 1
                else torch.full((len(images),), torch.nan)
            )
            right.append(hit)
        return predictions, torch.cat(right).numpy()

    def _consistency(self) -> tuple[float, float, float]:
        """Shift all images; what cannot be shifted is noted, once."""
        if self._notes:
            return NOTHING
        frames = (self._as_given(self._kept.images(k)) for k in self._measured)
        try:
            row = shift_consistency(self._model, frames, **self._shifting).table().iloc[0]
        except AliascopeError as error:
            self._notes.append(f"No consistency: {error}")
            return NOTHING
        return row["consistency"], row["consistency_low"], row["consistency_high"]

    def _recalibrated(self) -> tuple[list[Tensor], Array]:
        """Estimate batch norm from the spare images, run the others, and put it back."""
        before = [buffer.clone() for buffer in self._buffers]
        try:
            _seed(self._device, self._shifting["seed"])
            update_bn((self._images(k) for k in self._spare), self._caller)
            return self._answers()
        finally:
            for buffer, values in zip(self._buffers, before, strict=True):
                buffer.copy_(values)

    def seconds(self, candidates: Sequence[Candidate]) -> list[float]:
        """Time a pass of each."""
        images = self._first(TIMED_IMAGES)
        contexts = [partial(self.under, each) for each in candidates]
        return time_in_turn(contexts, lambda: self._caller(images), self._device)

    def described(self, chosen: Chosen) -> dict[str, Any]:
        """Say what the advice is of, fit for JSON."""
        shift = f"{self._protocol.mode} shifts, {self._protocol.shifts}"
        return {
            "model": type(self._model).__name__,
            "images": sum(self._kept.counts[k] for k in self._measured),
            "shift": "" if self._notes else shift,
            "recalibrate": sum(self._kept.counts[k] for k in self._spare) if self._layers else 0,
            "device": str(self._device),
            "timed": {"images": len(self._first(TIMED_IMAGES)), "repetitions": REPETITIONS},
            "sites": chosen.names,
            "stages": chosen.stages,
            "notes": [*chosen.notes, *self._notes],
        }


def _row(tried: _Tried, plain: _Tried, time: float, images: int) -> dict[str, float]:
    """Make a candidate's row, beside the network as it is."""
    added = tried.multiply_adds - plain.multiply_adds
    row = {
        "filtered": tried.filtered,
        "n": images,
        "aliased_energy": tried.energy,
        **_interval("consistency", tried.consistency),
        **_score("", tried.answers, plain.answers),
        "time": time,
        "multiply_adds": added / plain.multiply_adds if plain.multiply_adds else math.nan,
    }
    if tried.recalibrated is not None and plain.recalibrated is not None:
        row |= _score("_recalibrated", tried.recalibrated, plain.recalibrated)
    return row


def _score(
    kind: str, after: tuple[list[Tensor], Array], before: tuple[list[Tensor], Array]
) -> dict[str, float]:
    """Give the accuracy, and compare predictions with those of the network as it is."""
    row: dict[str, float] = {}
    known = len(after[1]) > 0 and not np.isnan(after[1]).all()
    if known:
        row |= _interval(f"accuracy{kind}", share(after[1]))
    if after is before or not after[0]:
        return row
    agree = [
        (a == b).double().reshape(len(a), -1).mean(dim=1).numpy()
        for a, b in zip(after[0], before[0], strict=True)
    ]
    row |= _interval(f"agreement{kind}", share(np.concatenate(agree)))
    if known:
        change = paired_change(before[1], after[1])
        row |= _interval(f"accuracy{kind}_change", (change.mean, change.low, change.high))
        row[f"p{kind}"] = change.p
    return row


def _interval(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


@contextlib.contextmanager
def _seeded(model: nn.Module, seed: int) -> Iterator[None]:
    """Let the model draw what follows from a seed; give the random state back afterwards."""
    device = model_device(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _seed(device, seed)
        yield


def _seed(device: torch.device, seed: int) -> None:
    """Seed the CPU's generator and the device's, and no other device's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
