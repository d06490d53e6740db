"""Reading the arguments of a call, whichever form of the function was called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def bind(
    names: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], **defaults: Any
) -> dict[str, Any]:
    """Name the arguments of a call; builtins have no signature to ask."""
    return {**defaults, **dict(zip(names.split(), args, strict=False)), **kwargs}


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """Expand 2, [2] or (2, 2) to one int per axis."""
    values = tuple(value) if isinstance(value, Sequence | torch.Size) else (value,)
    return tuple(int(v) for v in (values * axes if len(values) == 1 else values))


def memory_format(tensor: Tensor) -> torch.memory_format:
    """Tell how a tensor is laid out, so that another can be laid out alike."""
    for ndim, channels_last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if (
            tensor.ndim == ndim
            and not tensor.is_contiguous()
            and tensor.is_contiguous(memory_format=channels_last)
        ):
            return channels_last
    return torch.contiguous_format


def _forms(axes: int, name: str) -> list[Any]:
    """Find a function's forms: the functional, the builtin, and the operator of exported graphs."""
    name = name.format(axes)
    homes = [getattr(home, name, None) for home in (F, torch, torch._C._nn)]
    return [*dict.fromkeys(form for form in homes if form is not None), f"aten::{name}"]


_names: dict[Any, str] = {}
"""Names of functions: torch.compile, which traces the rules of a filtered model, can look a
function up in a dictionary, but cannot search in its ``__name__``."""


def name_of(function: Any) -> str:
    """Name a function, such as max_pool2d_with_indices."""
    return _names[function] if function in _names else str(function.__name__)


def spatial_axes(function: Any) -> int:
    """Read the number of spatial axes off a function's name, such as max_pool2d_with_indices."""
    name = name_of(function)
    return next(axes for axes in (1, 2, 3) if f"{axes}d" in name)


def all_axes(*names: str) -> list[Any]:
    """List all forms of the functions, for 1 to 3 spatial axes; ``{}`` stands for the number."""
    forms = [form for axes in (1, 2, 3) for name in names for form in _forms(axes, name)]
    _names.update({form: form.__name__ for form in forms if not isinstance(form, str)})
    return forms
