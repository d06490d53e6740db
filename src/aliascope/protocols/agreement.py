"""Whether two views of an image are said to be the same: of classes, and of dense outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aliascope.errors import AliascopeError
from aliascope.models.predictions import class_scores

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """What a model says of one view of each image.

    Attributes
    ----------
    scores : Tensor, shape (N, classes) or (N, classes, H, W)
        Unnormalised, in float32 or wider.
    dense : bool
        Whether there is a class for each pixel.
    """

    scores: Tensor
    dense: bool

    @property
    def classes(self) -> Tensor:
        """The most likely class, (N,) or (N, H, W); -1 where a score is not a number."""
        best = self.scores.argmax(dim=1)
        return best.masked_fill(self.scores.isnan().any(dim=1), -1)

    @property
    def shares(self) -> Tensor:
        """Probabilities of the classes."""
        return self.scores.softmax(dim=1)


def outcome_of(output: Any, size: tuple[int, int]) -> Outcome:
    """Read what a model returned.

    Parameters
    ----------
    output
        Class scores (N, classes), a map of them (N, classes, h, w), or what holds either, under
        ``logits`` or ``out`` or first in a tuple. A single score is one for "yes", against 0.
    size : (int, int)
        Height and width of the images, to which a map of another size is interpolated.

    Returns
    -------
    Outcome

    Raises
    ------
    AliascopeError
        If it is neither.

    Examples
    --------
    >>> outcome_of(torch.tensor([[0.1, 0.9]]), (8, 8)).classes
    tensor([1])
    >>> outcome_of({"out": torch.zeros(1, 3, 4, 4)}, (8, 8)).scores.shape
    torch.Size([1, 3, 8, 8])
    """
    scores = class_scores(output)
    if scores is None:
        scores = _map_of(output)
    if scores.dtype != torch.float64:
        scores = scores.float()
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    if scores.ndim == 2:
        return Outcome(scores, dense=False)
    if tuple(scores.shape[-2:]) == (1, 1):
        return Outcome(scores.flatten(1), dense=False)
    if tuple(scores.shape[-2:]) != size:
        scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    return Outcome(scores, dense=True)


def _map_of(output: Any) -> Tensor:
    found = output
    for key in ("logits", "out"):
        if isinstance(output, Mapping):
            found = output.get(key, found)
        else:
            found = getattr(output, key, found) if not isinstance(output, Tensor) else found
    if isinstance(found, list | tuple) and found:
        found = found[0]
    if isinstance(found, Tensor) and found.ndim == 4 and found.is_floating_point():
        return found
    what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    raise AliascopeError(
        f"The model returns {what}, which has neither class scores (N, classes) nor a map of them "
        "(N, classes, H, W), so nothing tells whether two views agree: wrap the model so that it "
        "returns one of them."
    )


@dataclass(frozen=True)
class Agreement:
    """How alike two views of each image are.

    Attributes
    ----------
    agree : ndarray, shape (N,)
        1 or 0; of dense outputs the share of pixels of the overlap whose class is the same.
    change : ndarray, shape (N,)
        Absolute change of the probability of the first view's class; of dense outputs its mean.
    """

    agree: Array
    change: Array


def compare_views(
    first: Outcome, second: Outcome, shift: Array, *, circular: bool = False
) -> Agreement:
    """Compare what is said of two views of each image.

    Parameters
    ----------
    first, second : Outcome
        Of the same images.
    shift : ndarray, shape (N, 2)
        By how many pixels what the second shows lies further down and to the right.
    circular : bool
        Whether dense outputs overlap around the edge.

    Returns
    -------
    Agreement

    Raises
    ------
    AliascopeError
        If dense outputs are a fraction of a pixel apart.

    Examples
    --------
    >>> sure, unsure = (Outcome(torch.tensor([[x, 0.0]]), False) for x in (2.0, 0.0))
    >>> compare_views(sure, unsure, np.zeros((1, 2))).change.round(3)
    array([0.381])
    """
    if not first.dense:
        return _compare(first, second)
    if (shift != np.round(shift)).any():
        raise AliascopeError(
            "The model gives a class for each pixel, and pixels a fraction of one apart cannot be "
            "compared: use shifts by whole pixels."
        )
    found = []
    for n, (dy, dx) in enumerate(np.round(shift).astype(int).tolist()):
        a, b = first.scores[n : n + 1], second.scores[n : n + 1]
        if circular:
            a = torch.roll(a, (dy, dx), (-2, -1))
        else:
            a, b = _overlap(a, b, dy, -2)
            a, b = _overlap(a, b, dx, -1)
        found.append(_compare(Outcome(a, True), Outcome(b, True)))
    return Agreement(
        np.array([each.agree.item() for each in found], dtype=np.float64),
        np.array([each.change.item() for each in found], dtype=np.float64),
    )


def _overlap(a: Tensor, b: Tensor, shift: int, axis: int) -> tuple[Tensor, Tensor]:
    """Cut two maps to what both show along an axis; nothing where they show nothing in common."""
    length = max(0, a.shape[axis] - abs(shift))
    back, forth = max(0, -shift), max(0, shift)
    return a.narrow(axis, min(back, a.shape[axis]), length), b.narrow(
        axis, min(forth, b.shape[axis]), length
    )


def _compare(first: Outcome, second: Outcome) -> Agreement:
    mine, other = first.classes, second.classes
    agree = ((mine == other) & (mine >= 0)).double()
    chosen = mine.clamp(min=0)[:, None]
    before, after = (each.shares.gather(1, chosen)[:, 0] for each in (first, second))
    change = (after - before).abs().double()
    if agree.ndim > 1:
        agree, change = agree.flatten(1).mean(dim=1), change.flatten(1).mean(dim=1)
    return Agreement(agree.cpu().numpy(), change.cpu().numpy())
