"""Models by name: the network, the preprocessing it was trained for, and exactly which weights.

A name is written ``torchvision:resnet34``, ``timm:convnext_tiny.fb_in1k``, ``efficientnet_lite0``,
or ``some.module:factory`` for one's own network.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.fingerprint import state_sha256
from aliascope.models.preprocessing import IMAGENET_PREPROCESSING, Normalized, Preprocessing
from aliascope.tasks.factories import import_factory, plan_factory
from aliascope.tasks.hugging_face import plan_hugging_face
from aliascope.tasks.names import refuse_name
from aliascope.tasks.plan import Plan
from aliascope.tasks.published import (
    LITE,
    plan_efficientnet_lite,
    plan_oscillations,
    plan_timm,
    plan_torchvision,
)

__all__ = ["IMAGENET_PREPROCESSING", "LoadedModel", "Normalized", "Preprocessing", "load_model"]

LARGEST_SEED = 2**32 - 1
"""That numpy's generator takes."""


@dataclass
class LoadedModel:
    """A network with all that a result needs to say about it.

    Parameters
    ----------
    name : str
        As given to `load_model`.
    network : nn.Module
        The bare network, in eval mode; takes normalised pixels.
    preprocessing : Preprocessing
        The recipe for its pictures.
    weights : str
        What was loaded: ``"IMAGENET1K_V1"``, ``"timm/resnet18.a1_in1k"``, the file's path,
        ``"none"`` for random ones, or ``"factory"`` for those one's own function chose.
    weights_sha256 : str
        `state_sha256` of the network.
    """

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    weights: str
    weights_sha256: str

    @property
    def model(self) -> Normalized:
        """The network behind its normalisation, in eval mode: takes pixels in [0, 1]."""
        return Normalized(self.network, self.preprocessing.mean, self.preprocessing.std).eval()


def load_model(
    name: str,
    *,
    weights: str = "default",
    resize: int | None = None,
    crop: int | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> LoadedModel:
    """Load a network by name, with its weights and its preprocessing.

    Parameters
    ----------
    name : str
        ``torchvision:NAME``; ``timm:NAME``, with or without a tag; ``hf:NAME``,
        ``hf:NAME@REVISION`` or ``hf:FOLDER``, an image classifier of transformers with the recipe
        of its image processor; ``efficientnet_lite0``, ``1`` or ``2``, whose weights come with
        packages; ``oscillations``, whose weights come with
        Aliascope, or ``oscillations:RUN``, those of a training of one's own; or
        ``MODULE:FUNCTION``, a function called without arguments that returns the network, in a
        module that may lie in the current directory. A timm recipe that would squash or pad the
        picture is replaced by the centre crop.
    weights : str, default "default"
        ``"default"``: the published ones, downloaded where they are not yet cached. ``"none"``:
        random ones. A name of torchvision's, such as ``IMAGENET1K_V1``. Or a file: safetensors, or
        what ``torch.save`` wrote of a state dict. One's own function decides for itself unless
        it is a file.
    resize, crop : int, optional
        In place of the recipe's own; 0 leaves that step out.
    interpolation : str, optional
        In place of the recipe's own.
    mean, std : sequence of float, optional
        In place of the recipe's own.
    seed : int, default 0
        Of random weights. The global random state is as before afterwards.

    Returns
    -------
    LoadedModel
        With the network on the CPU (where one's own function left it elsewhere: there), in eval
        mode.

    Raises
    ------
    AliascopeError
        If the name or the weights are not known, a package is missing, the download fails, or the
        file is damaged, holds code, or does not fit the network in every entry.

    Examples
    --------
    >>> loaded = load_model("torchvision:resnet18", weights="none", crop=128)
    >>> loaded.preprocessing.describe()
    'shorter side to 256 (bilinear), centre crop 128 × 128, mean (0.485, 0.456, 0.406), ...'
    >>> loaded.model(torch.rand(1, 3, 128, 128)).shape
    torch.Size([1, 1000])
    """
    check_seed(seed)
    # Apart from the making: a module that draws numbers when imported does so only once.
    with _seeded(seed):
        source = _source_of(name)
    sizes = {"resize": resize, "crop": crop}
    others = {"interpolation": interpolation, "mean": mean, "std": std}
    given: dict[str, Any] = {
        **{field: value or None for field, value in sizes.items() if value is not None},
        **{field: value for field, value in others.items() if value is not None},
    }
    with _seeded(seed):
        plan = source(name, weights)
        # Before loading, so that a wrong size is not found out after a long download.
        preprocessing = replace(plan.recipe, **given)
        network = plan.load()
    network.eval()
    return LoadedModel(name, network, preprocessing, plan.weights, state_sha256(network))


def check_seed(seed: int) -> None:
    """Refuse a seed that is none for every generator of random numbers."""
    if not 0 <= seed <= LARGEST_SEED:
        raise AliascopeError(f"seed is {seed}, but it must be from 0 to {LARGEST_SEED}.")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed whatever initialises weights on the CPU, and put the random state back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators for good.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _source_of(name: str) -> Callable[[str, str], Plan]:
    if name.startswith("torchvision:"):
        return plan_torchvision
    if name.startswith("timm:"):
        return plan_timm
    if name.startswith("hf:"):
        return plan_hugging_face
    if name in LITE:
        return plan_efficientnet_lite
    if name.partition(":")[0] == "oscillations":
        return plan_oscillations
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        return partial(plan_factory, import_factory(name))
    refuse_name(name)
