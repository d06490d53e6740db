"""One batch of images through a model, view by view, and what the views have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.protocols.agreement import Outcome, compare_views, outcome_of
from aliascope.protocols.shift_protocols import ShiftProtocol, Views
from aliascope.protocols.shifts import cut_images, embed_images, roll_images
from aliascope.seam.handlers import Columns, Handler, Keep
from aliascope.seam.opening import Opening, Pass

Run = Callable[[Tensor], Any]


class ShiftRunner:
    """Runs batches of images through a model, each moved as a protocol has it.

    Each view is a pass of its own, in which the samples have their images' numbers, so that a
    handler's random numbers are the same for all views of an image.

    Parameters
    ----------
    model : nn.Module
        In eval mode, on its device.
    protocol : ShiftProtocol
        Which views there are, and which are compared.
    size : (int, int), optional
        Height and width of what the network sees in mode "crop"; by default what the protocol's
        margin leaves of the images.
    handlers : sequence of Handler
        Opened around every pass; without any the model runs as it is.
    opened : nn.Module, optional
        What handlers open, and sites are named in: a part of the model; all of it by default.

    Raises
    ------
    AliascopeError
        If a handler is none.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: ShiftProtocol,
        *,
        size: tuple[int, int] | None = None,
        handlers: Sequence[Handler] = (),
        opened: nn.Module | None = None,
    ) -> None:
        self.model, self.protocol, self.size = model, protocol, size
        self.dense: bool | None = None
        self._numbers = _Numbers()
        self._opening = (
            Opening(opened or model, handlers, listener=self._numbers) if handlers else None
        )

    def window(self, frames: Tensor) -> tuple[int, int]:
        """Give height and width of what the network sees of frames.

        Raises
        ------
        AliascopeError
            If the frames leave no room to move.
        """
        height, width = frames.shape[-2:]
        margin = self.protocol.margin if self.protocol.mode == "crop" else 0
        size = self.size if margin and self.size else (height - margin, width - margin)
        if min(size) < 1 or height - size[0] < margin or width - size[1] < margin:
            raise AliascopeError(
                f"Images of {height} × {width} pixels leave no window of "
                f"{max(size[0], 0)} × {max(size[1], 0)} a margin of {margin} pixels to move in, as "
                f"the protocol {self.protocol.name} needs: give larger images or smaller shifts."
            )
        return size

    def original(self, frames: Tensor) -> Tensor:
        """Give what the network sees of frames that are not moved; a view into them."""
        height, width = self.window(frames)
        top, left = ((frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2)
        return frames[..., top : top + height, left : left + width]

    def rows(
        self,
        frames: Tensor,
        *,
        numbers: Sequence[int],
        names: Sequence[str] | None = None,
        labels: Tensor | None = None,
        batch: int = 0,
        others: Mapping[str, Any] | None = None,
        keyword: str | None = None,
    ) -> pd.DataFrame:
        """Run a batch and compare its views.

        Parameters
        ----------
        frames : Tensor, shape (N, C, H, W)
            Images, on the model's device.
        numbers : sequence of int
            Of the images.
        names : sequence of str, optional
            Of the images; from these, or else from the numbers, follow their shifts.
        labels : Tensor of int, shape (N,), optional
            True classes; negative where unknown.
        batch : int
            Number of the batch, from which follow shifts that are drawn once a batch.
        others, keyword : mapping, str
            The model's other arguments, and the name of that of the images.

        Returns
        -------
        DataFrame
            As `aliascope.runs.consistency.Consistency` takes it.

        Raises
        ------
        AliascopeError
            If the images are too small, or the model tells no classes.
        """
        keys = [str(each) for each in (numbers if names is None else names)]
        views = self.protocol.views(keys, batch)
        window = self.window(frames)

        def run(images: Tensor) -> Any:
            if keyword is None:
                return self.model(images)
            return self.model(**{**(others or {}), keyword: images})

        known = None if labels is None else labels.cpu().numpy()
        found: list[dict[str, Any]] = []
        kinds: list[str] = []
        with self._opening or contextlib.nullcontext():
            for first, second, kind, one, other in self._compared(
                run, frames, views, window, numbers
            ):
                shift = views.between(first, second)
                circular = self.protocol.mode == "circular"
                agreement = compare_views(one, other, shift, circular=circular)
                found.append(
                    {
                        "dy": shift[:, 0],
                        "dx": shift[:, 1],
                        "agree": agreement.agree,
                        "change": agreement.change,
                        **_classes(one, other, known),
                    }
                )
                kinds.append(kind)
        joined = {key: np.concatenate([each[key] for each in found]) for key in found[0]}
        return pd.DataFrame(
            {
                "sample": np.tile(np.array(list(numbers)), len(found)),
                "name": np.tile(np.array(list(names or [""] * len(keys))), len(found)),
                "kind": np.repeat(np.array(kinds), len(keys)),
                **joined,
            }
        )

    def _compared(
        self,
        run: Run,
        frames: Tensor,
        views: Views,
        window: tuple[int, int],
        numbers: Sequence[int],
    ) -> Any:
        """Run each view once, when it is needed, and keep it no longer than it is."""
        last = {view: k for k, pair in enumerate(views.pairs) for view in pair[:2]}
        kept: dict[int, Outcome] = {}
        for k, (first, second, kind) in enumerate(views.pairs):
            for view in (first, second):
                if view not in kept:
                    self._numbers.next = numbers
                    images = self._moved(frames, views, view, window)
                    kept[view] = outcome_of(run(images), (images.shape[-2], images.shape[-1]))
                    self._check(kept[view], len(images))
            yield first, second, kind, kept[first], kept[second]
            for view in {first, second}:
                if last[view] == k:
                    del kept[view]

    def _moved(self, frames: Tensor, views: Views, view: int, window: tuple[int, int]) -> Tensor:
        moves, fraction = views.moves[:, view], views.fractions[view]
        if self.protocol.mode == "crop":
            return cut_images(frames, moves, window, fraction)
        if self.protocol.mode == "black":
            return embed_images(frames, moves)
        return roll_images(frames, moves, fraction)

    def _check(self, outcome: Outcome, count: int) -> None:
        if len(outcome.scores) != count:
            raise AliascopeError(
                f"The model gives {len(outcome.scores)} rows of scores for {count} images, so "
                "views cannot be told apart: wrap it so that it returns one row an image."
            )
        self.dense = outcome.dense


def _classes(first: Outcome, second: Outcome, labels: Any) -> dict[str, Any]:
    """Say what is predicted, and with labels whether the second view is right."""
    count = len(first.scores)
    unknown = np.full(count, -1)
    if first.dense:
        return {"label": unknown, "prediction": unknown, "correct": np.full(count, np.nan)}
    found = {"label": unknown, "prediction": first.classes.cpu().numpy()}
    found["correct"] = np.full(count, np.nan)
    if labels is not None:
        right = (second.classes.cpu().numpy() == labels).astype(np.float64)
        found["label"] = np.where(labels < 0, -1, labels)
        found["correct"] = np.where(labels < 0, np.nan, right)
    return found


class _Numbers:
    """Names the samples of each pass after their images; keeps nothing."""

    next: Sequence[int] = ()

    def begins(self, begun: Pass, before: nn.Module | None) -> None: ...

    def numbers(self, count: int) -> Sequence[int]:
        return range(count)

    def named(self) -> Sequence[int] | None:
        return self.next

    def keeping(self) -> Keep | None:
        return None

    def ends(self, ended: Pass, columns: Sequence[Columns]) -> None: ...

    def fails(self) -> None: ...


def described_handlers(handlers: Sequence[Handler]) -> list[str]:
    """Say in words under what the model runs.

    Examples
    --------
    >>> class Remove:
    ...     def describe(self): return {"name": "remove", "dose": 1.0}
    >>> described_handlers([Remove()])
    ['remove dose=1.0']
    """
    words = []
    for handler in handlers:
        settings = dict(handler.describe())
        name = str(settings.pop("name", type(handler).__name__))
        words.append(" ".join([name, *(f"{key}={value}" for key, value in settings.items())]))
    return words


def model_device(model: nn.Module) -> torch.device:
    """Tell where a model is; the CPU for one without parameters."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
