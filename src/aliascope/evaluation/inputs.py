"""Batches of one's own: their images and labels, whichever way they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any

import torch
from torch import Tensor

from aliascope.errors import AliascopeError


def shown(batches: Iterable[Any], what: str = "measuring") -> Iterable[Any]:
    """Show a bar while batches are gone through."""
    from rich.console import Console
    from rich.progress import track

    total = len(batches) if isinstance(batches, Sized) else None
    return track(batches, what, total=total, console=Console(stderr=True), transient=True)


def count_of(inputs: Tensor | dict[str, Any]) -> int:
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


def inputs_and_labels(batch: Any) -> tuple[Tensor | dict[str, Any], Any]:
    """Read a batch: tensors, pairs with labels, or keyword arguments that may hold labels."""
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


def checked_labels(given: Any, count: int) -> Tensor:
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
