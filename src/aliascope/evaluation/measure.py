"""Measuring a model over batches of one's own, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.probe import no_sites
from aliascope.models.predictions import record_predictions
from aliascope.runs.measurement import Measurement
from aliascope.scope import Scope
from aliascope.seam.handlers import Handler
from aliascope.seam.opening import evaluating

Images = Tensor | tuple[Tensor, Tensor]


def measure(
    model: nn.Module,
    batches: Iterable[Images | Sequence[Tensor]],
    *,
    detail: str = "site",
    threshold_db: float = 20.0,
    reference: str = "max",
    grid: str = "auto",
    fold_scale: str = "unit",
    handlers: Sequence[Handler] = (),
) -> Measurement:
    """Measure aliasing in a model over batches of images.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, on the device it is on, and
        is given back in the mode it was in.
    batches : iterable of Tensor, or of (Tensor, Tensor)
        Images (N, C, H, W) as the model takes them, or images and labels (N,); a DataLoader fits.
    detail, threshold_db, reference, grid, fold_scale, handlers
        See :class:`Scope`.

    Returns
    -------
    Measurement
        With labels, its ``samples`` have the columns label, prediction, top1 and top5.

    Raises
    ------
    AliascopeError
        As :class:`Scope`; if there is no batch; or if the model has no site.

    Examples
    --------
    >>> import torch, aliascope as al
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> m = al.measure(model, [torch.rand(4, 3, 32, 32) for _ in range(2)])
    >>> m.fractions(by="sample").shape
    (8, 4)
    """
    scope = Scope(
        model,
        detail=detail,
        threshold_db=threshold_db,
        reference=reference,
        grid=grid,
        fold_scale=fold_scale,
        handlers=handlers,
    )
    if isinstance(batches, Tensor):
        raise AliascopeError(
            f"batches is one tensor of shape {tuple(batches.shape)}; pass a list of batches, as in "
            "[images]."
        )
    device = next((p.device for p in scope.model.parameters()), torch.device("cpu"))
    if device.type == "meta":
        raise AliascopeError(
            "The model is on the meta device, where it has no values; move it to cpu or cuda."
        )
    seen = 0
    with scope, evaluating(scope.model):
        for batch in batches:
            images, labels = _images_and_labels(batch)
            if len(images) == 0:
                continue
            samples = pd.DataFrame({"sample": range(seen, seen + len(images))})
            if labels is not None:
                samples["label"] = labels.cpu().numpy()
            with scope.batch(samples) as part:
                output = scope.model(images.to(device))
                record_predictions(part.samples, output)
            seen += len(images)
            if not any(site.supported for site in scope.sites):
                raise AliascopeError(no_sites(type(scope.model).__name__, scope.sites))
    if seen == 0:
        raise AliascopeError("There was no batch of images to measure; pass at least one.")
    return scope.measurement()


def _images_and_labels(batch: Any) -> tuple[Tensor, Tensor | None]:
    if isinstance(batch, Tensor):
        return batch, None
    parts = [*batch, None][:2] if isinstance(batch, list | tuple) and batch else []
    if not parts or not isinstance(parts[0], Tensor):
        raise AliascopeError(
            f"A batch is of type {type(batch).__name__}; pass tensors of images, or pairs of "
            "images and labels."
        )
    images, given = parts
    if given is None:
        return images, None
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AliascopeError(
            f"The labels of a batch are of type {type(given).__name__}; pass whole numbers."
        ) from error
    if labels.shape != images.shape[:1]:
        raise AliascopeError(
            f"The labels of a batch have shape {tuple(labels.shape)}; pass one whole number for "
            f"each of the {len(images)} images."
        )
    return images, labels
