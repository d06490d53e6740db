"""Measuring a model over batches of one's own, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.probe import no_sites
from aliascope.measures import DEFAULT, FLOOR_SAMPLES
from aliascope.models.predictions import record_predictions
from aliascope.runs.measurement import Measurement
from aliascope.scope import Scope
from aliascope.seam.handlers import Handler
from aliascope.seam.opening import evaluating

Images = Tensor | tuple[Tensor, Tensor]


def measure(
    model: nn.Module,
    batches: Iterable[Images | Sequence[Tensor] | Mapping[str, Any]],
    *,
    measures: Sequence[str] = DEFAULT,
    floor_samples: int = FLOOR_SAMPLES,
    detail: str = "site",
    threshold_db: float = 20.0,
    reference: str = "max",
    grid: str = "auto",
    fold_scale: str = "auto",
    handlers: Sequence[Handler] = (),
    progress: bool = False,
) -> Measurement:
    """Measure aliasing in a model over batches of images.

    Parameters
    ----------
    model : nn.Module
        Any PyTorch module. It is run in eval mode, without gradients, on the device it is on, and
        is given back in the mode it was in.
    batches : iterable of Tensor, of (Tensor, Tensor) or of mappings
        Images (N, C, H, W) as the model takes them; images and labels (N,); or its keyword
        arguments, with labels under ``labels`` or ``label``. A DataLoader fits.
    measures, floor_samples, detail, threshold_db, reference, grid, fold_scale, handlers
        See :class:`Scope`.
    progress : bool
        Show a bar on standard error, with the time left where the batches have a length.

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
        measures=measures,
        floor_samples=floor_samples,
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
        for batch in _shown(batches) if progress else batches:
            inputs, labels = _inputs_and_labels(batch)
            count = _length(inputs)
            if count == 0:
                continue
            samples = pd.DataFrame({"sample": range(seen, seen + count)})
            if labels is not None:
                samples["label"] = _checked(labels, count).cpu().numpy()
            with scope.batch(samples) as part:
                record_predictions(part.samples, _run(scope.model, inputs, device))
            seen += count
            if not any(site.supported for site in scope.sites):
                raise AliascopeError(no_sites(type(scope.model).__name__, scope.sites))
    if seen == 0:
        raise AliascopeError("There was no batch of images to measure; pass at least one.")
    return scope.measurement()


def _shown(batches: Iterable[Any]) -> Iterable[Any]:
    """Show a bar while batches are gone through."""
    from rich.console import Console
    from rich.progress import track

    total = len(batches) if isinstance(batches, Sized) else None
    return track(batches, "measuring", total=total, console=Console(stderr=True), transient=True)


def _run(model: nn.Module, inputs: Tensor | dict[str, Any], device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return model(inputs.to(device))
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    return model(**moved)


def _length(inputs: Tensor | dict[str, Any]) -> int:
    """Count the samples: of keyword arguments, the one with the most axes holds the images."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    tensors = [value for value in inputs.values() if isinstance(value, Tensor) and value.ndim]
    if not tensors:
        raise AliascopeError(
            f"A batch has no tensor among {', '.join(inputs) or 'its arguments'}; pass the model's "
            "keyword arguments, such as pixel_values."
        )
    return len(max(tensors, key=lambda tensor: tensor.ndim))


def _inputs_and_labels(batch: Any) -> tuple[Tensor | dict[str, Any], Any]:
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        inputs = {str(key): value for key, value in batch.items()}
        named = [inputs.pop(key, None) for key in ("labels", "label")]
        return inputs, next((labels for labels in named if labels is not None), None)
    parts = [*batch, None][:2] if isinstance(batch, list | tuple) and batch else []
    if not parts or not isinstance(parts[0], Tensor):
        raise AliascopeError(
            f"A batch is of type {type(batch).__name__}; pass tensors of images, or pairs of "
            "images and labels."
        )
    return parts[0], parts[1]


def _checked(given: Any, count: int) -> Tensor:
    """Refuse labels that are not one whole number for each image."""
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AliascopeError(
            f"The labels of a batch are of type {type(given).__name__}; pass whole numbers."
        ) from error
    if labels.shape != (count,):
        raise AliascopeError(
            f"The labels of a batch have shape {tuple(labels.shape)}; pass one whole number for "
            f"each of the {count} images."
        )
    return labels
