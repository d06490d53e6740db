"""Measuring a model over batches of one's own, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.evaluation.inputs import checked_labels, count_of, inputs_and_labels, shown
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
    channels: int | None = None,
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
    measures, floor_samples, detail, channels, threshold_db, reference, grid, fold_scale, handlers
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
        channels=channels,
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
        for batch in shown(batches) if progress else batches:
            inputs, labels = inputs_and_labels(batch)
            count = count_of(inputs)
            if count == 0:
                continue
            samples = pd.DataFrame({"sample": range(seen, seen + count)})
            if labels is not None:
                samples["label"] = checked_labels(labels, count).cpu().numpy()
            with scope.batch(samples) as part:
                record_predictions(part.samples, _run(scope.model, inputs, device))
            seen += count
            if not any(site.supported for site in scope.sites):
                raise AliascopeError(no_sites(type(scope.model).__name__, scope.sites))
    if seen == 0:
        raise AliascopeError("There was no batch of images to measure; pass at least one.")
    return scope.measurement()


def _run(model: nn.Module, inputs: Tensor | dict[str, Any], device: torch.device) -> Any:
    if isinstance(inputs, Tensor):
        return model(inputs.to(device))
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    return model(**moved)
