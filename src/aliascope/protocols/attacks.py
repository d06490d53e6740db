"""Adversarial attacks, through torchattacks, on the model as it is: nothing is opened meanwhile."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aliascope.errors import AliascopeError, first_line, is_out_of_memory
from aliascope.models.predictions import class_scores
from aliascope.protocols.attack_terms import Terms, arguments_of, attack_class, terms_of

PUBLISHED_EPS = (0.0, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05)
"""Largest disturbances of Ribeiro and Schön (2021), on pixels in [0, 1]."""

PUBLISHED_STEPS = 100

MOST_AIMED_AT = 10
"""Classes that a targeted attack counts at most: torchattacks' own default."""

TOLERANCE = 1e-6
"""Rounding allowed when a disturbance is checked against epsilon and the range of pixels."""


@dataclass(frozen=True)
class Attack:
    """An attack by name, with its arguments.

    Parameters
    ----------
    name : str
        "pgd", "fgsm", or a class of torchattacks, in any case of letters.
    steps : int
        Steps of an iterated attack, whatever its class calls them; one that has none takes no other
        number than the default.
    step_size : float, optional
        Step on pixels in [0, 1]; 2.5 * eps / steps by default, as published.
    arguments : mapping
        More arguments of the torchattacks class.

    Raises
    ------
    AliascopeError
        If torchattacks is not installed or has no such class, a number is out of its range, or the
        attack does not take what is given.

    Examples
    --------
    >>> Attack("pgd").step_for(0.01)
    0.00025
    >>> Attack("fgsm", steps=7)
    Traceback (most recent call last):
    aliascope.errors.AliascopeError: The attack 'fgsm' has no number of steps, but attack_steps
    is 7: leave it out, or name an iterated attack such as pgd.
    """

    name: str = "pgd"
    steps: int = PUBLISHED_STEPS
    step_size: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise AliascopeError(f"attack_steps is {self.steps}, but it must be 1 or more.")
        if self.step_size is not None and not self.step_size > 0:
            raise AliascopeError(f"attack_step_size is {self.step_size}, but it must be above 0.")
        self._check_arguments(arguments_of(self.name))
        if self.terms.steps is None and self.steps != PUBLISHED_STEPS:
            own = self.terms.own_steps
            remedy = f", or pass {own} as an argument of the attack" if own else ""
            raise AliascopeError(
                f"The attack {self.name!r} has no number of steps, but attack_steps is "
                f"{self.steps}: leave it out{remedy}, or name an iterated attack such as pgd."
            )
        if self.terms.step_size is None and self.step_size is not None:
            raise AliascopeError(
                f"The attack {self.name!r} has no step size, but attack_step_size is "
                f"{self.step_size:g}: leave it out, or name an attack that has one, such as pgd."
            )

    def _check_arguments(self, taken: list[str]) -> None:
        ours = {self.terms.eps: "eps", self.terms.steps: "steps", self.terms.step_size: "step size"}
        for argument in self.arguments:
            if argument in ours:
                raise AliascopeError(
                    f"{argument} is among the attack's arguments, where it would differ from what "
                    f"the run says; give it as the attack's {ours[argument]}."
                )
            if argument not in taken:
                others = ", ".join(each for each in taken if each not in ours) or "no other"
                raise AliascopeError(
                    f"The attack {self.name!r} does not take the argument {argument}: give those "
                    f"of its torchattacks class ({others})."
                )

    @property
    def terms(self) -> Terms:
        """What the attack's class calls eps, steps and step size."""
        return terms_of(self.name)

    @property
    def norm(self) -> str:
        """What eps bounds: "Linf", the largest disturbance of a pixel, or "L2", an image's length.

        Examples
        --------
        >>> Attack("pgd").norm, Attack("pgdl2").norm, Attack("apgd", arguments={"norm": "L2"}).norm
        ('Linf', 'L2', 'L2')
        """
        return str(self.arguments.get("norm", self.terms.norm))

    def check_eps(self, *values: float) -> None:
        """Refuse an epsilon that the attack cannot be measured at.

        Parameters
        ----------
        *values : float
            In [0, 1], or any above 0 where they are lengths (`norm` is not "Linf"). An attack
            without a bound takes 0, the clean images, and 1, which bounds nothing.

        Raises
        ------
        AliascopeError
            If one is out of range, or the attack has no bound.

        Examples
        --------
        >>> Attack("pgd").check_eps(0, 0.01, 1)
        >>> Attack("cw").check_eps(0.01)
        Traceback (most recent call last):
        aliascope.errors.AliascopeError: The attack 'cw' has no bound, so it makes the same images
        at eps 0.01 as at any other: pass eps 1, which bounds nothing, or name an attack that has
        one, such as pgd.
        """
        for eps in values:
            if self.norm != "Linf" and not 0 <= eps < float("inf"):
                raise AliascopeError(f"eps is {eps}, but a length must be 0 or more.")
            if self.norm == "Linf" and not 0 <= eps <= 1:
                raise AliascopeError(f"eps is {eps}, but pixels are in [0, 1], and so must it be.")
            if self.terms.eps is None and eps not in (0, 1):
                raise AliascopeError(
                    f"The attack {self.name!r} has no bound, so it makes the same images at eps "
                    f"{eps:g} as at any other: pass eps 1, which bounds nothing, or name an attack "
                    "that has one, such as pgd."
                )

    def step_for(self, eps: float) -> float:
        """Step size at one epsilon."""
        if self.step_size is not None:
            return self.step_size
        return self.terms.step_factor * eps / (1 if self.terms.steps is None else self.steps)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int = 0
    ) -> Tensor:
        """Disturb images so that the model gets them wrong.

        Parameters
        ----------
        model : nn.Module
            Classifier of pixels in [0, 1]; normalisation is part of it. In eval mode.
        images : Tensor, shape (N, C, H, W)
            Pixels in [0, 1].
        labels : Tensor of int64, shape (N,)
            True classes.
        eps : float
            Largest disturbance, of a pixel on [0, 1] or of an image's length (see `norm`); 0 gives
            the images back.
        seed : int
            Seed of random starts; the same seed and images give the same result.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Disturbed images, within eps of the images and within [0, 1], in their memory format.

        Raises
        ------
        AliascopeError
            If eps is not one of the attack's, the attack fails, or it leaves the ball or the range
            of pixels.
        """
        self.check_eps(eps)
        if eps == 0:
            return images
        if model.training:
            warnings.warn(
                "The model is attacked in training mode, where batch norm and dropout change with "
                "each step; put it into eval mode.",
                stacklevel=2,
            )
        scores = _Scores(model)
        arguments = self._arguments_for(eps, seed) | self._classes_of(scores, images)
        arguments |= dict(self.arguments)
        try:
            disturbed = self._attacked(scores, images, labels, arguments, seed)
        except _AttackFailed:
            # Some attacks read strides as a plain image has them. The model's weights stay as they
            # are, so that its gradients are laid out anew as well.
            scores.plain = True
            try:
                disturbed = self._attacked(scores, images.contiguous(), labels, arguments, seed)
            except _AttackFailed as failure:
                error = failure.__cause__
                raise AliascopeError(
                    f"The attack {self.name!r} fails on these images and this model "
                    f"({type(error).__name__}: {first_line(failure)}): give it other arguments, or "
                    "name another, such as pgd."
                ) from error
        disturbed = torch.empty_like(images).copy_(disturbed.detach())
        _check_within(self.name, images, disturbed, eps, self.norm)
        return disturbed

    def _attacked(
        self,
        scores: _Scores,
        images: Tensor,
        labels: Tensor,
        arguments: dict[str, Any],
        seed: int,
    ) -> Tensor:
        with torch.enable_grad(), _seeded(images.device, seed), _no_gradients_left(scores):
            try:
                disturbed: Tensor = attack_class(self.name)(scores, **arguments)(images, labels)
                return disturbed
            except Exception as error:  # torchattacks raises whatever its code leads it to.
                if isinstance(error, AliascopeError) or is_out_of_memory(error):
                    raise
                if error is scores.error:
                    raise  # The model's own; who called says what it takes.
                raise _AttackFailed(first_line(error)) from error

    def _arguments_for(self, eps: float, seed: int) -> dict[str, Any]:
        """Give eps, steps, step size and seed under the names that the attack has for them."""
        named = {
            self.terms.eps: eps,
            self.terms.steps: self.steps,
            self.terms.step_size: self.step_for(eps),
        }
        ours = {name: value for name, value in named.items() if name is not None}
        # Theirs is 0 in every batch, or the time of day.
        return ours | ({"seed": seed} if "seed" in arguments_of(self.name) else {})

    def _classes_of(self, scores: _Scores, images: Tensor) -> dict[str, Any]:
        """Give the number of classes to an attack that aims at some, 10 at most."""
        if "n_classes" not in arguments_of(self.name):
            return {}
        with torch.no_grad():
            classes = scores(images[:1]).shape[1]
        if classes < self.terms.fewest_classes:
            raise AliascopeError(
                f"The attack {self.name!r} compares {self.terms.fewest_classes} classes, but the "
                f"model has {classes}: name another, such as pgd or apgd."
            )
        return {"n_classes": min(classes, MOST_AIMED_AT)}


class _AttackFailed(Exception):  # noqa: N818  # It never reaches the user.
    """The attack itself raised, not the model."""


class _Scores(nn.Module):
    """The class scores of a model that may return more; torchattacks wants nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self.plain = False
        self.error: Exception | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.plain:  # The gradient of flattening is contiguous.
            images = images.flatten(1).view(images.shape)
        try:
            output = self.model(images)
        except Exception as error:
            self.error = error
            raise
        scores = class_scores(output)
        if scores is None:
            raise AliascopeError(
                "The model gives no class scores (N, classes), so it cannot be attacked."
            )
        return scores


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the generators that torchattacks draws from, and put them back."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)


@contextlib.contextmanager
def _no_gradients_left(model: nn.Module) -> Iterator[None]:
    """Leave the parameters' gradients as they were; some attacks call ``backward``."""
    before = [(each, each.grad) for each in model.parameters()]
    for parameter, _ in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient


def vanishing_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Count the images whose loss has no gradient: attacks by gradient cannot move them.

    Parameters
    ----------
    model : nn.Module
        Classifier of pixels in [0, 1], in eval mode.
    images : Tensor, shape (N, C, H, W)
        Pixels in [0, 1].
    labels : Tensor of int64, shape (N,)
        True classes.

    Returns
    -------
    int
        How many of the N have a gradient that is zero everywhere, or not finite.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
    >>> vanishing_gradients(model, images, labels)
    0
    >>> vanishing_gradients(nn.Sequential(model, nn.Threshold(100.0, 0.0)), images, labels)
    3
    """
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_(True)
        loss = F.cross_entropy(_Scores(model)(images), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    largest = gradient.flatten(1).abs().amax(dim=1)
    return int((~(largest > 0) | ~largest.isfinite()).sum())


def _check_within(
    name: str, images: Tensor, disturbed: Tensor, eps: float, norm: str = "Linf"
) -> None:
    order = {"L1": 1.0, "L2": 2.0}.get(norm, float("inf"))
    farthest = float(torch.linalg.vector_norm((disturbed - images).flatten(1), order, 1).max())
    low, high = float(disturbed.min()), float(disturbed.max())
    if not farthest <= eps * (1 + TOLERANCE) + TOLERANCE:
        what = "a pixel" if norm == "Linf" else f"an image ({norm})"
        raise AliascopeError(
            f"The attack {name!r} moved {what} by {farthest:.3g}, more than eps {eps:g}; "
            "use one that keeps to its bound, such as pgd."
        )
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise AliascopeError(
            f"The attack {name!r} left the range of pixels, [0, 1] ({low:.3g} to {high:.3g})."
        )
