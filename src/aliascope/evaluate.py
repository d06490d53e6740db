"""The loop: images through a model under Scope, into a run directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError
from aliascope.measurement import Measurement
from aliascope.scope import Handler, Scope, evaluating

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
    device = next((p.device for p in scope.model.parameters()), torch.device("cpu"))
    seen = 0
    with scope, evaluating(scope.model):
        for batch in batches:
            images, labels = (batch, None) if isinstance(batch, Tensor) else (batch[0], batch[1])
            samples = pd.DataFrame({"sample": range(seen, seen + len(images))})
            if labels is not None:
                samples["label"] = labels.cpu().numpy()
            with scope.batch(samples) as part:
                output = scope.model(images.to(device))
                record_predictions(part.samples, output)
            seen += len(images)
            if not scope.sites:
                raise AliascopeError(no_sites(type(scope.model).__name__))
    if seen == 0:
        raise AliascopeError("There was no batch of images to measure; pass at least one.")
    return scope.measurement()


def no_sites(model: str) -> str:
    """Say that a model has no site."""
    return (
        f"{model} has no site: nothing in it decimates a signal at a whole rate above 1, "
        "so there is no aliasing to measure."
    )


def class_scores(output: Any) -> Tensor | None:
    """Find the class scores, (N, classes), in what a model returns; None where there are none.

    Examples
    --------
    >>> class_scores({"logits": torch.zeros(2, 10)}).shape
    torch.Size([2, 10])
    >>> class_scores(torch.zeros(2, 3, 8, 8)) is None
    True
    """
    if isinstance(output, dict):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, list | tuple) and output:
        output = output[0]
    if isinstance(output, Tensor) and output.ndim == 2 and output.is_floating_point():
        return output
    return None


def record_predictions(samples: pd.DataFrame, output: Any) -> None:
    """Add the prediction, and with labels whether it is right, to a table of samples.

    Parameters
    ----------
    samples : DataFrame
        One row per sample; with labels, a column ``label`` (negative: unknown).
    output
        What the model returned.

    Examples
    --------
    >>> samples = pd.DataFrame({"sample": [0, 1], "label": [2, 0]})
    >>> record_predictions(samples, torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]))
    >>> samples["top1"].tolist()
    [True, False]
    """
    scores = class_scores(output)
    if scores is None or len(scores) != len(samples):
        return
    best = scores.detach().float().topk(min(5, scores.shape[1]), dim=1).indices.cpu()
    samples["prediction"] = best[:, 0].numpy()
    if "label" in samples and (samples["label"] >= 0).all():
        hits = best == torch.from_numpy(samples["label"].to_numpy().copy())[:, None]
        samples["top1"] = hits[:, 0].numpy()
        samples["top5"] = hits.any(dim=1).numpy()
