"""Adversarial attacks, through torchattacks, on the model as it is: nothing is opened meanwhile."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.models.predictions import class_scores

PUBLISHED_EPS = (0.0, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05)
"""Largest disturbances of Ribeiro and Schön (2021), on pixels in [0, 1]."""

PUBLISHED_STEPS = 100
STEP_FACTOR = 2.5
"""Published step size: this times epsilon over the number of steps."""

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
        Steps of an iterated attack.
    step_size : float, optional
        Step on pixels in [0, 1]; 2.5 * eps / steps by default, as published.
    arguments : mapping
        More arguments of the torchattacks class.

    Raises
    ------
    AliascopeError
        If torchattacks is not installed or has no such class, or a number is out of its range.

    Examples
    --------
    >>> Attack("pgd").step_for(0.01)
    0.00025
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
        for argument, option in (("eps", "eps"), ("steps", "steps"), ("alpha", "step size")):
            if argument in self.arguments:
                raise AliascopeError(
                    f"{argument} is among the attack's arguments, where it would differ from what "
                    f"the run says; give it as the attack's {option}."
                )
        _attack_class(self.name)

    def step_for(self, eps: float) -> float:
        """Step size at one epsilon."""
        return STEP_FACTOR * eps / self.steps if self.step_size is None else self.step_size

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
            Largest disturbance of a pixel, on [0, 1]; 0 gives the images back.
        seed : int
            Seed of random starts; the same seed and images give the same result.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Disturbed images, within eps of the images and within [0, 1].

        Raises
        ------
        AliascopeError
            If the attack fails, or leaves the ball or the range of pixels.
        """
        if eps == 0:
            return images
        if model.training:
            warnings.warn(
                "The model is attacked in training mode, where batch norm and dropout change with "
                "each step; put it into eval mode.",
                stacklevel=2,
            )
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.enable_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            try:
                attack = _attack_class(self.name)(_Scores(model), **self._arguments_for(eps))
                disturbed: Tensor = attack(images, labels)
            except TypeError as error:
                raise AliascopeError(
                    f"The attack {self.name!r} does not take its arguments ({error}); "
                    "give those of its torchattacks class."
                ) from error
        disturbed = disturbed.detach()
        _check_within(self.name, images, disturbed, eps)
        return disturbed

    def _arguments_for(self, eps: float) -> dict[str, Any]:
        """Give eps, steps and step size to the attacks that take them."""
        import inspect

        known = inspect.signature(_attack_class(self.name).__init__).parameters
        ours = {"eps": eps, "steps": self.steps, "alpha": self.step_for(eps)}
        return {k: v for k, v in ours.items() if k in known} | dict(self.arguments)


class _Scores(nn.Module):
    """The class scores of a model that may return more; torchattacks wants nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        scores = class_scores(self.model(images))
        if scores is None:
            raise AliascopeError(
                "The model gives no class scores (N, classes), so it cannot be attacked."
            )
        return scores


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


def _attack_class(name: str) -> Any:
    try:
        import torchattacks
    except ImportError:
        raise AliascopeError(
            f"The attack {name!r} needs torchattacks, which is not installed: "
            "pip install 'aliascope[attacks]'."
        ) from None

    classes = {
        key.lower(): value
        for key, value in vars(torchattacks).items()
        if isinstance(value, type) and issubclass(value, torchattacks.attack.Attack)
    }
    if name.lower() not in classes:
        import difflib

        near = difflib.get_close_matches(name.lower(), classes, n=3, cutoff=0.4)
        names = ", ".join(classes[key].__name__ for key in near or ("pgd", "fgsm"))
        raise AliascopeError(
            f"There is no attack {name!r} in torchattacks; the nearest are {names}."
        )
    return classes[name.lower()]


def _check_within(name: str, images: Tensor, disturbed: Tensor, eps: float) -> None:
    farthest = float((disturbed - images).abs().max())
    low, high = float(disturbed.min()), float(disturbed.max())
    if not farthest <= eps + TOLERANCE:
        raise AliascopeError(
            f"The attack {name!r} moved a pixel by {farthest:.3g}, more than eps {eps:g}; "
            "use one bounded in the largest disturbance, such as pgd."
        )
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise AliascopeError(
            f"The attack {name!r} left the range of pixels, [0, 1] ({low:.3g} to {high:.3g})."
        )
