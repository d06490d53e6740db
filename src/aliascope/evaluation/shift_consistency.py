"""Shift consistency of a model over images of one's own, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.inputs import checked_labels, count_of, inputs_and_labels, shown
from aliascope.evaluation.shift_views import ShiftRunner, described_handlers, model_device
from aliascope.protocols.shift_protocols import make_protocol
from aliascope.runs.consistency import Consistency
from aliascope.seam.handlers import Handler
from aliascope.seam.opening import evaluating


def shift_consistency(
    model: nn.Module,
    images: Tensor | Iterable[Any],
    *,
    protocol: str = "shift",
    mode: str | None = None,
    max_shift: int | None = None,
    shifts: int | str | None = None,
    fraction: int | Sequence[int] | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    handlers: Sequence[Handler] = (),
    progress: bool = False,
) -> Consistency:
    """Measure how often a model says the same of an image and of the image shifted.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module that gives class scores (N, classes), or dense ones (N, classes, H, W).
        It is run in eval mode, without gradients, on the device it is on, and is given back in the
        mode it was in.
    images : Tensor, (Tensor, Tensor), or iterable of batches
        A batch (N, C, H, W), as the model takes them; images and labels (N,); or an iterable of
        such batches or of mappings, as for :func:`aliascope.measure`. In mode "crop" they are
        larger than what the network sees, which is cut from them.
    protocol : str
        ``"shift"``: each image as it is against shifts of its own, which follow from seed and
        number of the image, so that batches and their order do not matter. Or a published one:
        ``"zhang2019"``, ``"aps2021"``, ``"lps2022"``, ``"lps2022-circular"``, ``"afc2023"``,
        ``"afc2023-adversarial"``, ``"azulay2019"``; see
        :mod:`aliascope.protocols.shift_protocols` for each, with its quirks.
    mode : {"crop", "circular", "black"}, optional
        Of ``shift``: "crop" (default), in which real pixels come in and nothing is padded, or
        "circular". Of ``azulay2019``: "crop" or "black".
    max_shift, shifts : int, optional
        Of ``shift``: the largest shift, in pixels, and how many an image (or "all"); 8 and 8.
    fraction : int or sequence of int, optional
        Of ``shift`` and ``afc2023-adversarial``: 1 for whole pixels (default); 2, 3 or 4 for
        halves, thirds or quarters, by ideal interpolation; or several of them.
    size : int or (int, int), optional
        Of modes "crop": height and width of what the network sees; by default what the protocol's
        margin leaves of the images (of ``shift`` 2 · max_shift less).
    seed : int
        Of the shifts and of the intervals' resamples.
    handlers : sequence of Handler
        Open the model with these, as :class:`aliascope.Opening` does: consistency of a model with,
        say, its aliased part removed. Samples have their images' numbers in every view.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Consistency
        Whose ``table()`` has mean, worst case and mean absolute change with intervals over images.

    Raises
    ------
    AliascopeError
        If there is no image, images are too small to move in, the model tells no classes, or an
        option is unknown, out of range, or prescribed by the protocol.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), torch.nn.ReLU(),
    ...     torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> found = al.shift_consistency(model, torch.rand(5, 3, 24, 24), mode="circular")
    >>> found.table()[["images", "shifts", "consistency", "worst"]].values.tolist()
    [[5.0, 8.0, 1.0, 1.0]]
    """
    chosen = make_protocol(
        protocol, seed=seed, mode=mode, max_shift=max_shift, shifts=shifts, fraction=fraction
    )
    window = (size, size) if isinstance(size, int) else size
    if window is not None and chosen.mode != "crop":
        raise AliascopeError(
            f"size is {size}, but nothing is cut in mode {chosen.mode!r}; leave it out."
        )
    device = model_device(model)
    runner = ShiftRunner(model, chosen, size=window, handlers=handlers)
    batches = _batches_of(images)
    found: list[pd.DataFrame] = []
    seen = 0
    with evaluating(model):
        for number, batch in enumerate(shown(batches, "shifting") if progress else batches):
            inputs, labels = inputs_and_labels(batch)
            count = count_of(inputs)
            if count == 0:
                continue
            frames, keyword, others = _images_among(inputs, device)
            known = None if labels is None else _one_each(labels, count)
            found.append(
                runner.rows(
                    frames,
                    numbers=range(seen, seen + count),
                    labels=known,
                    batch=number,
                    keyword=keyword,
                    others=others,
                )
            )
            seen += count
    if not found:
        raise AliascopeError("There was no batch of images to shift; pass at least one.")
    description = {
        "protocol": chosen.describe(),
        "seed": seed,
        "model": {"name": type(model).__name__},
        "dense": bool(runner.dense),
        "under": described_handlers(handlers),
    }
    return Consistency(pd.concat(found, ignore_index=True), description)


def _batches_of(images: Any) -> Iterable[Any]:
    """Take a batch, or a pair of images and labels, for what it is."""
    if isinstance(images, Tensor | Mapping):
        return [images]
    pair = isinstance(images, tuple) and len(images) == 2
    if pair and isinstance(images[0], Tensor) and torch.as_tensor(images[1]).ndim == 1:
        return [images]
    return images


def _images_among(
    inputs: Tensor | dict[str, Any], device: torch.device
) -> tuple[Tensor, str | None, dict[str, Any]]:
    """Find the images: of keyword arguments, the one with the most axes."""
    keyword, others = None, {}
    images: Any = inputs
    if isinstance(inputs, dict):
        tensors = {key: value for key, value in inputs.items() if isinstance(value, Tensor)}
        keyword = max(tensors, key=lambda key: tensors[key].ndim)
        images = tensors[keyword]
        others = {
            key: value.to(device) if isinstance(value, Tensor) else value
            for key, value in inputs.items()
            if key != keyword
        }
    if images.ndim != 4 or not images.is_floating_point():
        raise AliascopeError(
            f"Images are {images.dtype} of shape {tuple(images.shape)}, but they are shifted along "
            "height and width, by fractions of a pixel too: pass floats (N, C, H, W)."
        )
    return images.to(device), keyword, others


def _one_each(labels: Any, count: int) -> Tensor | None:
    """Check labels of images; those of pixels say nothing of how views agree."""
    if isinstance(labels, Tensor) and labels.ndim > 1:
        return None
    return checked_labels(labels, count)
