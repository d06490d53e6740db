"""What a changed pass gave beside the clean one, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliascope.models.predictions import class_scores, pixel_scores

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answer:
    """What a model answered to a batch.

    Attributes
    ----------
    scores : Tensor of float64, shape (N, classes) or (N, classes, H, W), or None
        Logarithms of the probabilities of classes, of each image or pixel; None where the output
        holds no class scores.
    values : Tensor, shape (N, ...) flattened to (N, values)
        All of its output.
    """

    scores: Tensor | None
    values: Tensor

    @classmethod
    def of(cls, output: Any, count: int) -> Answer:
        """Read a model's output to so many samples.

        Examples
        --------
        >>> Answer.of(torch.zeros(2, 4), 2).scores.exp()
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]], dtype=torch.float64)
        """
        found = class_scores(output)
        if found is None or found.shape[1] < 2:
            found = pixel_scores(output)
        scores = None
        if found is not None and len(found) == count:
            scores = found.detach().double().log_softmax(dim=1)
        flat = [each.detach().reshape(count, -1).float() for each in _tensors(output, count)]
        return cls(scores, torch.cat(flat, dim=1) if flat else torch.zeros(count, 0))

    @property
    def prediction(self) -> Tensor | None:
        """Most likely class, (N,) or (N, H, W); -1 where a score is NaN."""
        if self.scores is None:
            return None
        return self.scores.argmax(dim=1).masked_fill(self.scores.isnan().any(dim=1), -1)


def effects_of(
    clean: Answer, changed: Answer, labels: Array | None = None, donors: Array | None = None
) -> dict[str, Array]:
    """Compare a changed pass with the clean one.

    Parameters
    ----------
    clean, changed : Answer
        To the same samples.
    labels : array of int, shape (N,), optional
        Negative: unknown.
    donors : array of int, shape (N,), optional
        Classes of the donors of a swap; negative: none.

    Returns
    -------
    dict of str to array, shape (N,)
        output_change: norm of the change of all outputs over the norm of the clean ones. With class
        scores also agreement: whether the prediction is the clean one, of pixels the share; kl:
        Kullback-Leibler divergence of the changed from the clean probabilities, KL(clean ‖
        changed), in nats, and logp_change: change of the log-probability of the clean prediction,
        both the mean over pixels where these are classified. Of images also prediction; with
        labels top1: whether it is right; with donors follows: whether it is their class.

    Examples
    --------
    >>> clean, changed = (Answer.of(torch.tensor(x), 1) for x in ([[2.0, 0.0]], [[0.0, 2.0]]))
    >>> found = effects_of(clean, changed, labels=np.array([0]))
    >>> {name: round(float(values[0]), 3) for name, values in found.items()}
    {'output_change': 1.414, 'agreement': 0.0, 'kl': 1.523, 'logp_change': -2.0, 'prediction': 1.0,
     'top1': 0.0}
    """
    norms = clean.values.norm(dim=1), (changed.values - clean.values).norm(dim=1)
    found = {"output_change": torch.where(norms[1] > 0, norms[1] / norms[0], norms[1])}
    if clean.scores is not None and changed.scores is not None:
        before, after = clean.prediction, changed.prediction
        assert before is not None and after is not None
        found["agreement"] = _by_sample((before == after).double())
        p = clean.scores.exp()
        kl = (p * (clean.scores - changed.scores)).masked_fill(p == 0, 0)
        found["kl"] = _by_sample(kl.sum(dim=1))
        gathered = [
            scores.gather(1, before.clamp(min=0)[:, None])[:, 0]
            for scores in (clean.scores, changed.scores)
        ]
        found["logp_change"] = _by_sample(gathered[1] - gathered[0])
        if after.ndim == 1:
            found["prediction"] = after
            for name, classes in {"top1": labels, "follows": donors}.items():
                if classes is not None:
                    wanted = torch.from_numpy(np.asarray(classes, dtype=np.int64)).to(after.device)
                    hit = (after == wanted).double()
                    found[name] = hit.masked_fill(wanted < 0, torch.nan)
    return {name: values.cpu().numpy() for name, values in found.items()}


def _by_sample(values: Tensor) -> Tensor:
    """Average over pixels."""
    return values.flatten(1).mean(dim=1) if values.ndim > 1 else values


def _tensors(output: Any, count: int) -> Iterator[Tensor]:
    """Find the tensors in a model's output that have a row for each sample."""
    if isinstance(output, Tensor):
        if output.ndim and len(output) == count and not output.is_complex():
            yield output
    elif isinstance(output, dict):
        for each in output.values():
            yield from _tensors(each, count)
    elif isinstance(output, list | tuple):
        for each in output:
            yield from _tensors(each, count)
