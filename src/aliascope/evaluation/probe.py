"""A first pass through a model: its sites, its classes, and whether it takes the images at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from aliascope.errors import AliascopeError, OutOfMemoryError, first_line, is_out_of_memory
from aliascope.models.devices import check_device
from aliascope.models.predictions import class_scores
from aliascope.seam.opening import Opening, evaluating
from aliascope.sites import ListedSite, SiteList
from aliascope.tasks.models import LoadedModel


@dataclass(frozen=True)
class Probe:
    """What one pass of an empty image says of a model.

    Attributes
    ----------
    sites : SiteList
        Its sites.
    classes : int or None
        How many classes it tells apart; None where it is no classifier.
    """

    sites: SiteList
    classes: int | None


def probe(loaded: LoadedModel, device: str = "cpu", size: tuple[int, int] | None = None) -> Probe:
    """Run a model once on a grey image, to find its sites and the number of its classes.

    Parameters
    ----------
    loaded : LoadedModel
        The model; it is moved to the device.
    device : str
        Such as "cpu" or "cuda:0".
    size : (int, int), optional
        Height and width in pixels; by default that of the preprocessing, or 224 × 224.

    Returns
    -------
    Probe

    Raises
    ------
    AliascopeError
        If the device is not there, or the model does not take an image of that size.

    Examples
    --------
    >>> from aliascope.tasks.models import load_model
    >>> found = probe(load_model("torchvision:resnet18", weights="none"))
    >>> len(found.sites), found.classes
    (8, 1000)
    """
    side = loaded.preprocessing.crop or 224
    height, width = size or (side, side)
    model = on_device(loaded, device)
    opening = Opening(loaded.network)
    channels = len(loaded.preprocessing.mean)
    image = torch.full((1, channels, height, width), 0.5, device=device)
    with opening, evaluating(model), refusing_images(loaded.name, (height, width)):
        output = model(image)
    scores = class_scores(output)
    return Probe(opening.sites, None if scores is None else scores.shape[1])


def on_device(loaded: LoadedModel, device: str) -> nn.Module:
    """Move a model, with its normalisation, to a device.

    Raises
    ------
    AliascopeError
        If the device is not there.
    """
    check_device(device)
    return loaded.model.to(torch.device(device))


@contextlib.contextmanager
def refusing_images(name: str, size: Sequence[int]) -> Iterator[None]:
    """Turn a model's complaint about its input into one sentence."""
    try:
        yield
    except AliascopeError:
        raise
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AssertionError,
        IndexError,
        MemoryError,
    ) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{name} ran out of memory on the device ({first_line(error)}); "
                "pass a smaller --batch-size."
            ) from error
        raise AliascopeError(
            f"{name} cannot take an image of {size[0]} × {size[1]} pixels "
            f"({first_line(error)}); pass another size with --resize and --crop, or a network "
            "that takes float32 images (N, 3, H, W)."
        ) from error


def no_sites(model: str, sites: Sequence[ListedSite] = ()) -> str:
    """Say that a model has no site, or none that can be measured."""
    if sites:
        return (
            f"No site of {model} can be measured (first of {len(sites)}: {sites[0].name}: "
            f"{sites[0].reason}); measure another model."
        )
    return (
        f"{model} has no site: nothing in it decimates a signal at a whole rate above 1, "
        "so there is no aliasing to measure."
    )
