"""What handlers made of dense signals, remembered for autograd's second run of a checkpointed part.

Checkpointing runs a part of the forward again in backward. Handlers are not called again, so what
they gave must be put in the same places: the values, for what follows to be the same; and where the
first run was without autograd (``use_reentrant=True``), the way back through the handler too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aliascope.seam.found import Key

MOST_REMEMBERED = 128
"""Changes that are kept; of a forward that is run again without any backward, the first go."""


@dataclass(eq=False)
class Change:
    """One change of a dense signal.

    Attributes
    ----------
    key : tuple
        Path, kind of operation and rate, which a second run is sure to have too.
    before, after : Tensor
        The dense signal, and what the handlers gave, detached; one tensor where none wanted it.
    way_back : (Tensor, Tensor) or None
        A leaf and what the handlers made of it, with autograd's graph in between.
    """

    key: Key
    before: Tensor
    after: Tensor
    way_back: tuple[Tensor, Tensor] | None = None


class Changes:
    """The changes of passes that may be run again."""

    def __init__(self) -> None:
        self._kept: deque[Change] = deque(maxlen=MOST_REMEMBERED)
        self._used: deque[Change] = deque(maxlen=MOST_REMEMBERED)

    def remember(self, change: Change) -> None:
        """Keep a change for the second run."""
        self._kept.append(change)

    def forget(self) -> None:
        """Let all go."""
        self._kept.clear()
        self._used.clear()

    def forget_used(self) -> None:
        """Let go of those that went into a second run: a third, after ``retain_graph``, is past."""
        self._used.clear()

    def again(self, key: Key, dense: Tensor) -> Tensor:
        """Change a dense signal as in the first run; unchanged there, it is so again."""
        here = [
            each
            for each in (*self._kept, *self._used)
            if each.key == key and each.before.shape == dense.shape
        ]
        # A module may run several times: the same signal is the same place.
        same = [each for each in here if torch.equal(each.before, dense.detach())]
        if not here:
            return dense
        change = (same or here)[0]
        (self._kept if change in self._kept else self._used).remove(change)
        self._used.append(change)
        if change.after is change.before:
            return dense
        changed: Tensor = _Again.apply(dense, change)
        return changed

    @staticmethod
    def leaf_of(dense: Tensor) -> Tensor:
        """Make a leaf of a signal that is computed without autograd."""
        return dense.detach().requires_grad_(dense.is_floating_point())


class _Again(torch.autograd.Function):
    """Gives what handlers made of a signal, and goes back through them."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, change: Change) -> Tensor:
        ctx.way_back = change.way_back
        return change.after.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.way_back is None:  # only its values were wanted: this graph is thrown away
            return gradient, None
        leaf, made = ctx.way_back
        if not made.requires_grad:
            return torch.zeros_like(gradient), None
        leaf.grad = None
        torch.autograd.backward(made, gradient, retain_graph=True)  # there may be a third run
        grad, leaf.grad = leaf.grad, None
        return torch.zeros_like(gradient) if grad is None else grad, None
