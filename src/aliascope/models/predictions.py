"""What a classifier says of its samples: predictions, whether they are right, and its features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aliascope.errors import AliascopeError

if TYPE_CHECKING:
    import pandas as pd


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


def pixel_scores(output: Any) -> Tensor | None:
    """Find the class scores of pixels, (N, classes, H, W), in what a model returns, or None.

    Examples
    --------
    >>> pixel_scores({"out": torch.zeros(2, 21, 8, 8)}).shape
    torch.Size([2, 21, 8, 8])
    """
    if isinstance(output, dict):
        output = output.get("out", output.get("logits"))
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, list | tuple) and output:
        output = output[0]
    if isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point():
        return output if output.shape[1] > 1 else None
    return None


def record_predictions(samples: pd.DataFrame, output: Any) -> None:
    """Add the prediction, and with labels whether it is right, to a table of samples.

    Parameters
    ----------
    samples : DataFrame
        One row per sample; with labels, a column ``label`` (negative: unknown).
    output
        What the model returned. Scores with a NaN predict nothing: -1, and not right.

    Examples
    --------
    >>> import pandas as pd
    >>> samples = pd.DataFrame({"sample": [0, 1], "label": [2, 0]})
    >>> record_predictions(samples, torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]))
    >>> samples["top1"].tolist()
    [True, False]
    """
    scores = class_scores(output)
    if scores is None or scores.shape[1] == 0 or len(scores) != len(samples):
        return
    best = scores.detach().float().topk(min(5, scores.shape[1]), dim=1).indices
    best = best.masked_fill(scores.isnan().any(dim=1, keepdim=True), -1).cpu()
    samples["prediction"] = best[:, 0].numpy()
    if "label" in samples and (samples["label"] >= 0).all():
        hits = best == torch.from_numpy(samples["label"].to_numpy().copy())[:, None]
        samples["top1"] = hits[:, 0].numpy()
        samples["top5"] = hits.any(dim=1).numpy()


class Features:
    """The input of a classifier's last layer, caught while the model runs.

    Attributes
    ----------
    last : Tensor or None
        Features of the last batch, (N, features), on the model's device.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Keep the input; the layer's forward pre-hook."""
        self.last = args[0].detach().flatten(1)


@contextlib.contextmanager
def catching_features(model: nn.Module) -> Iterator[Features]:
    """Catch the input of a classifier's last fully connected layer in every pass.

    Parameters
    ----------
    model : nn.Module
        A classifier; its last ``nn.Linear`` is taken, or its last 1×1 convolution.

    Yields
    ------
    Features
        Whose ``last`` is set by each pass.

    Raises
    ------
    AliascopeError
        If it has no such layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> with catching_features(model) as features:
    ...     _ = model(torch.rand(3, 1, 2, 2))
    >>> features.last.shape
    torch.Size([3, 4])
    """
    modules = list(model.modules())
    layers: list[nn.Module] = [m for m in modules if isinstance(m, nn.Linear)]
    if not layers:
        layers = [m for m in modules if isinstance(m, nn.Conv2d) and set(m.kernel_size) == {1}]
    if not layers:
        raise AliascopeError(
            f"{type(model).__name__} has no fully connected layer whose input could be saved; "
            "leave --save-features out."
        )
    features = Features()
    handle = layers[-1].register_forward_pre_hook(features)
    try:
        yield features
    finally:
        handle.remove()
